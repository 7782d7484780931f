"""Money promises: exact, rounded up once, never double counted, and a worst case that is one."""

from __future__ import annotations

import ast
from datetime import date
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernel import money
from penstock.kernel.errors import Invalid
from penstock.kernel.money import (
    MAX_NANOS,
    MAX_TOKENS,
    Price,
    Rates,
    Tier,
    Usage,
    affordable_output_tokens,
    cost_nanos,
    format_dollars,
    parse_dollars,
    rates,
    worst_case_nanos,
)

DOLLAR = 1_000_000_000
GPT_4O = rates(input=2_500_000_000, cached_input=1_250_000_000, output=10_000_000_000)

counts = st.integers(0, 300_000)
seeds = st.integers(0, 2**62)
EDGES = (0, 1, 999_999, 1_000_000, 1_000_001)
thorough = settings(max_examples=5_000, deadline=None)
quick = settings(max_examples=500, deadline=None)


def a_price(row: Rates = GPT_4O, **fields: object) -> Price:
    return Price(provider="p", model="m", version="v", effective_from=date.min, rates=row, **fields)


def some_figure(draw: Random) -> int:
    return draw.choice(EDGES) if draw.random() < 0.2 else draw.randrange(200 * DOLLAR)


def some_rates(draw: Random) -> Rates:
    return Rates(**{name: some_figure(draw) for name in Rates.__struct_fields__})


def some_price(seed: int, tiers_max: int = 2) -> Price:
    """A price list by seed: drawing its 20 figures one by one from Hypothesis takes a minute for 5,000."""
    draw = Random(seed)
    starts = sorted({draw.randrange(250_000) for _ in range(draw.randint(0, tiers_max))})
    return a_price(
        some_rates(draw),
        tiers=tuple(Tier(above_input_tokens=start, rates=some_rates(draw)) for start in starts),
        per_request_nanos=some_figure(draw) + 1,
        per_image_nanos=some_figure(draw),
    )


def some_usage(seed: int, input_max: int = 300_000, output_max: int = 300_000) -> Usage:
    """A usage whose parts fit into their wholes; one in three reaches a maximum."""
    draw = Random(seed)
    total = input_max if draw.random() < 0.3 else draw.randint(0, input_max)
    output = output_max if draw.random() < 0.3 else draw.randint(0, output_max)
    cached = draw.choice((0, total, draw.randint(0, total)))
    written = draw.choice((0, total - cached, draw.randint(0, total - cached)))
    return Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw.randint(0, written),
        output_tokens=output,
        reasoning_tokens=draw.choice((0, output, draw.randint(0, output))),
        images=draw.randint(0, 3),
    )


prices = st.builds(some_price, seeds)
flat_prices = st.builds(some_price, seeds, st.just(0))
usages = st.builds(some_usage, seeds)


def exactly(price: Price, usage: Usage) -> Fraction:
    """The cost by the book, as a fraction of a nano-dollar: an independent reading of the price list."""
    reached = [tier.rates for tier in price.tiers if usage.input_tokens > tier.above_input_tokens]
    row = reached[-1] if reached else price.rates
    short_writes = usage.cache_write_tokens - usage.cache_write_1h_tokens
    sold = [
        (usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens, row.input),
        (usage.cached_input_tokens, row.cached_input),
        (short_writes, row.cache_write),
        (usage.cache_write_1h_tokens, row.cache_write_1h),
        (usage.output_tokens - usage.reasoning_tokens, row.output),
        (usage.reasoning_tokens, row.reasoning),
    ]
    tokens = sum((Fraction(count * rate, 1_000_000) for count, rate in sold), Fraction(0))
    return tokens + price.per_request_nanos * usage.requests + price.per_image_nanos * usage.images


def test_a_known_call_costs_what_the_vendor_bills():
    usage = Usage(input_tokens=1_000, cached_input_tokens=400, output_tokens=100)
    assert cost_nanos(a_price(), usage) == 600 * 2_500 + 400 * 1_250 + 100 * 10_000


def test_a_fraction_of_a_nano_dollar_is_rounded_up_once_for_the_whole_call():
    price = a_price(rates(input=400_000, output=400_000))
    assert cost_nanos(price, Usage(input_tokens=1)) == 1
    assert cost_nanos(price, Usage(input_tokens=1, output_tokens=1)) == 1
    assert cost_nanos(price, Usage(input_tokens=2, output_tokens=1)) == 2


def test_rates_the_vendor_does_not_list_are_the_plain_ones():
    assert rates(input=5, output=7) == Rates(
        input=5, cached_input=5, cache_write=5, cache_write_1h=5, output=7, reasoning=7
    )
    assert rates(input=5, output=7, cache_write=6).cache_write_1h == 6
    assert rates(input=5, output=7, cached_input=0).cached_input == 0


@pytest.mark.parametrize(("input_tokens", "rate"), [(199_999, 1), (200_000, 1), (200_001, 2)])
def test_past_a_tier_every_token_pays_the_tier(input_tokens: int, rate: int):
    tier = Tier(above_input_tokens=200_000, rates=rates(input=2_000_000, output=0))
    price = a_price(rates(input=1_000_000, output=0), tiers=(tier,))
    assert cost_nanos(price, Usage(input_tokens=input_tokens)) == input_tokens * rate


def test_reasoning_and_long_lived_cache_writes_have_rates_of_their_own():
    row = rates(
        input=1_000_000,
        cache_write=2_000_000,
        cache_write_1h=4_000_000,
        output=8_000_000,
        reasoning=16_000_000,
    )
    usage = Usage(
        input_tokens=10,
        cache_write_tokens=5,
        cache_write_1h_tokens=2,
        output_tokens=4,
        reasoning_tokens=1,
    )
    assert cost_nanos(a_price(row), usage) == 5 * 1 + 3 * 2 + 2 * 4 + 3 * 8 + 1 * 16


@thorough
@given(prices, usages)
def test_the_cost_is_the_exact_sum_rounded_up(price: Price, usage: Usage):
    exact = exactly(price, usage)
    assert exact <= cost_nanos(price, usage) < exact + 1


@thorough
@given(flat_prices, st.lists(usages, min_size=1, max_size=6))
def test_splitting_a_call_never_costs_less_and_at_most_a_nano_dollar_more_per_cut(
    price: Price, parts: list[Usage]
):
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.plus(part)
    apart = sum(cost_nanos(price, part) for part in parts)
    assert 0 <= apart - cost_nanos(price, whole) <= len(parts) - 1


@quick
@given(prices, usages, counts, st.sampled_from(["output_tokens", "images", "requests"]))
def test_more_output_images_or_requests_never_cost_less(price: Price, usage: Usage, more: int, what: str):
    larger = usage.plus(Usage(**{"requests": 0, what: more}))
    assert cost_nanos(price, larger) >= cost_nanos(price, usage)


@quick
@given(flat_prices, usages, counts)
def test_more_input_never_costs_less(price: Price, usage: Usage, more: int):
    larger = usage.plus(Usage(requests=0, input_tokens=more))
    assert cost_nanos(price, larger) >= cost_nanos(price, usage)


@thorough
@given(prices, counts, counts, st.integers(1, 8), seeds)
def test_no_usage_within_the_maxima_costs_more_than_the_worst_case(
    price: Price, input_max: int, output_max: int, n: int, seed: int
):
    usage = some_usage(seed, input_max, output_max * n)
    assert cost_nanos(price, usage) <= worst_case_nanos(price, input_max, output_max, n, usage.images)


@thorough
@given(prices, st.integers(-DOLLAR, 10_000 * DOLLAR), counts, st.integers(1, 8), st.integers(0, 3))
def test_affordable_tokens_fit_and_one_more_does_not(
    price: Price, room: int, input_max: int, n: int, images: int
):
    tokens = affordable_output_tokens(price, room, input_max, n, images)
    if tokens:
        assert worst_case_nanos(price, input_max, tokens, n, images) <= room
    if tokens < MAX_TOKENS:
        assert worst_case_nanos(price, input_max, tokens + 1, n, images) > room


@quick
@given(prices, counts, st.integers(1, 200_000), st.integers(1, 8))
def test_the_room_of_a_worst_case_affords_it_again(price: Price, input_max: int, output_max: int, n: int):
    room = worst_case_nanos(price, input_max, output_max, n)
    assert affordable_output_tokens(price, room, input_max, n) >= output_max


def test_free_output_is_bounded_by_the_largest_count_and_only_where_the_input_fits():
    embedding = a_price(rates(input=20_000_000, output=0))
    assert affordable_output_tokens(embedding, 20, 1) == MAX_TOKENS
    assert affordable_output_tokens(embedding, 19, 1) == 0


def test_n_answers_pay_the_prompt_once():
    assert worst_case_nanos(a_price(), 100, 10, 3) == 100 * 2_500 + 3 * 10 * 10_000


@pytest.mark.parametrize("requests", [0, 1, 3])
def test_what_bills_by_the_request_is_held_at_as_many_as_it_can_make(requests: int):
    price = a_price(rates(input=0, output=0), per_request_nanos=2_000_000)
    worst = worst_case_nanos(price, 900, 0, requests=requests)
    assert worst == cost_nanos(price, Usage(input_tokens=900, requests=requests)) == 2_000_000 * requests
    with pytest.raises(Invalid):
        worst_case_nanos(price, 900, 0, requests=-1)


def test_a_worst_case_looks_at_the_dearest_tier_reachable_and_no_further():
    cheaper = Tier(above_input_tokens=10, rates=rates(input=1_000_000, output=1_000_000))
    dearer = Tier(above_input_tokens=20, rates=rates(input=9_000_000, output=9_000_000))
    price = a_price(rates(input=5_000_000, output=5_000_000), tiers=(cheaper, dearer))
    assert worst_case_nanos(price, 20, 0) == 20 * 5
    assert worst_case_nanos(price, 21, 0) == 21 * 9


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=-1),
        Usage(output_tokens=-1),
        Usage(cached_input_tokens=-1),
        Usage(input_tokens=5, cached_input_tokens=6),
        Usage(input_tokens=5, cached_input_tokens=3, cache_write_tokens=3),
        Usage(input_tokens=5, cache_write_tokens=-1),
        Usage(input_tokens=5, cache_write_tokens=1, cache_write_1h_tokens=2),
        Usage(input_tokens=5, cache_write_1h_tokens=-1),
        Usage(output_tokens=5, reasoning_tokens=6),
        Usage(output_tokens=5, reasoning_tokens=-1),
        Usage(images=-1),
        Usage(requests=-1),
    ],
)
def test_a_usage_that_contradicts_itself_is_refused_and_can_be_mended(usage: Usage):
    with pytest.raises(Invalid) as refusal:
        cost_nanos(a_price(), usage)
    assert refusal.value.reason == "usage_inconsistent"
    mended = usage.mended()
    assert mended is not usage
    assert cost_nanos(a_price(), mended) >= 0


def test_cached_tokens_reported_beside_the_input_are_added_to_it():
    beside = Usage(input_tokens=10, cached_input_tokens=1_000, output_tokens=5, reasoning_tokens=50)
    assert beside.mended() == Usage(
        input_tokens=1_010, cached_input_tokens=1_000, output_tokens=55, reasoning_tokens=50
    )


@quick
@given(st.builds(Usage, **{name: st.integers(-(2**40), 2**40) for name in Usage.__struct_fields__}))
def test_mending_makes_any_figures_billable_and_is_idempotent(usage: Usage):
    mended = usage.mended()
    assert cost_nanos(a_price(), mended) >= 0
    assert mended.mended() is mended


def test_a_sound_usage_is_left_alone():
    usage = Usage(input_tokens=10, cached_input_tokens=4, cache_write_tokens=6, output_tokens=1)
    assert usage.mended() is usage


def test_amounts_past_64_bits_are_refused_and_the_largest_is_not():
    dear = a_price(rates(input=1_000_000, output=0))
    assert cost_nanos(dear, Usage(input_tokens=MAX_NANOS)) == MAX_NANOS
    for overflow in (
        lambda: cost_nanos(dear, Usage(input_tokens=MAX_NANOS + 1)),
        lambda: worst_case_nanos(dear, MAX_NANOS + 1, 0),
        lambda: parse_dollars("9999999999"),
    ):
        with pytest.raises(Invalid) as refusal:
            overflow()
        assert refusal.value.reason == "amount_too_large"
    assert worst_case_nanos(dear, 0, affordable_output_tokens(dear, 10**30, 0)) <= MAX_NANOS


@pytest.mark.parametrize("bounds", [(-1, 0, 1), (0, -1, 1), (0, 0, 0)])
def test_a_worst_case_of_negative_bounds_is_refused(bounds: tuple[int, int, int]):
    with pytest.raises(Invalid):
        worst_case_nanos(a_price(), *bounds)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"row": rates(input=-1, output=1)}, "a rate is outside"),
        ({"row": rates(input=money.MAX_RATE + 1, output=1)}, "a rate is outside"),
        ({"row": rates(input=0, output=0)}, "not marked free"),
        ({"free": True}, "marked free but has a rate"),
        ({"per_request_nanos": -1}, "a fee is outside"),
        ({"context_window": -1}, "a limit is negative"),
        ({"batch_ratio": (1, 0)}, "batch ratio"),
        ({"batch_ratio": (2, 1)}, "batch ratio"),
        (
            {"tiers": (Tier(above_input_tokens=2, rates=GPT_4O), Tier(above_input_tokens=1, rates=GPT_4O))},
            "ascend",
        ),
    ],
)
def test_a_price_that_makes_no_sense_cannot_be_built(fields: dict[str, object], fault: str):
    with pytest.raises(Invalid, match=fault):
        a_price(**fields)


def test_free_costs_nothing_and_affords_everything():
    free = a_price(money.NO_RATES, free=True)
    assert cost_nanos(free, Usage(input_tokens=10**6, output_tokens=10**6)) == 0
    assert affordable_output_tokens(free, 0, 10**6) == MAX_TOKENS


def test_a_batch_price_is_the_ratio_of_each_rate_rounded_up():
    row = rates(input=3, output=10, cached_input=1)
    tier = Tier(above_input_tokens=5, rates=row)
    half = a_price(row, tiers=(tier,), batch_ratio=(1, 2)).batched()
    assert half.rates == half.tiers[0].rates == rates(input=2, output=5, cached_input=1)
    assert half.version == "v+batch"
    assert half.batched() is half
    assert half.dearest == ((-1, 2, 5), (5, 2, 5))


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("1.25", 1_250_000_000),
        ("$0.000000001", 1),
        ("0", 0),
        ("-3", -3_000_000_000),
        ("-$0.5", -500_000_000),
        ("1.250000000000", 1_250_000_000),
        ("9223372036.854775807", MAX_NANOS),
    ],
)
def test_dollars_are_read_exactly(text: str, nanos: int):
    assert parse_dollars(text) == nanos


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "1e3", "1,000", " 1", "1\n", "٣", "0.0000000001", "NaN", "+1", "$", 1.25, None]
)
def test_anything_else_is_no_amount(text: object):
    with pytest.raises(Invalid):
        parse_dollars(text)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (1_234_000, "$0.001234"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_500_000_000, "$1.50"),
        (-250_000_000, "-$0.25"),
    ],
)
def test_dollars_are_written_exactly(nanos: int, text: str):
    assert format_dollars(nanos) == text


@quick
@given(st.integers(-MAX_NANOS, MAX_NANOS))
def test_what_is_written_reads_back(nanos: int):
    assert parse_dollars(format_dollars(nanos)) == nanos


def test_no_float_in_the_money_module():
    tree = ast.parse(Path(money.__file__).read_text(encoding="utf-8"))
    floats = [
        node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    divisions = [
        node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
    ]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "float"]
    assert not [*floats, *divisions, *names]
