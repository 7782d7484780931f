"""How the simulated provider behaves: when it answers, how fast, and what it gets wrong.

Promises: all draws come from one seed in the order requests arrive; an order (``x-simulate: cut;after=3``, the model
``sim/cut``, or one queued beforehand) outranks the weights; the vocabulary is that of `kernel.faults`.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.faults import MISBEHAVIOURS, NONE, Misbehaviour

N = TypeVar("N", int, float)

MAX_QUEUED_ORDERS: Final = 100_000
MODEL_PREFIX: Final = "sim/"


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request shall meet; `tokens` (0: draw) fixes the answer's length."""

    misbehaviour: Misbehaviour = NONE
    tokens: int = 0


class Pace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Speed of one answer, in seconds: before the first token, and between tokens."""

    first_token_s: float
    between_s: float


class Speeds(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Lognormal distributions by median and sigma (of the logarithm; 0 is a constant). A median of 0 means at once."""

    first_token_s: float = 0.0
    first_token_sigma: float = 0.0
    tokens_per_s: float = 0.0
    tokens_per_s_sigma: float = 0.0
    answer_tokens: float = 32.0
    answer_sigma: float = 0.0


class Behaviour:
    """Draws what each request meets. Not shared between event loops."""

    def __init__(
        self, seed: int = 0, speeds: Speeds | None = None, weights: Mapping[str, float] | None = None
    ) -> None:
        """`weights` maps kinds of `kernel.faults` to shares; what is missing to 1 is "none" (empty: always "none")."""
        self._random = random.Random(seed)
        self._speeds = speeds or Speeds()
        self._queue: deque[Order] = deque()
        self._kinds: list[str] = []
        self._cumulated: list[float] = []
        self.weigh(weights or {})

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Replace the weights. Raises `Invalid` listing every mistake."""
        faults = [f"{kind!r} is no misbehaviour" for kind in weights if kind not in MISBEHAVIOURS]
        faults += [
            f"{kind!r} has a negative or endless share"
            for kind, share in weights.items()
            if not 0 <= share < math.inf
        ]
        total = sum(weights.values())
        if not faults and "none" not in weights and total > 1:
            faults.append(f"the shares add up to {total:g}, more than 1 (or give a share for 'none')")
        if faults:
            raise Invalid(f"The weights are wrong: {'; '.join(faults)}.", field="weights", remedy=_VOCABULARY)
        shares = {"none": 1 - total, **weights} if "none" not in weights else dict(weights)
        self._kinds = list(shares)
        self._cumulated = []
        reached = 0.0
        for share in shares.values():
            reached += share
            self._cumulated.append(reached)

    def queue(self, *orders: Order) -> None:
        """Have the next requests that bring no order of their own meet these, first come first served."""
        if len(self._queue) + len(orders) > MAX_QUEUED_ORDERS:
            raise Invalid("Too many orders are waiting.", value=len(orders), limit=MAX_QUEUED_ORDERS)
        self._queue.extend(orders)

    def clear(self) -> None:
        """Forget the orders that nobody has met yet."""
        self._queue.clear()

    def next(self, header: bytes | None, model: str) -> Order:
        """Return what the request that just arrived shall meet. Raises `Invalid` for an order nobody understands."""
        if header:
            return parse_order(header.decode("latin-1"))
        if model.startswith(MODEL_PREFIX) and model != "sim/model":
            return parse_order(model.removeprefix(MODEL_PREFIX))
        if self._queue:
            return self._queue.popleft()
        if len(self._kinds) == 1:
            return _PLAIN
        kind = self._random.choices(self._kinds, cum_weights=self._cumulated)[0]
        return _PLAIN if kind == "none" else Order(misbehaviour=Misbehaviour(kind=kind))

    def pace(self) -> Pace:
        """Draw the speed of one answer."""
        speeds = self._speeds
        first_s = self._draw(speeds.first_token_s, speeds.first_token_sigma)
        rate = self._draw(speeds.tokens_per_s, speeds.tokens_per_s_sigma)
        return Pace(first_token_s=first_s, between_s=1 / rate if rate > 0 else 0.0)

    def answer_tokens(self) -> int:
        """Draw the length of one answer, in tokens, at least 1."""
        return max(1, round(self._draw(self._speeds.answer_tokens, self._speeds.answer_sigma)))

    def _draw(self, median: float, sigma: float) -> float:
        if median <= 0 or sigma <= 0:
            return max(median, 0.0)
        return self._random.lognormvariate(math.log(median), sigma)


_PLAIN: Final = Order()
_VOCABULARY: Final = f"Use {', '.join(MISBEHAVIOURS)}."


def parse_order(text: str) -> Order:
    """Read ``kind[;after=3][;seconds=1.5][;tokens=64]``. Raises `Invalid` naming what is wrong."""
    kind, *settings = [part.strip() for part in text.split(";")]
    if kind not in MISBEHAVIOURS:
        raise Invalid(
            "There is no such misbehaviour.", field="x-simulate", value=kind[:40], remedy=_VOCABULARY
        )
    after, seconds, tokens = NONE.after_chunks, NONE.seconds, 0
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            if name == "after":
                after = _within(int(value), 0, 1_000_000)
            elif name == "seconds":
                seconds = _within(float(value), 0.0, 3600.0)
            elif name == "tokens":
                tokens = _within(int(value), 1, 1_000_000)
            else:
                raise ValueError
        except ValueError:
            raise Invalid(
                "This setting of an order is not understood.",
                field="x-simulate",
                value=setting[:40],
                remedy="Write kind;after=3;seconds=1.5;tokens=64, numbers of 0 or more.",
            ) from None
    return Order(misbehaviour=Misbehaviour(kind=kind, after_chunks=after, seconds=seconds), tokens=tokens)


def _within(value: N, least: N, most: N) -> N:
    if not least <= value <= most:
        raise ValueError
    return value
