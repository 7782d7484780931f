"""Money: what a model call costs, in whole nano-dollars, and how much more a budget can bear.

One nano-dollar is 10⁻⁹ $; every amount is an `int` and fits a signed 64-bit column (± $9.2 billion). A rate is
nano-dollars per *million* tokens, so tokens × rate is a whole number of femto-dollars (10⁻¹⁵ $) and nothing is
lost on the way. No float enters or leaves this module.

Rounding: the femto-dollars of one call are summed first, then rounded **up** to a nano-dollar, once. Splitting a
call in k parts therefore costs at most k - 1 nano-dollars more than the whole, and never less.

Long-context tiers are cliffs, as every vendor bills them: past the threshold *all* tokens of the call pay the
tier's rates. A tier is chosen by the input tokens of one call, so price each call, not a sum of several.

Promises, for every price and every usage within the stated maxima:

    cost_nanos(price, usage)  <=  worst_case_nanos(price, input_tokens_max, output_tokens_max, n)
    worst_case_nanos(price, i, affordable_output_tokens(price, room, i, n), n)  <=  room   (and one token more is not)
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid

Nanos = int

NANOS_PER_DOLLAR: Final = 1_000_000_000
MAX_NANOS: Final = 2**63 - 1
"""The largest amount a ledger column holds, in nano-dollars."""
MAX_TOKENS: Final = 2**31 - 1
"""No count of tokens goes past this; also the answer when output is free and nothing else bounds it."""
MAX_RATE: Final = 10**15
"""The dearest rate accepted: one dollar per token, in nano-dollars per million tokens."""

_FEMTOS_PER_NANO: Final = 1_000_000  # = the "per million tokens" of a rate
_PARTS: Final = {"cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"}
_DOLLARS: Final = re.compile(r"(-?)\$?([0-9]{1,10})(?:\.([0-9]{1,9})0*)?", re.ASCII)


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one call used. The parts are counted *inside* the whole: cached within input, reasoning within output."""

    input_tokens: int = 0
    """All prompt tokens, the cached and the cache-writing ones included."""
    cached_input_tokens: int = 0
    """Of the input: read from the vendor's prompt cache."""
    cache_write_tokens: int = 0
    """Of the input: written to the vendor's prompt cache, whatever its lifetime."""
    cache_write_1h_tokens: int = 0
    """Of the cache writes: those kept for an hour, which some vendors sell dearer."""
    output_tokens: int = 0
    """All generated tokens, reasoning included."""
    reasoning_tokens: int = 0
    """Of the output: hidden reasoning."""
    images: int = 0
    """Images billed by the piece (not those billed as tokens)."""
    requests: int = 1
    """What a vendor that bills by the request made of the call: 1, or a rerank's search units."""

    def plus(self, other: Usage) -> Usage:
        """Return the sum, for reports. Price each call by itself: tiers look at one call's input."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            images=self.images + other.images,
            requests=self.requests + other.requests,
        )

    def mended(self) -> Usage:
        """Return `self` when the figures agree, else the nearest usage that can be billed.

        For figures reported by a vendor, at settlement, where refusing is no option; compare with `is` to flag the
        record. Negatives become 0; wholes stop at `MAX_TOKENS`, parts at a quarter of it. Parts that do not fit into
        their whole were reported *beside* it (Anthropic's cached tokens, some vendors' reasoning): they are added.
        """
        spoken = self.output_tokens - self.reasoning_tokens
        fresh = self.input_tokens - self.cached_input_tokens - self.cache_write_tokens
        signs = fresh | spoken | self.cached_input_tokens | self.cache_write_1h_tokens | self.reasoning_tokens
        signs |= (self.cache_write_tokens - self.cache_write_1h_tokens) | self.images | self.requests
        if (
            signs >= 0
            and max(self.input_tokens, self.output_tokens, self.images, self.requests) <= MAX_TOKENS
        ):
            return self  # the usual case, without building anything
        counts: dict[str, int] = {name: getattr(self, name) for name in self.__struct_fields__}
        most = {name: MAX_TOKENS // 4 if name in _PARTS else MAX_TOKENS for name in counts}
        sane = {name: min(max(count, 0), most[name]) for name, count in counts.items()}
        sane["cache_write_tokens"] = max(sane["cache_write_tokens"], sane["cache_write_1h_tokens"])
        parts = sane["cached_input_tokens"] + sane["cache_write_tokens"]
        if parts > sane["input_tokens"]:
            sane["input_tokens"] += parts
        if sane["reasoning_tokens"] > sane["output_tokens"]:
            sane["output_tokens"] += sane["reasoning_tokens"]
        return self if sane == counts else Usage(**sane)


class Rates(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of a price list, in nano-dollars per million tokens. Build it with `rates()`."""

    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    output: int
    reasoning: int

    def dearest_input(self) -> int:
        """Return the most an input token can cost, whichever way it is billed."""
        return max(self.input, self.cached_input, self.cache_write, self.cache_write_1h)

    def dearest_output(self) -> int:
        """Return the most an output token can cost."""
        return max(self.output, self.reasoning)


def rates(
    *,
    input: int,
    output: int,
    cached_input: int | None = None,
    cache_write: int | None = None,
    cache_write_1h: int | None = None,
    reasoning: int | None = None,
) -> Rates:
    """Build a row; a rate the vendor does not list is the plain one (no discount is assumed)."""
    write = input if cache_write is None else cache_write
    return Rates(
        input=input,
        cached_input=input if cached_input is None else cached_input,
        cache_write=write,
        cache_write_1h=write if cache_write_1h is None else cache_write_1h,
        output=output,
        reasoning=output if reasoning is None else reasoning,
    )


NO_RATES: Final = rates(input=0, output=0)


class Tier(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rates of every token of a call whose input exceeds `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one model at one provider from one day on. Raises `Invalid` when it does not make sense."""

    provider: str
    model: str
    org: str = ""
    """Whose price it is, "" for everybody's."""
    version: str
    """Digest of the entry: equal versions are equal prices. A hold pins it."""
    effective_from: date
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """Ascending by threshold."""
    per_request_nanos: int = 0
    per_image_nanos: int = 0
    batch_ratio: tuple[int, int] = (1, 1)
    """Numerator and denominator of the batch price, e.g. (1, 2); rates only."""
    free: bool = False
    """Declared free. A price of nothing but zeroes must say so; zero is never a default."""
    context_window: int = 0
    """Tokens; 0 is unknown."""
    max_output_tokens: int = 0
    """Tokens; 0 is unknown."""
    image_tokens_max: int = 0
    """Most input tokens one image can become; 0 is unknown."""
    capabilities: frozenset[str] = frozenset()
    """What the model is known to do: embedding, vision, tools, reasoning."""
    unpriced: frozenset[str] = frozenset()
    """What the vendor sells at a rate this entry does not carry (audio, video, web_search, …): refuse it."""
    dearest: tuple[tuple[int, int, int], ...] = ()
    """Derived, whatever is passed: (above input tokens, dearest input rate, dearest output rate), running maxima."""

    def __post_init__(self) -> None:
        """Check the entry and precompute what a worst case needs."""
        faults = list(_faults(self))
        if faults:
            raise Invalid(f"The price of {self.provider}/{self.model} is wrong: {'; '.join(faults)}.")
        steps = [(-1, self.rates.dearest_input(), self.rates.dearest_output())]
        for tier in self.tiers:
            _, most_in, most_out = steps[-1]
            most_in = max(most_in, tier.rates.dearest_input())
            most_out = max(most_out, tier.rates.dearest_output())
            steps.append((tier.above_input_tokens, most_in, most_out))
        msgspec.structs.force_setattr(self, "dearest", tuple(steps))

    def batched(self) -> Price:
        """Return the price of the same model through the vendor's batch API, each rate rounded up."""
        top, bottom = self.batch_ratio
        if top == bottom:
            return self
        return msgspec.structs.replace(
            self,
            version=f"{self.version}+batch",
            rates=_scaled(self.rates, top, bottom),
            tiers=tuple(
                Tier(above_input_tokens=tier.above_input_tokens, rates=_scaled(tier.rates, top, bottom))
                for tier in self.tiers
            ),
            batch_ratio=(1, 1),
        )


def cost_nanos(price: Price, usage: Usage) -> int:
    """Return what `usage`, one call, costs at `price`: exact, rounded up once, to a whole nano-dollar.

    Raises `Invalid` when a count is negative or a part exceeds its whole (see `Usage.mended`), or past `MAX_NANOS`.
    """
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    written_1h, reasoning = usage.cache_write_1h_tokens, usage.reasoning_tokens
    fresh = usage.input_tokens - cached - written
    spoken = usage.output_tokens - reasoning
    images, requests = usage.images, usage.requests
    # The sign bit of an OR is set when any operand's is: one comparison for eight.
    if (
        fresh | cached | written | written_1h | written - written_1h | spoken | reasoning | images | requests
    ) < 0:
        raise Invalid("The usage contradicts itself.", code="usage_inconsistent", field="usage", value=usage)
    row = price.rates
    for tier in price.tiers:
        if usage.input_tokens > tier.above_input_tokens:
            row = tier.rates
    femtos = fresh * row.input + spoken * row.output
    if cached:
        femtos += cached * row.cached_input
    if written:
        femtos += (written - written_1h) * row.cache_write + written_1h * row.cache_write_1h
    if reasoning:
        femtos += reasoning * row.reasoning
    nanos = (
        -(-femtos // _FEMTOS_PER_NANO) + price.per_request_nanos * requests + price.per_image_nanos * images
    )
    if nanos > MAX_NANOS:
        raise _overflow(nanos)
    return nanos


def worst_case_nanos(
    price: Price,
    input_tokens_max: int,
    output_tokens_max: int,
    n: int = 1,
    images: int = 0,
    requests: int = 1,
) -> int:
    """Return the most one request can cost: the prompt once, `n` answers, the dearest rates its size can reach, the
    fees of so many `requests` and `images`.

    Raises `Invalid` for a negative bound, for `n` below 1, or past `MAX_NANOS`.
    """
    if (input_tokens_max | output_tokens_max | n - 1 | images | requests) < 0:
        raise _bad_bounds(input_tokens_max, output_tokens_max, n, images, requests)
    input_rate, output_rate = _reachable(price, input_tokens_max)
    femtos = input_tokens_max * input_rate + output_tokens_max * n * output_rate
    fees = price.per_request_nanos * requests + price.per_image_nanos * images
    nanos = -(-femtos // _FEMTOS_PER_NANO) + fees
    if nanos > MAX_NANOS:
        raise _overflow(nanos)
    return nanos


def affordable_output_tokens(
    price: Price, room_nanos: int, input_tokens_max: int, n: int = 1, images: int = 0
) -> int:
    """Return the largest `max_tokens` whose worst case fits into `room_nanos`, at most `MAX_TOKENS`; 0 if none does.

    The exact inverse of `worst_case_nanos`: ⌈x⌉ ≤ room holds just when x ≤ room, for a whole room.
    """
    if (input_tokens_max | n - 1 | images) < 0:
        raise _bad_bounds(input_tokens_max, 0, n, images)
    input_rate, output_rate = _reachable(price, input_tokens_max)
    left_nanos = min(room_nanos, MAX_NANOS) - price.per_request_nanos - price.per_image_nanos * images
    femtos = left_nanos * _FEMTOS_PER_NANO - input_tokens_max * input_rate
    if femtos < 0:
        return 0
    return min(femtos // (output_rate * n), MAX_TOKENS) if output_rate else MAX_TOKENS


def parse_dollars(text: str) -> Nanos:
    """Read "1.25", "$0.000002" or "-3" exactly. Raises `Invalid` for anything else, or for parts of a nano-dollar."""
    try:
        match = _DOLLARS.fullmatch(text)
    except TypeError:  # a float from a configuration would have been rounded already
        match = None
    if match is None:
        raise Invalid(
            "Not an amount in dollars.",
            value=text,
            remedy='Write it as a string with at most 9 decimals, like "1.25".',
        )
    sign, whole, decimals = match.groups()
    nanos = int(whole) * NANOS_PER_DOLLAR + int((decimals or "").ljust(9, "0"))
    if nanos > MAX_NANOS:
        raise _overflow(nanos)
    return -nanos if sign else nanos


def format_dollars(nanos: Nanos) -> str:
    """Write an amount exactly: at least 2 decimals, at most 9, no trailing zeroes past the second ("$0.001234")."""
    whole, rest = divmod(abs(nanos), NANOS_PER_DOLLAR)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanos < 0 else ''}${whole}.{decimals}"


def _reachable(price: Price, input_tokens_max: int) -> tuple[int, int]:
    """Return the dearest input and output rates a call with so much input can meet."""
    input_rate = output_rate = 0
    for above, most_in, most_out in price.dearest:
        if input_tokens_max <= above:
            break
        input_rate, output_rate = most_in, most_out
    return input_rate, output_rate


def _scaled(row: Rates, top: int, bottom: int) -> Rates:
    return Rates(**{name: -(-getattr(row, name) * top // bottom) for name in row.__struct_fields__})


def _faults(price: Price) -> list[str]:
    """List everything wrong with an entry, so that a configuration reports all its mistakes at once."""
    rows = [price.rates, *(tier.rates for tier in price.tiers)]
    figures: list[int] = [getattr(row, name) for row in rows for name in Rates.__struct_fields__]
    fees = [price.per_request_nanos, price.per_image_nanos]
    thresholds = [tier.above_input_tokens for tier in price.tiers]
    limits = [price.context_window, price.max_output_tokens, price.image_tokens_max]
    top, bottom = price.batch_ratio
    checks = [
        (not all(0 <= figure <= MAX_RATE for figure in figures), f"a rate is outside 0..{MAX_RATE}"),
        (not all(0 <= fee <= MAX_RATE for fee in fees), f"a fee is outside 0..{MAX_RATE}"),
        (any(limit < 0 for limit in limits), "a limit is negative"),
        (thresholds != sorted(set(thresholds)) or min(thresholds, default=0) < 0, "tiers do not ascend"),
        (not 0 < top <= bottom, "the batch ratio is not within (0, 1]"),
        (price.free and any(figures + fees), "it is marked free but has a rate"),
        (not price.free and not any(figures + fees), "every rate is zero but it is not marked free"),
    ]
    return [fault for wrong, fault in checks if wrong]


def _overflow(nanos: int) -> Invalid:
    return Invalid(
        "The amount does not fit into 64 bits.", code="amount_too_large", value=nanos, limit=MAX_NANOS
    )


def _bad_bounds(*bounds: int) -> Invalid:
    return Invalid("A worst case needs bounds of 0 or more and n of 1 or more.", value=bounds)
