"""Structured logs: one JSON object a line, for people's own log systems; one line per request, from its event.

    logging.getLogger("penstock…") ──▶ JsonHandler ─┐
    request events (off the path)  ──▶ RequestLog  ─┴─▶ LogPipe: redact ▶ bounded queue ▶ one thread ▶ file or stderr

Promises: logging never blocks the event loop (a slow sink fills the queue, then lines are dropped and counted
exactly); a line holds no prompt, no key and no secret: requests are logged from `RequestEvent`, which has none, and
as defence in depth every line passes a filter for the shapes of known credentials.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from threading import Thread
from typing import BinaryIO

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import encoded

MAX_LINE_BYTES = 16 << 10
"""A longer line of `logging` is cut: its text, then its traceback."""

_SHAPES: tuple[tuple[bytes, bytes], ...] = (
    # marker that is looked for first (cheap), what is replaced when it is there
    (b"sk-", rb"\bsk-[A-Za-z0-9_-]{8,}"),  # OpenAI, Anthropic and many others
    (b"pk_", rb"\bpk_[A-Za-z0-9_-]{8,}"),
    (b"pen-", rb"\bpen-[A-Za-z0-9_-]{12,}"),  # ours
    (b"earer", rb"(?i)\bbearer\s+[^\s\"',\\]{6,}"),
    (b"EARER", rb"(?i)\bbearer\s+[^\s\"',\\]{6,}"),
    (b"AIza", rb"\bAIza[A-Za-z0-9_-]{30,}"),  # Google
    (b"AKIA", rb"\bAKIA[A-Z0-9]{16}\b"),  # AWS
    (b"ASIA", rb"\bASIA[A-Z0-9]{16}\b"),
    *((b"gh%c_" % kind, rb"\bgh%c_[A-Za-z0-9]{20,}" % kind) for kind in b"pousr"),  # GitHub
    (b"hf_", rb"\bhf_[A-Za-z0-9]{20,}"),  # Hugging Face
    (b"xox", rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),  # Slack
    (b"eyJ", rb"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),  # JWT
    (b"PRIVATE KEY", rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
    (b"://", rb"(?<=://)[^/\s:@\"]*:[^/\s@\"]+(?=@)"),  # user:password in a URL
)
_COMPILED = tuple((marker, re.compile(shape, re.DOTALL)) for marker, shape in _SHAPES)


def redacted(line: bytes) -> bytes:
    """Return the line with everything that looks like a credential replaced by ``***``."""
    for marker, shape in _COMPILED:
        if marker in line:
            line = shape.sub(b"***", line)
    return line


class LogPipe:
    """A bounded queue of lines and the thread that writes them to a binary file (default: standard error)."""

    def __init__(self, sink: BinaryIO | None = None, *, capacity: int = 10_000) -> None:
        """Hold at most `capacity` entries; what finds no room is dropped and counted."""
        self.dropped = 0
        """Lines lost because the queue was full or the sink refused them."""
        self._sink = sink if sink is not None else sys.stderr.buffer
        self._queue: Queue[tuple[bytes, int] | None] = Queue(capacity)
        self._closed = False
        self._thread = Thread(target=self._write_forever, name="penstock-logs", daemon=True)
        self._thread.start()

    def put(self, text: bytes, lines: int = 1) -> None:
        """Queue `text`, which is `lines` whole lines; never blocks."""
        if self._closed:
            self.dropped += lines
            return
        try:
            self._queue.put_nowait((redacted(text), lines))
        except Full:
            self.dropped += lines

    def _write_forever(self) -> None:
        while (entry := self._queue.get()) is not None:
            text, lines = entry
            try:
                self._sink.write(text)
                self._sink.flush()
            except (OSError, ValueError):  # a full disk or a closed file: logs must not take the gateway down
                self.dropped += lines

    def close(self, within_s: float = 5.0) -> None:
        """Write what is queued, for at most `within_s` seconds; the rest is dropped and counted."""
        if self._closed:
            return
        self._closed = True
        with suppress(Full):
            self._queue.put(None, timeout=within_s)
        self._thread.join(within_s)
        with suppress(Empty):
            while self._thread.is_alive():
                entry = self._queue.get_nowait()
                self.dropped += entry[1] if entry is not None else 0


def _now(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonHandler(logging.Handler):
    """Turns records of the standard library's `logging` into JSON lines. Fields given as ``extra=`` are kept."""

    def __init__(self, pipe: LogPipe, clock: Clock, level: int = logging.INFO) -> None:
        """Write records of `level` and above into `pipe`, stamped by `clock`."""
        super().__init__(level)
        self._pipe = pipe
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record; a record that cannot be rendered becomes a line that says so."""
        try:
            line = self._rendered(record)
        except Exception as error:  # because a bad log call must not break its caller
            line = msgspec.json.encode(
                {"level": "error", "logger": record.name, "text": f"unloggable: {type(error)}"}
            )
        self._pipe.put(line + b"\n")

    def _rendered(self, record: logging.LogRecord) -> bytes:
        fields: dict[str, object] = {
            "at": _now(self._clock.wall_s()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": _plain(record.getMessage(), MAX_LINE_BYTES // 2),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                plain = value if isinstance(value, bool | int | float | None) else _plain(str(value), 1024)
                fields.setdefault(_plain(name, 64), plain)
        if record.exc_info:
            fields["traceback"] = _plain(
                logging.Formatter().formatException(record.exc_info), MAX_LINE_BYTES // 2
            )
        return msgspec.json.encode(fields)


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _plain(text: str, limit: int) -> str:
    """Return valid Unicode of at most `limit` characters; a cut one keeps its end (where a traceback says why)."""
    if len(text) > limit:
        text = "…" + text[1 - limit :]
    return text.encode(errors="replace").decode()


class RequestLog:
    """Writes one line per request: a listener of the audit pipe."""

    def __init__(self, pipe: LogPipe) -> None:
        """Write into `pipe`."""
        self._pipe = pipe
        self._heads = {
            hundred: b'{"level":"%s","logger":"penstock.request",' % level
            for hundred, level in ((4, b"warning"), (5, b"error"))
        }

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Queue the lines of a batch as one entry; about 1 µs per event."""
        heads = self._heads
        usual = b'{"level":"info","logger":"penstock.request",'
        lines = [heads.get(event.status // 100, usual) + encoded(event)[1:] for event in events]
        if lines:
            lines.append(b"")
            self._pipe.put(b"\n".join(lines), len(events))


def attach(handler: logging.Handler, logger: str = "penstock", level: int = logging.INFO) -> None:
    """Send a logger and all below it through `handler` and nowhere else."""
    target = logging.getLogger(logger)
    target.addHandler(handler)
    target.setLevel(level)
    target.propagate = False


def detach(handler: logging.Handler, logger: str = "penstock") -> None:
    """Undo `attach`."""
    target = logging.getLogger(logger)
    target.removeHandler(handler)
    target.propagate = True
