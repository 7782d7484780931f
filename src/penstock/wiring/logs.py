"""Where this process logs: JSON lines on standard error, by `mechanisms/logs`, from its start to its end."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from penstock.kernel.clock import SystemClock
from penstock.kernel.settings import AuditSettings
from penstock.mechanisms.audit import Listener
from penstock.mechanisms.logs import JsonHandler, LogPipe, RequestLog, attach, detach


@contextmanager
def logs_on_stderr(settings: AuditSettings, *, quiet: bool = False) -> Generator[tuple[Listener, ...]]:
    """Log while the block runs; gives what the audit pipe has to tell of requests, if they are to be logged.

    `quiet` leaves out what is not at least a warning, for a person's terminal.
    """
    level = logging.getLevelNamesMapping()[settings.log_level]
    if quiet:
        level = max(level, logging.WARNING)
    pipe = LogPipe()
    handler = JsonHandler(pipe, SystemClock(), level)
    attach(handler, level=level)
    try:
        yield (RequestLog(pipe),) if settings.request_log else ()
    finally:
        detach(handler)
        pipe.close()
