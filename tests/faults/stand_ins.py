"""What stands in when all of a request's own back ends are down: each step of a feature's chain, and its honest end."""

from __future__ import annotations

from tests.faults import said
from tests.faults.before import SLOW
from tests.faults.case import ESTIMATE, EXACT, FACES, FREE, BackEnd, Expect, Fault, one

DOWN = one("server_error")
GONE = (BackEnd(place="refused"),)
THREE = ("server_error",) * 3
BOTH = (*THREE, *("connect_failed",) * 3)
WRITTEN = ("rule", "canned")


def in_place(by: str, outcomes: tuple[str, ...] = THREE, status: int = 200) -> Expect:
    """Expect an answer that no model gave: told as what it is, for nothing."""
    return Expect(status, outcomes, FREE, by=by)


STAND_INS = (
    Fault("all down, another model answers", DOWN, Expect(200, (*THREE, "ok"), EXACT, by="other"),
          steps=("other", "canned"), others=one(), faces=FACES),
    Fault("all down, another model answers, streamed", DOWN, Expect(200, (*THREE, "ok"), EXACT, by="other"),
          steps=("other", "canned"), others=one(), stream=True, faces=FACES),
    Fault("all down, the other model too, a kept answer stands in", one("none", "server_error"),
          in_place("stale", BOTH), steps=("other", "stale", "canned"), others=GONE, asks=2, rest_s=0.4),
    Fault("all down, a kept answer stands in, streamed", one("none", "server_error"), in_place("stale"),
          steps=("stale",), asks=2, rest_s=0.4, stream=True),
    Fault("all down, nothing is kept, a rule answers", DOWN, in_place("rule"), steps=("stale", *WRITTEN),
          faces=FACES),
    Fault("all down, a rule answers, streamed", DOWN, in_place("rule"), steps=WRITTEN, stream=True, faces=FACES),
    Fault("all down, a canned answer", DOWN, in_place("canned"), steps=("canned",), faces=FACES),
    Fault("all down, the other model too, a canned answer, streamed", DOWN, in_place("canned", BOTH),
          steps=("other", "canned"), others=GONE, stream=True, faces=FACES),
    Fault("slow first byte, a canned answer, the wait is billed", one("slow_first_byte;seconds=30"),
          Expect(200, ("first_byte_timeout",) * 2, ESTIMATE, by="canned"), steps=("canned",), timers=SLOW),
    Fault("all down, put off", DOWN, in_place("later", status=202), steps=("later",), faces=FACES),
    Fault("all down, put off, streamed", DOWN, in_place("later", status=202), steps=("later",), stream=True,
          faces=FACES),
    Fault("all down, and nothing stands in", DOWN,
          Expect(502, BOTH, FREE, code="server_error", error="server_error", by="nobody"),
          steps=("other", "stale"), others=GONE, faces=FACES),
    Fault("what a vendor refuses for its content is not papered over", one(said.INVALID),
          Expect(400, ("invalid",), FREE, code="invalid_request", error="invalid"), steps=("other", "canned"),
          others=one()),
    Fault("cut after the first chunk, nothing takes over", one("cut;after=40;tokens=60"),
          Expect(200, ("cut",), ESTIMATE, code="cut", in_band=True, error="cut"), steps=("other", "canned"),
          others=one(), stream=True),
)  # fmt: skip
