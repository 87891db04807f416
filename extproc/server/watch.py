"""Has a file that the rules came from changed, and has the change come to rest? Found by looking, not by being told.

inotify does not see what a kubelet or a network file system does; a look at a hundred files costs half a
millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.model.files import Look, look

Looks = Mapping[tuple[str, str], Look]


class Watch:
    """`look` every interval. A change counts when two looks in a row see the same: files are written in pieces."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Look] = {}
        self._seen: dict[tuple[str, str], Look] = {}

    def know(self, looks: Looks) -> None:
        """These were loaded, or tried; from now on only what differs from them is a change."""
        self._known = dict(looks)
        self._seen = self._known

    def look(self) -> str:
        """What changed, in words; empty while nothing did or the change is still going on.

        A change that was told is known from then on, also when nobody can load it.
        """
        now = {name: look(*name) for name in self._known}
        is_at_rest, self._seen = now == self._seen, now
        if now == self._known or not is_at_rest:
            return ""
        changed = [name for (kind, name), found in now.items() if found != self._known[kind, name]]
        self._known = now
        return changed[0] + (f" and {len(changed) - 1} more" if len(changed) > 1 else "")
