"""What each upstream key has left of its vendor's rate limits, as far as the vendor has told.

Promises: a limit nobody told reads as whole, so a silent vendor is never waited for; what was told is worn down by the
calls made since and refills evenly until the moment the vendor named (the token bucket that OpenAI and Anthropic
document; a vendor with a fixed window is corrected by its next answer); a label costs one small record, and there are
at most `LABELS_MOST` of them (the rest reads as whole, `left_out` counts them).
"""

from __future__ import annotations

from typing import Final

from penstock.kernel.clock import Clock
from penstock.ports.providers import Quota, RateHint

LABELS_MOST: Final = 4_096
REFILL_S: Final = 60.0
"""How long a limit takes to be whole again, in seconds, when the vendor did not say: vendors count per minute."""


class _Bucket:
    """One limit as it was told: `remaining` of `limit` at `told_s`, whole again `reset_s` later."""

    __slots__ = ("limit", "remaining", "reset_s", "told_s")

    def __init__(self, limit: int, remaining: float, reset_s: float, told_s: float) -> None:
        self.limit = limit
        self.remaining = remaining
        self.reset_s = reset_s
        self.told_s = told_s

    def share(self, now_s: float) -> float:
        passed_s = now_s - self.told_s
        if passed_s >= self.reset_s:
            return 1.0
        refilled = (self.limit - self.remaining) * passed_s / self.reset_s
        return min(max(self.remaining + refilled, 0.0) / self.limit, 1.0)

    def spend(self, amount: int, now_s: float) -> None:
        """Take `amount`; what has refilled by now is kept, and what is missing refills until the same moment."""
        left_s = self.told_s + self.reset_s - now_s
        if left_s <= 0:  # whole again, and nobody told how long the next refill takes
            left_s = REFILL_S
        self.remaining = self.share(now_s) * self.limit - amount
        self.told_s, self.reset_s = now_s, left_s


class Quotas:
    """The limits of every upstream key in use, by label (``provider/model``). One per process."""

    def __init__(self, clock: Clock, near_percent: int) -> None:
        """Call a limit near when less than `near_percent` of it is left."""
        self._clock = clock
        self._near = near_percent / 100
        self._kept: dict[str, dict[str, _Bucket]] = {}
        self.left_out = 0
        """Answers whose limits were not kept, because too many labels are."""

    def told(self, label: str, rates: RateHint) -> None:
        """Note what a vendor told with an answer or a refusal; what it did not tell stays as it was."""
        for name, quota in (
            ("requests", rates.requests),
            ("tokens", rates.tokens),
            ("input_tokens", rates.input_tokens),
            ("output_tokens", rates.output_tokens),
        ):
            if quota.limit and quota.remaining is not None:
                self._keep(label, name, quota.limit, quota)

    def called(self, label: str, tokens: int) -> None:
        """Note a call just made, of `tokens` input tokens: the vendor has not told about it yet."""
        kept = self._kept.get(label)
        if kept is None:
            return
        now_s = self._clock.monotonic_s()
        for name, bucket in kept.items():
            if name != "output_tokens":
                bucket.spend(1 if name == "requests" else tokens, now_s)

    def share_left(self, label: str) -> float:
        """Return the share left of the scarcest limit, 0 to 1; 1 when nothing is known."""
        kept = self._kept.get(label)
        if not kept:
            return 1.0
        now_s = self._clock.monotonic_s()
        return min(bucket.share(now_s) for bucket in kept.values())

    def is_near(self, label: str) -> bool:
        """Tell whether a limit is nearly used up."""
        return self.share_left(label) < self._near

    def refill_s(self, label: str) -> float:
        """Return the seconds until no limit is near any more, 0 when none is: what to tell one who must wait."""
        now_s, wait_s = self._clock.monotonic_s(), 0.0
        for bucket in self._kept.get(label, {}).values():
            share = bucket.share(now_s)
            if share < self._near:
                whole_s = bucket.told_s + bucket.reset_s - now_s
                wait_s = max(wait_s, whole_s * (self._near - share) / (1 - share))
        return wait_s

    def _keep(self, label: str, name: str, limit: int, quota: Quota) -> None:
        kept = self._kept.get(label)
        if kept is None:
            if len(self._kept) >= LABELS_MOST:
                self.left_out += 1
                return
            kept = self._kept[label] = {}
        reset_s = REFILL_S if quota.reset_s is None else quota.reset_s
        remaining = min(quota.remaining or 0, limit)
        kept[name] = _Bucket(limit, remaining, reset_s, self._clock.monotonic_s())
