"""What goes wrong once an answer has begun, and what vendors say of usage: told in-band, billed for what came."""

from __future__ import annotations

from tests.faults import said
from tests.faults.before import ONLY_OPENAI, SLOW
from tests.faults.case import AS_TOLD, ESTIMATE, EXACT, FACES, STREAMING_FACES, Expect, Fault, one, then_good


def broken(kind: str, breaker: str = "closed") -> Expect:
    """Expect a stream that breaks in front of the caller: an error inside it, no success mark, an estimate."""
    return Expect(200, (kind,), ESTIMATE, code=kind, in_band=True, error=kind, breaker=breaker)


STREAMS = (
    Fault("cut after the first chunk", then_good("cut;after=40;tokens=60"), broken("cut"), stream=True,
          faces=STREAMING_FACES),
    Fault("stall after the first chunk", then_good("stall;after=40;tokens=60;seconds=30"), broken("stalled"),
          stream=True, timers=SLOW),
    Fault("malformed event after the first chunk", then_good("malformed_line;after=40;tokens=60"),
          broken("malformed_reply"), stream=True, faces=STREAMING_FACES),
    Fault("error after the first chunk", then_good("error_mid_stream;after=40;tokens=60"),
          broken("error_mid_stream"), stream=True, faces=STREAMING_FACES),
    Fault("huge event", then_good("huge_event;after=40;tokens=60"), broken("malformed_reply"), stream=True),
    Fault("a stream that ends before its answer does", then_good(said.NO_END), broken("cut"), stream=True),
    Fault("a stream that ends inside an event", then_good(said.HALF_AN_EVENT), broken("cut"), stream=True,
          wires=ONLY_OPENAI),
    Fault("an endless stream", then_good(said.ENDLESS), broken("total_timeout"), stream=True,
          timers={"total_s": 0.5}, wires=ONLY_OPENAI),
    Fault("five cuts open the breaker", one("cut;after=40;tokens=60"), broken("cut", breaker="open"), stream=True,
          asks=5),
    Fault("no end mark after a finish", one(said.NO_MARK), Expect(200, ("ok",), said.GOOD_NANOS), stream=True,
          wires=ONLY_OPENAI),
    Fault("cut short by the vendor's content filter", one(said.CUT_BY_FILTER),
          Expect(200, ("ok",), said.GOOD_NANOS), stream=True, wires=ONLY_OPENAI),
    Fault("prompt blocked with 200", one(said.BLOCKED), Expect(200, ("ok",), 8 * 150), wires=("gemini",)),
    Fault("the caller leaves after the first chunk", one("stall;after=40;tokens=60;seconds=30"),
          Expect(200, ("client_gone",), ESTIMATE, error="client_gone"), stream=True, leaves="midway", faces=FACES),
)  # fmt: skip

GOOD = Expect(200, ("ok",), EXACT)
GUESSED = Expect(200, ("usage_missing",), ESTIMATE)
WRONG = Expect(200, ("ok",), AS_TOLD)
USAGE = (
    Fault("nothing goes wrong", one(), GOOD, faces=FACES),
    Fault("nothing goes wrong, streamed", one(), GOOD, stream=True, faces=STREAMING_FACES),
    Fault("usage missing", one("usage_missing"), GUESSED),
    Fault("usage missing, streamed", one("usage_missing"), GUESSED, stream=True, faces=FACES),
    Fault("usage told twice", one("usage_twice"), GOOD),
    Fault("usage told twice, streamed", one("usage_twice"), GOOD, stream=True),
    Fault("usage late, streamed", one("usage_late;seconds=0.05"), GOOD, stream=True),
    Fault("usage wrong", one("usage_wrong"), WRONG),
    Fault("usage wrong, streamed", one("usage_wrong"), WRONG, stream=True),
    Fault("usage of zeroes", one(said.ZEROES), GUESSED, wires=ONLY_OPENAI),
    Fault("usage that cannot be", one(said.IMPOSSIBLE), Expect(200, ("usage_mended",), ESTIMATE),
          wires=ONLY_OPENAI),
)  # fmt: skip

WITHIN = (*STREAMS, *USAGE)
