"""What each upstream key has left of its vendor's rate limits, as far as the vendor or the settings have told.

Promises: a limit nobody told reads as whole, so a silent vendor is never waited for; one that only the settings told
(`starting`) is counted against from the first call on, with a minute's refill, until the vendor tells it; what was
told is worn down by the calls made since and refills evenly until the moment the vendor named (the token bucket that
OpenAI and Anthropic document; a vendor with a fixed window is corrected by its next answer); of several keys each has
limits of its own, the calls wear all of them alike, and the fullest counts, because that is the one to call under
(one that nothing was told of for `SILENT_S` while another was called is out of use, and counts no more); a label
costs one small record, and there are at most `LABELS_MOST` of them (the rest reads as whole, `left_out` counts them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from penstock.kernel.clock import Clock
from penstock.ports.providers import Quota, RateHint

LABELS_MOST: Final = 4_096
REFILL_S: Final = 60.0
"""How long a limit takes to be whole again, in seconds, when the vendor did not say: vendors count per minute."""
SILENT_S: Final = 600.0
LISTEN_EVERY_S: Final = 0.25
"""Seconds between two answers whose headers are read for one label; the calls between are reckoned."""


class _Bucket:
    """One limit as it was told: `remaining` of `limit` at `told_s`, whole again `reset_s` later. One that is `assumed`
    was told by the settings: `limit` a minute, and nobody says when it is whole again.
    """

    __slots__ = ("assumed", "limit", "remaining", "reset_s", "told_s")

    def __init__(
        self, limit: int, remaining: float, reset_s: float, told_s: float, *, assumed: bool = False
    ) -> None:
        self.assumed = assumed
        self.limit = limit
        self.remaining = remaining
        self.reset_s = reset_s
        self.told_s = told_s

    def left(self, now_s: float) -> float:
        passed_s = now_s - self.told_s
        if passed_s >= self.reset_s:
            return self.limit
        refilled = (self.limit - self.remaining) * passed_s / self.reset_s
        return min(max(self.remaining + refilled, 0.0), self.limit)

    def spend(self, amount: float, now_s: float) -> None:
        """Take `amount`; what has refilled by now is kept, and what is missing refills until the same moment."""
        left_s = self.told_s + self.reset_s - now_s
        if left_s <= 0:  # whole again, and nobody told how long the next refill takes
            left_s = REFILL_S
        self.remaining = self.left(now_s) - amount
        if self.assumed:
            left_s = (self.limit - self.remaining) / self.limit * REFILL_S
        self.told_s, self.reset_s = now_s, left_s


class _Limits:
    """The limits behind one label: buckets by name, by key; when an answer was last asked for them; and what was spent
    since anybody looked.
    """

    __slots__ = ("asked_s", "assumed", "calls", "calm_calls", "calm_tokens", "heard_s", "keys", "tokens")

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, _Bucket]] = {}
        self.heard_s: dict[str, float] = {}
        """When the vendor last told of a key."""
        self.asked_s = -LISTEN_EVERY_S
        self.assumed = False
        """Whether any bucket is: then every call is spent at once, because no header will put the sum right."""
        self.calls = self.tokens = 0
        self.calm_calls = self.calm_tokens = math.inf
        """So much may be spent before any limit is near, if nothing refills."""

    def share(self, now_s: float, near: float) -> float:
        """Return the share left under the fullest key, of its scarcest limit."""
        if self.calls:
            self._spend(now_s)
        self.calm_calls = self.calm_tokens = math.inf
        fullest = 0.0
        for buckets in self.keys.values():
            scarcest = 1.0
            for name, bucket in buckets.items():
                share = bucket.left(now_s) / bucket.limit
                scarcest = min(scarcest, share)
                calm = (share - near) * bucket.limit
                if name == "requests":
                    self.calm_calls = min(self.calm_calls, calm)
                elif name != "output_tokens":
                    self.calm_tokens = min(self.calm_tokens, calm)
            fullest = max(fullest, scarcest)
        return fullest

    def heard(self, key: str, now_s: float) -> dict[str, _Bucket]:
        """Return the buckets of a key that was told of now; keys that are out of use are forgotten."""
        self.heard_s[key] = now_s
        for other in [each for each, heard_s in self.heard_s.items() if now_s - heard_s > SILENT_S]:
            del self.heard_s[other], self.keys[other]
        return self.keys.setdefault(key, {})

    def assume(self, keys: Mapping[str, Mapping[str, int]], now_s: float) -> None:
        """Take these limits for whole, by key and name, until the vendor tells."""
        self.assumed = True
        for key, figures in keys.items():
            self.heard_s[key] = now_s
            self.keys[key] = {
                name: _Bucket(limit, limit, REFILL_S, now_s, assumed=True) for name, limit in figures.items()
            }

    def told(self, key: str, name: str) -> None:
        """Let what was assumed of a key make way for what its vendor told of the limit `name`."""
        buckets = self.keys[key]
        for other in [each for each, bucket in buckets.items() if bucket.assumed]:
            if (name == "tokens" and other == "input_tokens") or (
                name == "input_tokens" and other == "tokens"
            ):
                del buckets[other]  # one limit in two vendors' words
        self.assumed = any(bucket.assumed for kept in self.keys.values() for bucket in kept.values())

    def _spend(self, now_s: float) -> None:
        """Take the calls from all keys alike."""
        keys = len(self.keys)
        for buckets in self.keys.values():
            for name, bucket in buckets.items():
                if name != "output_tokens":
                    bucket.spend((self.calls if name == "requests" else self.tokens) / keys, now_s)
        self.calls = self.tokens = 0


class Quotas:
    """The limits of every upstream key in use, by label (``provider/model``). One per process."""

    def __init__(
        self,
        clock: Clock,
        near_percent: int,
        starting: Callable[[str], Mapping[str, Mapping[str, int]]] | None = None,
    ) -> None:
        """Call a limit near when less than `near_percent` of it is left. `starting(label)` are limits a minute by key
        and name (requests, tokens, input_tokens), to hold until the vendor tells; None where there are none.
        """
        self._starting = starting
        self._clock = clock
        self._near = near_percent / 100
        self._kept: dict[str, _Limits] = {}
        self._scarce: set[str] = set()
        self.any_near = False
        """Whether any limit was near when it was last looked at."""
        self.left_out = 0
        """Answers whose limits were not kept, because too many labels are."""

    def listens(self, label: str) -> bool:
        """Tell whether it is time to read an answer's limits again; then they are asked for once."""
        limits = self._kept.get(label) or self._limits(label)
        now_s = self._clock.monotonic_s()
        if limits is None or now_s - limits.asked_s < LISTEN_EVERY_S:
            return False
        limits.asked_s = now_s
        return True

    def told(self, label: str, rates: RateHint, key: str = "") -> None:
        """Note what a vendor told with an answer or a refusal under one of its keys (the secret's name, "" where there
        is one); what it did not tell stays as it was.
        """
        for name, quota in (
            ("requests", rates.requests),
            ("tokens", rates.tokens),
            ("input_tokens", rates.input_tokens),
            ("output_tokens", rates.output_tokens),
        ):
            if quota.limit and quota.remaining is not None:
                self._keep(label, key, name, quota)

    def called(self, label: str, tokens: int) -> None:
        """Note a call just made, of `tokens` input tokens: the vendor has not told about it yet."""
        limits = self._kept.get(label)
        if (limits is None or not limits.keys) and self._starting is not None:
            limits = self._started(label, self._starting(label))
        if limits is None or not limits.keys:
            return
        limits.calls += 1
        limits.tokens += tokens
        if limits.calls > limits.calm_calls or limits.tokens > limits.calm_tokens or limits.assumed:
            self._weigh(label, limits)

    def share_left(self, label: str) -> float:
        """Return the share left of the scarcest limit, 0 to 1; 1 when nothing is known."""
        limits = self._kept.get(label)
        return self._weigh(label, limits) if limits is not None and limits.keys else 1.0

    def shares_left(self) -> dict[str, float]:
        """Return `share_left` of every label whose vendor has told a limit."""
        return {label: self.share_left(label) for label, limits in self._kept.items() if limits.keys}

    def is_near(self, label: str) -> bool:
        """Tell whether a limit is nearly used up."""
        return label in self._scarce and self.share_left(label) < self._near

    def refill_s(self, label: str) -> float:
        """Return the seconds until no limit is near any more, 0 when none is: what to tell one who must wait."""
        if not self.is_near(label):
            return 0.0
        now_s = self._clock.monotonic_s()
        return min(self._wait_s(buckets.values(), now_s) for buckets in self._kept[label].keys.values())

    def _wait_s(self, buckets: Iterable[_Bucket], now_s: float) -> float:
        """Return the seconds until none of one key's limits is near."""
        wait_s = 0.0
        for bucket in buckets:
            share = bucket.left(now_s) / bucket.limit
            if share < self._near:
                whole_s = bucket.told_s + bucket.reset_s - now_s
                wait_s = max(wait_s, whole_s * (self._near - share) / (1 - share))
        return wait_s

    def _weigh(self, label: str, limits: _Limits) -> float:
        """Return the share left, and note whether it is near."""
        share = limits.share(self._clock.monotonic_s(), self._near)
        if share < self._near:
            self._scarce.add(label)
        else:
            self._scarce.discard(label)
        self.any_near = bool(self._scarce)
        return share

    def _started(self, label: str, keys: Mapping[str, Mapping[str, int]]) -> _Limits | None:
        """Return a label's limits as the settings tell them, None when they tell none."""
        limits = self._limits(label) if keys else None
        if limits is not None:
            limits.assume(keys, self._clock.monotonic_s())
        return limits

    def _limits(self, label: str) -> _Limits | None:
        limits = self._kept.get(label)
        if limits is None:
            if len(self._kept) >= LABELS_MOST:
                self.left_out += 1
                return None
            limits = self._kept[label] = _Limits()
        return limits

    def _keep(self, label: str, key: str, name: str, quota: Quota) -> None:
        limits = self._limits(label)
        if limits is None or not quota.limit:
            return
        now_s = self._clock.monotonic_s()
        reset_s = REFILL_S if quota.reset_s is None else quota.reset_s
        remaining = min(quota.remaining or 0, quota.limit)
        if limits.calls:
            limits.share(now_s, self._near)  # what was spent before this was told is in it
        limits.heard(key, now_s)[name] = _Bucket(quota.limit, remaining, reset_s, now_s)
        if limits.assumed:
            limits.told(key, name)
        self._weigh(label, limits)
