"""Seeded bugs in the judging of canaries."""

from __future__ import annotations

from tests.evidence.seed import Seed

SEQUENTIAL = ("tests/unit/mechanisms/test_sequential.py",)
ROLLOUTS = ("tests/unit/gateway/test_rollouts.py", "tests/unit/gateway/test_rollout_arms.py")

ROLLOUT_SEEDS = (
    Seed(
        "the same wealth is staked again and again",
        "a good newcomer is convicted with a chance of at most alpha, however often it is looked at",
        "mechanisms/sequential.py",
        "stake = self._reserve(self._bets) - self._reserve(self._bets + 1)",
        "stake = self._reserve(self._bets)",
        SEQUENTIAL,
    ),
    Seed(
        "the split is taken for half and half",
        "evidence is exact whatever the split is",
        "mechanisms/sequential.py",
        "self._wealth.grow(share_ratios(newcomer, control, bad, self._bad[Side.NEWCOMER]))",
        "self._wealth.grow(share_ratios(newcomer, newcomer, bad, self._bad[Side.NEWCOMER]))",
        SEQUENTIAL,
    ),
    Seed(
        "a fallback hides the canary's failure",
        "a request counts for the arm it was first sent to, whoever answered",
        "gateway/rollout_arms.py",
        "        first = event.calls[0]\n        return Side.NEWCOMER",
        "        first = event.calls[-1]\n        return Side.NEWCOMER",
        ROLLOUTS,
    ),
    Seed(
        "the caller's mistakes are the canary's",
        "what the caller did wrong counts for neither arm",
        "gateway/rollout_arms.py",
        "FAILURES: Final = frozenset(FAILURE_KINDS) - CALLERS_FAULT",
        "FAILURES: Final = frozenset(FAILURE_KINDS)",
        ROLLOUTS,
    ),
    Seed(
        "every node acts",
        "one node acts at a time, by a lease",
        "gateway/rollouts.py",
        "        if is_judge:\n            await self._judge(",
        "        if doc:\n            await self._judge(",
        ROLLOUTS,
    ),
    Seed(
        "a newcomer inherits the evidence of another",
        "a trial is of one newcomer; another is tried anew",
        "gateway/rollouts.py",
        "if doc is None or doc.outcome or frozenset(doc.labels) != newcomer.labels:",
        "if doc is None or doc.outcome:",
        ROLLOUTS,
    ),
)
