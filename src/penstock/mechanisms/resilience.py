"""Calling what may fail: attempts, back-off, a retry budget across requests, and a breaker per back end.

Promises: a failure that cannot be cured by trying again is never tried again; pauses use full jitter and
honour the vendor's `retry-after` up to `backoff_cap_s`, past which the vendor's refusal goes back to the
caller; retries never exceed a share of recent requests (Google SRE book, ch. 21: retries amplify an outage);
a breaker opens after N failures in a row (an answer that broke off half-way is one), lets one probe through
after a pause, and never leaves a caller without any back end to try; back ends not yet tried come first and
without a pause; no pause outlives the deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from penstock.kernel.clock import Clock
from penstock.kernel.faults import FAILURE_KINDS, RETRY_NEVER, RETRY_ONCE
from penstock.kernel.settings import ResilienceSettings
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
RETRY_RESERVE = 10.0
RETRY_MOST = 100.0


class Breaker:
    """Closed → open after N failures in a row → half-open with one probe → closed or open again."""

    __slots__ = ("_clock", "_failures", "_limit", "_open_s", "_opened_s", "_probing")

    def __init__(self, clock: Clock, failures: int, open_s: float) -> None:
        """Open after `failures` in a row, for `open_s` seconds."""
        self._clock = clock
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._opened_s = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """Return "closed", "open" or "half-open"."""
        if self._failures < self._limit:
            return "closed"
        waited = self._clock.monotonic_s() - self._opened_s >= self._open_s
        return "half-open" if waited else "open"

    def admits(self) -> bool:
        """Tell whether a call may go through now; a half-open breaker admits one probe until it is
        answered.
        """
        if not self.ready:
            return False
        self._probing = self._failures >= self._limit
        return True

    @property
    def ready(self) -> bool:
        """Whether a call would be admitted now; asking changes nothing."""
        if self._failures < self._limit:
            return True
        return not self._probing and self._clock.monotonic_s() - self._opened_s >= self._open_s

    def began(self) -> None:
        """Note an answer that has begun: the back end lives, but only its end clears the failures before it."""
        self._probing = False
        self._failures = min(self._failures, self._limit - 1)

    def succeeded(self) -> None:
        """Note a good answer, whole."""
        self._failures = 0
        self._probing = False

    def failed(self) -> None:
        """Note a failure that says something about the back end's health."""
        self._failures += 1
        self._probing = False
        if self._failures >= self._limit:
            self._opened_s = self._clock.monotonic_s()

    def undecided(self) -> None:
        """Note a call that said nothing about health (the caller went away, the request was wrong)."""
        self._probing = False


class RetryBudget:
    """Retries as a share of requests: each request earns `share`, each retry spends 1, a small reserve to
    start with.
    """

    __slots__ = ("_balance", "_share", "refused")

    def __init__(self, share_percent: int) -> None:
        """Allow `share_percent` retries per hundred requests."""
        self._share = share_percent / 100
        self._balance = RETRY_RESERVE
        self.refused = 0

    def earn(self) -> None:
        """Note a first attempt."""
        if self._balance < RETRY_MOST:
            self._balance += self._share

    def spend(self) -> bool:
        """Take one retry; False when the budget is used up."""
        if self._balance < 1:
            self.refused += 1
            return False
        self._balance -= 1
        return True


class Target(Protocol):
    """What can be called: a back end with a name of its own."""

    @property
    def label(self) -> str:
        """Unique name of the back end, for its breaker."""
        ...


T = TypeVar("T", bound=Target)
A = TypeVar("A")


@dataclass(slots=True)
class Answered(Generic[T, A]):
    """A good answer: who gave it, and the failures before it in order."""

    target: T
    answer: A
    failures: list[tuple[T, ProviderFailure]] = field(default_factory=list[tuple[T, ProviderFailure]])


class Resilience:
    """Policy over calls; one per process."""

    def __init__(self, settings: ResilienceSettings, clock: Clock) -> None:
        """Follow `settings`, in time told by `clock`."""
        self._settings = settings
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._jitter = random.Random()
        self.budget = RetryBudget(settings.retry_share_percent)
        self.retries = 0

    def breaker(self, label: str) -> Breaker:
        """Return the breaker of a back end."""
        found = self._breakers.get(label)
        if found is None:
            settings = self._settings
            found = self._breakers[label] = Breaker(
                self._clock, settings.breaker_failures, settings.breaker_open_s
            )
        return found

    def states(self) -> dict[str, str]:
        """Return the state of every breaker by back end."""
        return {label: breaker.state for label, breaker in self._breakers.items()}

    async def first_answer(
        self,
        targets: Sequence[T],
        call: Callable[[T], Awaitable[A]],
        deadline_s: float,
        before_retry: Callable[[T, ProviderFailure], Awaitable[bool]],
    ) -> Answered[T, A]:
        """Try `targets` in order until one answers.

        `before_retry(target, failure)` is asked before each further attempt (money may have to be reserved
        for it); False ends the attempts. Raises the last ProviderFailure, its `attempts` attribute listing
        all of them.
        """
        self.budget.earn()
        failures: list[tuple[T, ProviderFailure]] = []
        target = self._choose(targets)
        while True:
            breaker = self.breaker(target.label)
            breaker.admits()
            try:
                answer = await call(target)
            except ProviderFailure as failure:
                self._note(breaker, failure)
                failures.append((target, failure))
                failure.attempts = failures
                following = await self._following(targets, failures, deadline_s, before_retry)
                if following is None:
                    raise
                self.retries += 1
                target = following
                continue
            except BaseException:  # because a cancelled probe must not leave the breaker half-open for ever
                breaker.undecided()
                raise
            breaker.began()
            return Answered(target, answer, failures)

    def answered(self, label: str) -> None:
        """Note that an answer reached its end."""
        self.breaker(label).succeeded()

    def left_s(self, deadline_s: float) -> float:
        """Return the seconds until a deadline (monotonic seconds), 0 when it has passed."""
        return max(deadline_s - self._clock.monotonic_s(), 0.0)

    def failed_later(self, label: str, failure: ProviderFailure) -> None:
        """Note a failure that came after the answer had begun (a cut or a stall mid-stream)."""
        self._note(self.breaker(label), failure)

    def _note(self, breaker: Breaker, failure: ProviderFailure) -> None:
        if failure.kind in BREAKING_KINDS:
            breaker.failed()
        else:
            breaker.undecided()

    def _choose(self, targets: Sequence[T]) -> T:
        """Return the first target whose breaker admits a call; if none does, the first."""
        for target in targets:
            if self.breaker(target.label).ready:
                return target
        return targets[0]

    async def _following(
        self,
        targets: Sequence[T],
        failures: list[tuple[T, ProviderFailure]],
        deadline_s: float,
        before_retry: Callable[[T, ProviderFailure], Awaitable[bool]],
    ) -> T | None:
        """Return the target to try next, after the pause it needs; None when the failure stands."""
        target, failure = failures[-1]
        never = FAILURE_KINDS.get(failure.kind, RETRY_NEVER) == RETRY_NEVER
        left = _left(targets, failures)
        if (
            not left
            or len(failures) >= self._settings.max_attempts
            or (never and failure.kind not in ELSEWHERE_KINDS)
        ):
            return None
        chosen = self._choose(left)
        pause_s = self._pause_s([f for t, f in failures if t.label == chosen.label])
        if pause_s > self._settings.backoff_cap_s or pause_s >= self.left_s(deadline_s):
            return None
        if not self.budget.spend() or not await before_retry(target, failure):
            return None
        if pause_s:
            await asyncio.sleep(pause_s)
        return chosen

    def _pause_s(self, failures: Sequence[ProviderFailure]) -> float:
        """Return how long to wait before a back end that failed so is tried again: the vendor's hint, or exponential
        back-off with full jitter; nothing for one not yet tried, or for what is tried again once.
        """
        if not failures:
            return 0.0
        last = failures[-1]
        if last.retry_after_s is not None:
            return last.retry_after_s
        if FAILURE_KINDS[last.kind] == RETRY_ONCE:
            return 0.0
        settings = self._settings
        ceiling = min(settings.backoff_base_s * 2 ** (len(failures) - 1), settings.backoff_cap_s)
        return self._jitter.uniform(0, ceiling)


def _left(targets: Sequence[T], failures: Sequence[tuple[T, ProviderFailure]]) -> list[T]:
    """Return the targets that may still be tried, those tried least first."""
    tried: dict[str, list[ProviderFailure]] = {target.label: [] for target in targets}
    for target, failure in failures:
        tried[target.label].append(failure)
    left = [target for target in targets if not _given_up(tried[target.label])]
    left.sort(key=lambda target: len(tried[target.label]))
    return left


def _given_up(failures: Sequence[ProviderFailure]) -> bool:
    """Tell whether trying this back end again cannot help, by the table or by the vendor's own word."""
    kinds = [failure.kind for failure in failures]
    rules = {kind: FAILURE_KINDS.get(kind, RETRY_NEVER) for kind in kinds}
    return any(
        failure.may_retry is False
        or rules[failure.kind] == RETRY_NEVER
        or (rules[failure.kind] == RETRY_ONCE and kinds.count(failure.kind) > 1)
        for failure in failures
    )
