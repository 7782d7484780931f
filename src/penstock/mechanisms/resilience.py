"""Calling what may fail: attempts, pauses and hedges, within a budget across requests and by each back end's health.

    breaker        who fails again and again is left alone          `mechanisms/breaker`
    outliers       who fails more often than its peers is ejected   `mechanisms/outliers`
    retry budget   retries and hedges as a share of requests        `mechanisms/retry_budget`
    hedging        a second attempt where the first is late         `mechanisms/hedging`

Promises: a failure that cannot be cured by trying again is never tried again; pauses use full jitter and honour the
vendor's `retry-after`; all pauses of a request together stay within `backoff_cap_s`, past which the vendor's refusal
goes back to the caller; retries and hedges never exceed a share of recent requests (Google SRE book, ch. 21: retries
amplify an outage); an answer that broke off half-way counts against its back end's health; a caller is never left
without any back end to try; back ends not yet tried come first and without a pause; no pause outlives the deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from penstock.kernel.clock import Clock
from penstock.kernel.faults import FAILURE_KINDS, RETRY_NEVER, RETRY_ONCE
from penstock.kernel.settings import ResilienceSettings
from penstock.mechanisms.breaker import Breaker
from penstock.mechanisms.hedging import FirstTokens, HedgePlan, Race, Target
from penstock.mechanisms.outliers import Outliers
from penstock.mechanisms.retry_budget import RetryBudget
from penstock.ports.providers import ProviderFailure

BREAKING_KINDS = frozenset(
    {
        "overloaded",
        "server_error",
        "connect_failed",
        "connect_timeout",
        "connection_reset",
        "first_byte_timeout",
        "malformed_reply",
        "stalled",
        "cut",
        "unauthenticated",
        "quota_exhausted",
        "spend_limit",
    }
)
ELSEWHERE_KINDS = frozenset({"quota_exhausted", "spend_limit", "unauthenticated", "not_found"})
"""What another back end's account, key or model list may still serve."""

TIMEOUTS = {"connect_timeout": "timeout", "first_byte_timeout": "timeout"}
"""What counts as one and the same where it is tried again once."""


T = TypeVar("T", bound=Target)
A = TypeVar("A")


@dataclass(slots=True)
class Answered(Generic[T, A]):
    """A good answer: who gave it, and the failures before it in order."""

    target: T
    answer: A
    failures: list[tuple[T, ProviderFailure]] = field(default_factory=list[tuple[T, ProviderFailure]])


class _Health:
    """How one back end is, as its calls tell: around each of them, by ``with``. It holds nothing of a call, so any
    number may be under way in it at one time.
    """

    __slots__ = ("_label", "_outliers", "breaker")

    def __init__(self, label: str, breaker: Breaker, outliers: Outliers) -> None:
        self._label = label
        self._outliers = outliers
        self.breaker = breaker

    def __enter__(self) -> None:
        self.breaker.admits()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self.breaker.began()
        elif isinstance(error, ProviderFailure):
            self.failed(error)
        else:  # a cancelled probe must not leave the breaker half-open for ever
            self.breaker.undecided()

    def failed(self, failure: ProviderFailure) -> None:
        """Note what a failure says about the back end."""
        if failure.kind in BREAKING_KINDS:
            self.breaker.failed()
            self._outliers.noted(self._label, good=False)
        else:
            self.breaker.undecided()


class Resilience:
    """Policy over calls; one per process."""

    def __init__(self, settings: ResilienceSettings, clock: Clock) -> None:
        """Follow `settings`, in time told by `clock`."""
        self._settings = settings
        self._clock = clock
        self._healths: dict[str, _Health] = {}
        self._jitter = random.Random()
        self.first_tokens = FirstTokens()
        self.outliers = Outliers(clock)
        self.budget = RetryBudget(settings.retry_share_percent)
        self.retries = 0
        self.hedges = 0
        self.hedges_won = 0

    def breaker(self, label: str) -> Breaker:
        """Return the breaker of a back end."""
        return self._health(label).breaker

    def _health(self, label: str) -> _Health:
        found = self._healths.get(label)
        if found is None:
            settings = self._settings
            breaker = Breaker(self._clock, settings.breaker_failures, settings.breaker_open_s)
            found = self._healths[label] = _Health(label, breaker, self.outliers)
        return found

    def states(self) -> dict[str, str]:
        """Return the state of every breaker by back end."""
        return {label: health.breaker.state for label, health in self._healths.items()}

    async def first_answer(
        self,
        targets: Sequence[T],
        call: Callable[[T], Awaitable[A]],
        deadline_s: float,
        before_retry: Callable[[T, ProviderFailure], Awaitable[bool]],
        hedge: HedgePlan[T, A] | None = None,
        *,
        earns: bool = True,
    ) -> Answered[T, A]:
        """Try `targets` in order until one answers.

        A request `earns` its share of the retry budget once, however often what it asks for makes it call.

        `before_retry(target, failure)` is asked before each further attempt (money may have to be reserved for it);
        False ends the attempts. With a `hedge` the first attempt gets a rival when it is late. Raises the last
        ProviderFailure, its `attempts` attribute listing all of them.
        """
        if earns:
            self.budget.earn()
        failures: list[tuple[T, ProviderFailure]] = []
        waited_s = 0.0
        target = self._choose(targets)
        while True:
            known = len(failures)
            try:
                if hedge is not None and not failures:
                    return await self._raced(targets, target, call, deadline_s, hedge, failures=failures)
                with self._healths.get(target.label) or self._health(target.label):
                    return Answered(target, await call(target), failures)
            except ProviderFailure as failure:
                if len(failures) == known:  # a race has noted its own
                    failures.append((target, failure))
                failure.attempts = failures
                following = await self._following(targets, failures, deadline_s, before_retry, waited_s)
                if following is None:
                    raise
                target, pause_s = following
                waited_s += pause_s
                self.retries += 1

    async def _attempt(self, target: T, call: Callable[[T], Awaitable[A]]) -> A:
        """Make one call; what it says about the back end's health is noted."""
        with self._health(target.label):
            return await call(target)

    async def _raced(
        self,
        targets: Sequence[T],
        target: T,
        call: Callable[[T], Awaitable[A]],
        deadline_s: float,
        hedge: HedgePlan[T, A],
        *,
        failures: list[tuple[T, ProviderFailure]],
    ) -> Answered[T, A]:
        """Make the first attempt, and a second beside it when it takes longer than 95 of 100 did."""

        async def rival() -> T | None:
            other = self._rival(targets, target)
            if other is None or not self.budget.spend():
                return None
            granted = await hedge.grant(other)
            if granted is None:
                self.budget.give_back()
            else:
                self.hedges += 1
            return granted

        breaker = self.breaker(target.label)
        is_probe = breaker.probes()  # now: the call begins a turn of the loop later
        late_s = self.first_tokens.p95_s(target.label, streamed=hedge.streamed)
        if late_s is not None and late_s >= self.left_s(deadline_s):
            late_s = None
        race = Race[T, A](lambda each: self._attempt(each, call), hedge, self.first_tokens, self._clock)
        try:
            answer = await race.run(target, late_s, rival)
        except ProviderFailure as failure:
            failures += [*race.failures, (race.target, failure)]
            raise
        finally:
            if is_probe:
                breaker.undecided()
        self.hedges_won += race.target is not target
        return Answered(race.target, answer, race.failures)

    def answered(self, label: str) -> None:
        """Note that an answer reached its end."""
        (self._healths.get(label) or self._health(label)).breaker.succeeded()
        self.outliers.noted(label, good=True)

    def left_s(self, deadline_s: float) -> float:
        """Return the seconds until a deadline (monotonic seconds), 0 when it has passed."""
        return max(deadline_s - self._clock.monotonic_s(), 0.0)

    def failed_later(self, label: str, failure: ProviderFailure) -> None:
        """Note a failure that came after the answer had begun (a cut or a stall mid-stream)."""
        self._health(label).failed(failure)

    def _choose(self, targets: Sequence[T], tried: Counter[str] | None = None) -> T:
        """Return the first target that is no outlier and whose breaker admits a call; else the first whose breaker
        does; if none does, the first. `tried` tells how often each was `tried` already, None before the first call.
        """
        if len(targets) == 1:
            return targets[0]
        if self.outliers.any:
            targets = self._outliers_last(targets, tried)
        for target in targets:
            if self.breaker(target.label).ready:
                return target
        return targets[0]

    def _outliers_last(self, targets: Sequence[T], tried: Counter[str] | None) -> list[T]:
        """Return the targets as they are, but for outliers. Who is in doubt is first only where it was drawn."""
        out, doubted = self.outliers.among([each.label for each in targets])

        def rank(target: T) -> tuple[bool, int, bool]:
            label = target.label
            if tried is None:
                return label in out, 0, label in doubted and target is not targets[0]
            return label in out, tried[label], label in doubted

        return sorted(targets, key=rank)

    def _rival(self, targets: Sequence[T], target: T) -> T | None:
        """Return who may be asked beside `target`: the next that is well, itself where it stands alone. A rival is no
        probe.
        """
        others = [each for each in targets if each.label != target.label]
        if not others:
            return target
        well = [each for each in others if self.breaker(each.label).state == "closed"]
        return self._choose(well) if well else None

    async def _following(
        self,
        targets: Sequence[T],
        failures: list[tuple[T, ProviderFailure]],
        deadline_s: float,
        before_retry: Callable[[T, ProviderFailure], Awaitable[bool]],
        waited_s: float,
    ) -> tuple[T, float] | None:
        """Return the target to try next, after the pause it needs, and that pause; None when the failure stands."""
        target, failure = failures[-1]
        never = FAILURE_KINDS.get(failure.kind, RETRY_NEVER) == RETRY_NEVER
        room_s = min(self._settings.backoff_cap_s - waited_s, self.left_s(deadline_s))
        left = _left(targets, failures, room_s)
        if (
            not left
            or len(failures) >= self._settings.max_attempts
            or (never and failure.kind not in ELSEWHERE_KINDS)
        ):
            return None
        chosen = self._choose(left, Counter(each.label for each, _ in failures))
        pause_s = self._pause_s([f for t, f in failures if t.label == chosen.label])
        if pause_s > room_s or pause_s >= self.left_s(deadline_s) or not self.budget.spend():
            return None
        breaker = self.breaker(chosen.label)
        is_probe = breaker.probes()  # now: who chooses meanwhile chooses another
        try:
            if not await before_retry(target, failure):
                return None
            if pause_s:
                await asyncio.sleep(pause_s)
            is_probe = False  # its call tells what came of it
        finally:
            if is_probe:
                breaker.undecided()
        return chosen, pause_s

    def _pause_s(self, failures: Sequence[ProviderFailure]) -> float:
        """Return how long to wait before a back end that failed so is tried again: the vendor's hint, or exponential
        back-off with full jitter; nothing for one not yet tried, for what is tried again once, or under another key.
        """
        if not failures:
            return 0.0
        last = failures[-1]
        if last.has_other_key:
            return 0.0
        if last.retry_after_s is not None:
            return last.retry_after_s
        if FAILURE_KINDS[last.kind] == RETRY_ONCE:
            return 0.0
        settings = self._settings
        ceiling = min(settings.backoff_base_s * 2 ** (len(failures) - 1), settings.backoff_cap_s)
        return self._jitter.uniform(0, ceiling)


def _left(targets: Sequence[T], failures: Sequence[tuple[T, ProviderFailure]], room_s: float) -> list[T]:
    """Return the targets that may still be tried, those tried least first. One whose vendor asks for a longer wait than
    `room_s` seconds is none of them.
    """
    tried: dict[str, list[ProviderFailure]] = {target.label: [] for target in targets}
    for target, failure in failures:
        tried[target.label].append(failure)
    left = [
        target
        for target in targets
        if not _given_up(tried[target.label]) and _asked_s(tried[target.label]) <= room_s
    ]
    left.sort(key=lambda target: len(tried[target.label]))
    return left


def _asked_s(failures: Sequence[ProviderFailure]) -> float:
    """Return the wait in seconds that a back end's last failure asked for, 0 if it did not."""
    if not failures or failures[-1].has_other_key:
        return 0.0
    return failures[-1].retry_after_s or 0.0


def _given_up(failures: Sequence[ProviderFailure]) -> bool:
    """Tell whether trying this back end again cannot help, by the table or by the vendor's own word."""
    kinds = [TIMEOUTS.get(failure.kind, failure.kind) for failure in failures]
    rules = {failure.kind: FAILURE_KINDS.get(failure.kind, RETRY_NEVER) for failure in failures}
    return any(
        failure.may_retry is False
        or rules[failure.kind] == RETRY_NEVER
        or (rules[failure.kind] == RETRY_ONCE and kinds.count(kind) > 1)
        for failure, kind in zip(failures, kinds, strict=True)
        if not failure.has_other_key  # what one key is refused says nothing of another
    )
