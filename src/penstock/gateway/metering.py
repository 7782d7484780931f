"""The way back: what was used, what it costs, and one settlement, whatever happened to anybody.

Promises: every seat is settled exactly once; the bill is the vendor's own usage when it came, else a bounded estimate
flagged as such and never above what was held; an attempt the vendor may have billed is billed even if it failed;
settling never delays the reply (the ledger journals it with its next group) and cannot be skipped by an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import msgspec

from penstock.dialects.codec import Facts, ReplyFacts
from penstock.gateway.admission import Admission, Seat, worst_nanos
from penstock.gateway.ask import Ask
from penstock.gateway.routing import Target
from penstock.kernel.money import Usage, cost_nanos
from penstock.mechanisms.tokens import estimate_output_tokens
from penstock.ports.ledger import Attempt, Posting, SettlesInBackground
from penstock.ports.providers import ProviderFailure

MAYBE_BILLED = frozenset(
    {
        "first_byte_timeout",
        "connection_reset",
        "stalled",
        "cut",
        "total_timeout",
        "malformed_reply",
        "reply_too_large",
        "error_mid_stream",
    }
)


def is_a_bill(usage: Usage, *, generated: bool) -> bool:
    """Tell whether figures can be an answer's bill: some vendors send zeroes where they mean nothing."""
    if generated and not usage.output_tokens:
        return False
    return bool(usage.input_tokens or usage.output_tokens)


class Meter:
    """Adds up the attempts of one operation and settles its seat once."""

    __slots__ = (
        "_admission",
        "_ledger",
        "ask",
        "attempts",
        "earlier",
        "is_estimate",
        "seat",
        "settled",
        "spent_nanos",
        "usage",
    )

    def __init__(self, ledger: SettlesInBackground, admission: Admission, seat: Seat, ask: Ask) -> None:
        """Meter the operation of `seat`."""
        self._ledger = ledger
        self._admission = admission
        self.ask = ask
        self.seat = seat
        self.attempts: list[Attempt] = []
        self.spent_nanos = 0
        """The cost of all attempts so far."""
        self.is_estimate = False
        """Whether any of them is an estimate."""
        self.usage: Usage | None = None
        """What the answer used, all of its parts together."""
        self.earlier: Usage | None = None
        """What the parts of the answer used that have left, where another goes on with it."""
        self.settled = False

    def answered(self, target: Target, usage: Usage, doubt: str = "") -> int:
        """Note the answer's usage as the vendor reported it; returns its cost in nano-dollars. With a `doubt` (a
        running count of an answer that broke off, figures that went down) it is flagged as an estimate.
        """
        sane = usage.mended()
        cost = cost_nanos(target.price, sane)
        if (
            sane is not usage
        ):  # figures that cannot be are no bill: an estimate like any other, within the hold
            cost = min(cost, max(self.seat.held_nanos - self.spent_nanos, 0))
        self.usage = sane if self.earlier is None else self.earlier.plus(sane)
        outcome = doubt or ("ok" if sane is usage else "usage_mended")
        self._add(target, sane, cost, outcome, estimated=outcome != "ok")
        return cost

    def whole(self, target: Target, facts: ReplyFacts, body_bytes: int) -> int:
        """Note a whole answer of so many bytes, by its usage or an estimate; returns its cost in nano-dollars."""
        if facts.usage is not None and is_a_bill(facts.usage, generated=False):
            return self.answered(target, facts.usage)
        tokens = estimate_output_tokens(body_bytes, 0).tokens
        return self.estimated(target, self.seat.input_tokens, tokens, "usage_missing")

    def streamed(self, target: Target, facts: Facts, outcome: str) -> int:
        """Note a stream by what was seen of it; returns its cost in nano-dollars. `outcome` tells what ended one whose
        end, or usage, never came.
        """
        usage = facts.usage
        tokens = estimate_output_tokens(facts.text_bytes, facts.deltas).tokens
        if usage is None or not is_a_bill(usage, generated=facts.deltas > 0):
            return self.estimated(target, self.seat.input_tokens, tokens, outcome)
        if facts.finish or facts.done:
            return self.answered(target, usage, "usage_decreased" if facts.usage_decreased else "")
        return self.broke_off(target, usage, tokens, outcome)

    def broke_off(self, target: Target, usage: Usage, output_tokens: int, outcome: str) -> int:
        """Note an answer without an end whose vendor counted along in its events: that is the least it costs, and so
        is what was seen of it. Returns its cost in nano-dollars.
        """
        seen = min(output_tokens, self.seat.output_tokens * self.ask.n)
        counted = msgspec.structs.replace(usage, output_tokens=max(usage.output_tokens, seen))
        return self.answered(target, counted, outcome)

    def estimated(self, target: Target, input_tokens: int, output_tokens: int, outcome: str) -> int:
        """Note a bounded estimate for an answer whose usage never came; returns its cost in nano-dollars."""
        seat = self.seat
        usage = Usage(
            input_tokens=min(input_tokens, seat.input_tokens),
            images=self.ask.images,
            requests=self.ask.requests,
            output_tokens=min(output_tokens, seat.output_tokens * self.ask.n),
        )
        cost = min(cost_nanos(target.price, usage), max(seat.held_nanos - self.spent_nanos, 0))
        self.usage = usage if self.earlier is None else self.earlier.plus(usage)
        self._add(target, usage, cost, outcome, estimated=True)
        return cost

    def failed(self, target: Target, failure: ProviderFailure) -> None:
        """Note an attempt without an answer; if the vendor may have billed it, so do we, at its worst case."""
        if failure.dispatched and failure.kind in MAYBE_BILLED:
            self.estimated(target, self.seat.input_tokens, self.seat.output_tokens * self.ask.n, failure.kind)
        else:
            self._add(target, Usage(), 0, failure.kind, estimated=False)

    def abandoned(self, target: Target) -> None:
        """Note a call that was given up before its answer: the vendor may bill all of it, so its worst case counts."""
        self.estimated(target, self.seat.input_tokens, self.seat.output_tokens * self.ask.n, "abandoned")

    def worst_nanos(self, targets: Sequence[Target]) -> int:
        """Return what one more attempt at any of `targets` can cost."""
        return worst_nanos(targets, self.ask, self.seat.output_tokens)

    def settle(self) -> None:
        """Post the operation; the first call counts, later ones do nothing."""
        if self.settled:
            return
        self.settled = True
        self._ledger.post_soon(
            Posting(self.seat.operation, self.spent_nanos, tuple(self.attempts), self.is_estimate)
        )

    def release(self) -> Awaitable[None]:
        """Return limits the request did not use. Called after the reply has left."""
        used = self.usage
        unused = self.seat.asks_tokens - (used.input_tokens + used.output_tokens if used else 0)
        return self._admission.give_back(self.seat, unused)

    def _add(self, target: Target, usage: Usage, cost: int, outcome: str, *, estimated: bool) -> None:
        self.spent_nanos += cost
        if estimated:
            self.is_estimate = True
        self.attempts.append(
            Attempt(
                len(self.attempts) + 1,
                target.provider.vendor,
                target.model,
                cost,
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
                outcome,
                estimated,
            )
        )
