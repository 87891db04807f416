"""How many files the pair may have open: to Envoy every connection is one."""

from __future__ import annotations

import resource

from extproc.proxy.bootstrap import CONNECTION_LIMIT

FILES_WANTED = CONNECTION_LIMIT + 2_000
"""All client connections that Envoy takes, and those to the app, to the engine, logs and timers."""

FILES_TOLD = 10_000
"""A limit below is told at start: it is met by loads that a pair otherwise holds."""


def raise_limit() -> str | None:
    """Raises the limit of open files for us and our children as far as is allowed; a sentence if that is not far."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed >= FILES_TOLD:
        return None
    return (
        f"open files are limited to {allowed} (ulimit -Hn), and every connection is one: "
        f"beyond that Envoy takes no more; {FILES_WANTED} let it take all that it is made for"
    )
