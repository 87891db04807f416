"""Faults on stderr: what kind, and where in the code; never what was being worked on.

The text of an exception may hold what a request held (`KeyError: b'hunter2'`, a future's repr with its result), where
neither name nor look betrays a secret. So a trace is told by files, lines and types, and a message is masked.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from extproc.events.masking import Masking
from extproc.model.errors import ExtprocError

MAX_CAUSES = 8
"""Exceptions of one chain (`raise ... from`) that are told."""

MAX_FRAMES = 40
"""Innermost frames of one exception that are told."""


class FaultFormatter(logging.Formatter):
    """A log record as text without the values that it came from."""

    def __init__(self, masking: Masking) -> None:
        super().__init__("%(message)s")
        self._masking = masking

    def format(self, record: logging.LogRecord) -> str:
        """Message and trace. Of a library's message the first line: what follows are reprs."""
        message = record.getMessage()
        if not record.name.startswith("extproc"):
            message = f"{record.name}: {message.partition(chr(10))[0]}"
        text = self._masking.mask_text(message.encode("utf-8", "backslashreplace")).decode("utf-8", "backslashreplace")
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + describe(record.exc_info[1])
        return text


def describe(fault: BaseException) -> str:
    """The chain of exceptions, outermost last as Python prints it, each with its frames and its type.

    Texts are shown of our own errors alone, which are written for people and hold no part of a request.
    """
    lines: list[str] = []
    seen: BaseException | None = fault
    for _ in range(MAX_CAUSES):
        if seen is None:
            break
        frames = traceback.extract_tb(seen.__traceback__)[-MAX_FRAMES:]
        told = [
            f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line or ''}".rstrip(": ") for frame in frames
        ]
        kind = type(seen)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        reason = f": {seen}" if isinstance(seen, ExtprocError) else ""
        if isinstance(seen, OSError) and seen.strerror:
            reason = f": {seen.strerror}"
        lines = [*told, f"{name}{reason}", *lines]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(lines)


def install(masking: Masking) -> None:
    """From now on every log record and every uncaught exception of the process is told in this way, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(FaultFormatter(masking))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)

    def tell(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, fault, trace)
        else:
            logging.getLogger("extproc").critical("ended by a fault", exc_info=(kind, fault, trace))

    def tell_of_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            tell(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    sys.excepthook = tell
    threading.excepthook = tell_of_thread
    sys.unraisablehook = lambda event: tell(event.exc_type, event.exc_value or event.exc_type(), event.exc_traceback)
