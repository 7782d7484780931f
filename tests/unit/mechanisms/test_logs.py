"""Logs: JSON lines, bounded, counted, and without anything that looks like a credential."""

from __future__ import annotations

import io
import logging
import threading

import msgspec
import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.logs import JsonHandler, LogPipe, RequestLog, attach, detach, redacted

SECRETS = [
    "sk-proj-abcdefgh12345678",
    "sk-ant-api03-abcdefgh12345678",
    "pk_019a3cdeadbeef",
    "AIza" + "a" * 35,
    "AKIAABCDEFGHIJKLMNOP",
    "ghp_" + "a" * 36,
    "hf_" + "a" * 30,
    "xoxb-1234567890-abc",
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
]


class Held:
    """A sink that writes only when let, and can be full."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Event()
        self.written = b""

    def write(self, text: bytes) -> None:
        self.started.set()
        self.open.wait(10)
        self.written += text

    def flush(self) -> None:
        pass


def logged(log) -> list[dict]:
    """Return the lines that `log(logger)` writes, decoded."""
    sink = io.BytesIO()
    pipe = LogPipe(sink)
    handler = JsonHandler(pipe, ManualClock(), logging.DEBUG)
    attach(handler, "penstock.test", logging.DEBUG)
    try:
        log(logging.getLogger("penstock.test"))
    finally:
        detach(handler, "penstock.test")
        pipe.close()
    assert pipe.dropped == 0
    return [msgspec.json.decode(line) for line in sink.getvalue().splitlines()]


def test_a_record_becomes_one_json_line():
    lines = logged(lambda log: log.warning("full at %d", 7, extra={"queue": "audit", "depth": 10_000}))
    assert lines == [
        {
            "at": "2027-01-15T08:00:00.000Z",
            "level": "warning",
            "logger": "penstock.test",
            "text": "full at 7",
            "queue": "audit",
            "depth": 10_000,
        }
    ]


def test_an_exception_brings_its_traceback_on_the_same_line():
    def log(logger):
        try:
            raise ValueError("because\nof this")
        except ValueError:
            logger.exception("failed")

    (line,) = logged(log)
    assert line["text"] == "failed"
    assert line["traceback"].endswith("ValueError: because\nof this")


@pytest.mark.parametrize(
    "log",
    [
        lambda log: log.info("%d", "not a number"),
        lambda log: log.info("\ud800"),
        lambda log: log.info("x" * 1_000_000, extra={"y" * 1000: "z" * 1_000_000}),
        lambda log: log.info("big", extra={"number": 1 << 100}),
        lambda log: log.info("a\nb\r\nc"),
    ],
)
def test_a_bad_record_is_one_bounded_line_all_the_same(log):
    (line,) = logged(log)
    assert len(msgspec.json.encode(line)) < 32 << 10
    assert line["logger"] == "penstock.test"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "frame", ["{}", "key={} end", '{{"k":"{}"}}', "Authorization: Bearer {}", "https://u:{}@host/"]
)
def test_what_looks_like_a_credential_is_hidden(secret, frame):
    line = redacted(frame.format(secret).encode())
    assert secret.encode() not in line
    assert b"***" in line


def test_credentials_without_a_known_shape_are_hidden_where_they_stand():
    assert redacted(b"Authorization: bearer opaque_token, next") == b"Authorization: ***, next"
    assert redacted(b"redis://user:hunter22@host:6379/0") == b"redis://***@host:6379/0"
    assert b"MIIE" not in redacted(
        b"x -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- y"
    )


@pytest.mark.parametrize(
    "text", [b"task-12345678901", b"the bearer of news", b"http://host:80/path", b"risk-averse-people"]
)
def test_plain_words_stay(text):
    assert redacted(text) == text


def test_no_secret_reaches_the_sink_by_any_field():
    def log(logger):
        for secret in SECRETS:
            logger.info("with %s", secret, extra={"field": secret})
            try:
                raise ValueError(secret)
            except ValueError:
                logger.exception(secret)

    lines = logged(log)
    assert len(lines) == 2 * len(SECRETS)
    assert not [secret for secret in SECRETS if secret in str(lines)]


def test_requests_become_lines_by_level():
    sink = io.BytesIO()
    pipe = LogPipe(sink)
    log = RequestLog(pipe)
    log([])
    log([RequestEvent(request_id=f"req_{status}", at_s=1.5, status=status) for status in (200, 404, 502)])
    log([RequestEvent(request_id="req_s", at_s=1.5, user="sk-proj-abcdefgh12345678")])
    pipe.close()
    lines = [msgspec.json.decode(line) for line in sink.getvalue().splitlines()]
    assert [(line["request_id"], line["level"]) for line in lines] == [
        ("req_200", "info"),
        ("req_404", "warning"),
        ("req_502", "error"),
        ("req_s", "info"),
    ]
    assert {line["logger"] for line in lines} == {"penstock.request"}
    assert lines[3]["user"] == "***"


def test_a_slow_sink_costs_lines_never_time():
    sink = Held()
    pipe = LogPipe(sink, capacity=3)
    pipe.put(b"0\n")
    sink.started.wait(10)
    for number in range(1, 4):
        pipe.put(b"%d\n" % number)
    assert pipe.dropped == 0
    pipe.put(b"4\n4\n", lines=2)
    assert pipe.dropped == 2
    sink.open.set()
    pipe.close()
    assert sink.written == b"0\n1\n2\n3\n"
    pipe.put(b"late\n")
    assert pipe.dropped == 3


def test_close_ends_though_the_sink_hangs():
    sink = Held()
    pipe = LogPipe(sink, capacity=2)
    pipe.put(b"0\n")
    sink.started.wait(10)
    pipe.put(b"1\n")
    pipe.put(b"2\n")
    pipe.close(within_s=0.01)
    assert pipe.dropped == 2
    sink.open.set()


def test_a_sink_that_refuses_is_counted():
    sink = io.BytesIO()
    pipe = LogPipe(sink)
    sink.close()
    pipe.put(b"1\n")
    pipe.close()
    assert pipe.dropped == 1
