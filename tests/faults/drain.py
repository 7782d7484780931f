"""What a drain does to answers under way: those that end in time are whole, the rest are told and billed."""

from __future__ import annotations

from tests.faults.case import ESTIMATE, EXACT, FACES, Expect, Fault, one

DRAIN_S = 0.6

DRAINS = (
    Fault("drain, a stream that ends in time", one("stall;after=40;tokens=60;seconds=0.2"),
          Expect(200, ("ok",), EXACT), stream=True),
    Fault("drain timeout, a stream under way", one("stall;after=40;tokens=60;seconds=30"),
          Expect(200, ("draining",), ESTIMATE, code="draining", in_band=True, error="draining"),
          stream=True, faces=FACES),
    Fault("drain timeout, no answer yet", one("slow_first_byte;seconds=30"),
          Expect(503, ("abandoned",), ESTIMATE, code="draining", retry_after_s=1, error="draining"),
          faces=FACES, but={"anthropic face": {"status": 529}}),
)  # fmt: skip
