"""What is late gets a rival, what is nearly used up is spared: nobody hears of it, and each call is paid for."""

from __future__ import annotations

from penstock.mechanisms.hedging import SAMPLES_LEAST
from tests.faults import said
from tests.faults.before import SLOW, hidden
from tests.faults.case import ESTIMATE, EXACT, BackEnd, Expect, Fault

PROMPT = ("none",) * SAMPLES_LEAST
"""So many answers in time, before one is late."""
TELLS_LIMITS = ("openai", "anthropic")


def late(name: str, orders: tuple[str, ...], *others: BackEnd, expect: Expect, stream: bool = False) -> Fault:
    """Return the case of a hedged route whose first back end meets `orders` once it is known how quick it is."""
    return Fault(
        name,
        (BackEnd((*PROMPT, *orders)), *others),
        expect,
        stream=stream,
        hedge=True,
        asks=SAMPLES_LEAST + 1,
        timers=SLOW if "fails" in name else {},
    )


WON = Expect(200, ("abandoned", "ok"), ESTIMATE)
NEVER = "slow_first_byte;seconds=30"
SLOWLY = "slow_first_byte;seconds=0.3"

RIVALS = (
    late("late: its rival answers", (NEVER,), BackEnd(), expect=WON),
    late("late, streamed: its rival answers", (NEVER,), BackEnd(), expect=WON, stream=True),
    late("late, and nobody else: the same answers a second call", (NEVER, "none"), expect=WON),
    late("late, and yet before its rival", (SLOWLY,), BackEnd((NEVER,)),
         expect=Expect(200, ("abandoned", "ok"), ESTIMATE, audited=("ok", "abandoned"))),
    late("late, and its rival refuses", (SLOWLY,), BackEnd(("server_error",)),
         expect=Expect(200, ("server_error", "ok"), EXACT, audited=("ok", "server_error"))),
    late("late, and fails before its rival answers", (NEVER,), BackEnd(("slow_first_byte;seconds=0.6",)),
         expect=hidden("first_byte_timeout", ESTIMATE)),
)  # fmt: skip

SPARED = (
    Fault("nearly out of quota: the other is asked", (BackEnd((said.NEARLY_SPENT, "server_error")), BackEnd()),
          Expect(200, ("ok",), EXACT), asks=2, wires=TELLS_LIMITS),
    Fault("out of quota, by a 429: the other is asked next", (BackEnd((said.SPENT, "server_error")), BackEnd()),
          Expect(200, ("ok",), EXACT), asks=2, wires=TELLS_LIMITS),
)  # fmt: skip
