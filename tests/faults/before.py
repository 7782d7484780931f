"""What goes wrong before an answer has begun: invisible where trying again helps, told and never billed where not."""

from __future__ import annotations

from tests.faults import said
from tests.faults.case import ESTIMATE, EXACT, FACES, FREE, LAST, BackEnd, Expect, Fault, one, then_good

SLOW = {"first_byte_s": 0.3, "between_chunks_s": 0.3}
ONLY_OPENAI = ("openai",)


def told(status: int, code: str, kind: str, calls: int = 1, retry_after_s: int | None = None) -> Expect:
    """Expect a failure that is told and costs nothing, after so many calls that all failed alike."""
    return Expect(status, (kind,) * calls, FREE, code=code, retry_after_s=retry_after_s, error=kind)


def maybe_billed(status: int, kind: str, calls: int = 2) -> Expect:
    """Expect a failure that is told, after calls each of which the vendor may have billed."""
    return Expect(status, (kind,) * calls, ESTIMATE, code=kind, error=kind)


def hidden(kind: str, bill: str | int = EXACT) -> Expect:
    """Expect a whole answer after one failure nobody hears of."""
    return Expect(200, (kind, "ok"), bill)


REFUSALS = (
    Fault("429, retry-after short, then good", one("rate_limit;seconds=0.05", "none"), hidden("rate_limited"),
          wires=("openai", "gemini")),
    Fault("429, retry-after longer than we wait", one("rate_limit;seconds=7"),
          told(429, "rate_limit_exceeded", "rate_limited", retry_after_s=7), faces=FACES,
          but={"gemini face": {"code": "rate_limited"}}),
    Fault("429, retry-after long, elsewhere good", then_good("rate_limit;seconds=7"), hidden("rate_limited")),
    Fault("429, no retry-after, then good", one("rate_limit_no_hint", "none"), hidden("rate_limited")),
    Fault("429, no retry-after, for ever", one("rate_limit_no_hint"),
          told(429, "rate_limit_exceeded", "rate_limited", calls=3)),
    Fault("429s open no breaker", one("rate_limit_no_hint"),
          told(429, "rate_limit_exceeded", "rate_limited", calls=3), asks=3),
    Fault("credit exhausted", one("quota"), told(502, "quota_exhausted", "quota_exhausted")),
    Fault("credit exhausted, elsewhere good", then_good("quota"), hidden("quota_exhausted")),
    Fault("spend limit", one("spend_limit"), told(502, "spend_limit", "spend_limit")),
    Fault("spend limit, elsewhere good", then_good("spend_limit"), hidden("spend_limit")),
    Fault("500 for ever", one("server_error"), told(502, "server_error", "server_error", calls=3), faces=FACES),
    Fault("500, then good", one("server_error", "none"), hidden("server_error")),
    Fault("500 for ever, streamed", one("server_error"), told(502, "server_error", "server_error", calls=3),
          stream=True),
    Fault("500, then good, streamed", one("server_error", "none"), hidden("server_error"), stream=True, faces=FACES),
    Fault("500 that must not be tried again", one(said.NO_RETRY), told(502, "server_error", "server_error"),
          wires=ONLY_OPENAI),
    Fault("overloaded for ever", one("overloaded"), told(503, "overloaded", "overloaded", calls=3),
          faces=("openai", "anthropic"), but={"anthropic face": {"status": 529}}),
    Fault("overloaded, then good", one("overloaded", "none"), hidden("overloaded")),
    Fault("our key is refused", one(said.UNAUTHENTICATED), told(502, "unauthenticated", "unauthenticated")),
    Fault("our key is refused, elsewhere good", then_good(said.UNAUTHENTICATED), hidden("unauthenticated")),
    Fault("our project is forbidden", one(said.FORBIDDEN), told(502, "forbidden", "forbidden")),
    Fault("model unknown to the vendor", one(said.NO_MODEL), told(404, "model_not_found", "not_found")),
    Fault("model unknown to the vendor, elsewhere good", then_good(said.NO_MODEL), hidden("not_found")),
    Fault("context overflow is tried nowhere else", then_good(said.OVERFLOW),
          told(400, "context_length_exceeded", "context_overflow"), faces=FACES,
          but={"gemini face": {"code": "context_overflow"}}),
    Fault("refused by the vendor's content filter", then_good(said.FILTERED),
          told(400, "content_filter", "content_filter"), wires=ONLY_OPENAI),
    Fault("request invalid to the vendor", then_good(said.INVALID), told(400, "invalid_request", "invalid")),
    Fault("HTML error page", one(said.HTML_502), told(502, "server_error", "server_error", calls=3)),
)  # fmt: skip

CONNECTIONS = (
    Fault("connection refused", one(place="refused"), told(502, "connect_failed", "connect_failed", calls=3)),
    Fault("connection refused, elsewhere good", then_good(place="refused"), hidden("connect_failed")),
    Fault("no such host", one(place="nameless"), told(502, "connect_failed", "connect_failed", calls=3),
          wires=ONLY_OPENAI),
    Fault("TLS with a server that has none", one(place="plain"),
          told(502, "connect_failed", "connect_failed", calls=3), wires=ONLY_OPENAI),
    Fault("TLS with a stranger", one(place="stranger"), told(502, "connect_failed", "connect_failed", calls=3),
          wires=ONLY_OPENAI),
    Fault("TLS that never shakes hands", one(place="mute"), told(504, "connect_timeout", "connect_timeout", calls=2),
          wires=ONLY_OPENAI, timers={"connect_s": 0.3}),
    Fault("reset before the headers", one("reset"), maybe_billed(502, "connection_reset")),
    Fault("reset before the headers, then good", one("reset", "none"), hidden("connection_reset", ESTIMATE)),
    Fault("reset after the headers", one("cut"), maybe_billed(502, "connection_reset")),
    Fault("reset after the headers, streamed, then good", one("cut;after=0", "none"),
          hidden("connection_reset", ESTIMATE), stream=True),
    Fault("slow first byte", one("slow_first_byte;seconds=30"), maybe_billed(504, "first_byte_timeout"),
          timers=SLOW),
    Fault("slow first byte, elsewhere good", then_good("slow_first_byte;seconds=30"),
          hidden("first_byte_timeout", ESTIMATE), timers=SLOW),
    Fault("slow first byte, streamed, elsewhere good", then_good("slow_first_byte;seconds=30"),
          hidden("first_byte_timeout", ESTIMATE), stream=True, timers=SLOW),
    Fault("stall after the headers", one("stall;seconds=30"), maybe_billed(504, "first_byte_timeout"), timers=SLOW),
    Fault("stall before the first content, elsewhere good", then_good("stall;after=0;seconds=30"),
          hidden("first_byte_timeout", ESTIMATE), stream=True, timers=SLOW),
    Fault("comments and never content", one(said.ONLY_COMMENTS), maybe_billed(504, "total_timeout", calls=1),
          stream=True, timers={"total_s": 0.4}, wires=ONLY_OPENAI),
    Fault("not HTTP", one(said.NOT_HTTP), maybe_billed(502, "malformed_reply")),
)  # fmt: skip

NONSENSE = (
    Fault("200 with an error body", one("error_mid_stream"), told(502, "server_error", "server_error", calls=3)),
    Fault("200 with an error as first event, then good", one("error_mid_stream;after=0", "none"),
          hidden("server_error", LAST), stream=True),
    Fault("redirect", one(said.REDIRECT), told(400, "invalid_request", "invalid")),
    Fault("HTML page with 200", one(said.HTML_200), maybe_billed(502, "malformed_reply")),
    Fault("a whole reply where a stream was asked for", one(said.WHOLE), Expect(200, ("ok",), said.GOOD_NANOS),
          stream=True, wires=ONLY_OPENAI, faces=FACES),
    Fault("empty body", one(said.EMPTY), maybe_billed(502, "malformed_reply")),
    Fault("empty stream", one(said.NO_EVENTS), maybe_billed(502, "malformed_reply"), stream=True),
    Fault("wrong content type, right answer", one(said.PLAIN_TEXT), Expect(200, ("ok",), said.GOOD_NANOS),
          wires=ONLY_OPENAI),
    Fault("HTML page with 200, streamed, elsewhere good", then_good(said.HTML_200),
          hidden("connection_reset", ESTIMATE), stream=True),
    Fault("JSON that stops in the middle", one("malformed_line"), maybe_billed(502, "malformed_reply")),
    Fault("JSON that stops in the middle, then good", one("malformed_line", "none"),
          hidden("malformed_reply", ESTIMATE)),
    Fault("malformed first event, streamed, then good", one("malformed_line;after=0", "none"),
          hidden("malformed_reply", ESTIMATE), stream=True),
    Fault("a reply of 40 MB", one(said.TOO_LARGE), maybe_billed(502, "reply_too_large", calls=1),
          wires=ONLY_OPENAI),
    Fault("huge whole reply", one("huge_event"), Expect(200, ("ok",), EXACT)),
)  # fmt: skip

DOWN = Expect(502, ("server_error",) * 3, FREE, code="server_error", error="server_error")
HEALTH = (
    Fault("all down, each in its way",
          (BackEnd(("server_error",)), BackEnd(("overloaded",)), BackEnd(place="refused")),
          Expect(502, ("server_error", "overloaded", "connect_failed"), FREE, code="connect_failed",
                 error="connect_failed")),
    Fault("flapping", one("server_error", "none"), Expect(200, ("ok",), EXACT), asks=2),
    Fault("flapping every other call", one(*("server_error", "none") * 3), hidden("server_error"), asks=3),
    Fault("a breaker opens, elsewhere good", then_good("server_error"), Expect(200, ("ok",), EXACT, breaker="open"),
          asks=6),
    Fault("the last back end is tried whatever its breaker says", one("server_error"),
          Expect(502, DOWN.outcomes, FREE, code=DOWN.code, error=DOWN.error, breaker="open"), asks=3),
    Fault("half-open breaker, the probe is good", then_good(*("server_error",) * 5, "none"),
          Expect(200, ("ok",), EXACT), asks=6, rest_s=1.2),
    Fault("half-open breaker, the probe fails", then_good("server_error"),
          Expect(200, ("server_error", "ok"), EXACT, breaker="open"), asks=6, rest_s=1.2),
)  # fmt: skip

GONE = Expect(0, ("abandoned",), ESTIMATE, error="client_gone")
CALLERS = (
    Fault("the caller leaves before the answer", one("slow_first_byte;seconds=30"), GONE, leaves="early"),
    Fault("the caller leaves before the first chunk", one("slow_first_byte;seconds=30"), GONE, stream=True,
          leaves="early", faces=FACES),
)  # fmt: skip

BEFORE = (*REFUSALS, *CONNECTIONS, *NONSENSE, *HEALTH, *CALLERS)
