"""Answers kept on the request path: whoever asks the same again is served them, free, as it asked for them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from penstock.gateway.faces import anthropic_face
from penstock.gateway.structured_care import StructuredCare
from penstock.kernel.errors import Invalid, OverLimit
from penstock.kernel.settings_cache import CacheSettings
from penstock.mechanisms.answer_cache import ClassTally
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.cached_house import CachedHouse, was_hit
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    Caller,
    House,
    Vendor,
    event,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_structured_care import FORMAT, GOOD

USED = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
COST_NANOS = 9 * 1_000 + 3 * 2_000
ANSWER = full(whole("Half full.", **USED))
STREAM = stream(ROLE, text("Half "), text("full."), FINISH, USAGE, DONE)
DOWN = ProviderFailure("no", kind="server_error", status=500)


def house(*answers: Any, **settings: Any) -> tuple[CachedHouse, Vendor]:
    """Return a gateway over one vendor."""
    vendor = Vendor("sim", *(answers or (ANSWER,)))
    return CachedHouse(vendor, settings=CacheSettings(url="memory:", **settings)), vendor


def said(caller: Caller) -> str:
    """Return the words of a whole reply."""
    return msgspec.json.decode(caller.body)["choices"][0]["message"]["content"]


def streamed(caller: Caller) -> str:
    """Return the words of a stream that ended well."""
    *events, done = caller.body.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    chunks = [msgspec.json.decode(each.removeprefix(b"data: ")) for each in events]
    return "".join([c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]])


def test_the_same_request_is_answered_once_by_a_vendor_and_the_second_time_for_nothing() -> None:
    it, vendor = house()

    async def story() -> None:
        first = await it.ask()
        it.clock.advance(12)
        second = await it.ask()
        assert not was_hit(first) and was_hit(second) and b"age=12" in second.headers
        assert said(first) == said(second) == "Half full."
        assert b"x-penstock-cost-nanos: 0\r\n" in second.headers

    run(story())
    assert len(vendor.calls) == 1
    assert [posting.amount_nanos for posting in it.ledger.postings] == [COST_NANOS, 0]
    assert [(e.cache, e.cost_nanos, e.saved_nanos) for e in it.events] == [
        ("", COST_NANOS, 0),
        ("exact", 0, COST_NANOS),
    ]
    tally = it.kept.tally("a")
    assert (tally.hits, tally.misses, tally.kept, tally.saved_nanos) == (1, 1, 1, COST_NANOS)
    assert tally.classes == {"semi": ClassTally(hits=1, kept=1, saved_nanos=COST_NANOS)}


@pytest.mark.parametrize("first_streams", [True, False])
def test_streamed_or_not_is_the_same_request(first_streams: bool) -> None:
    it, vendor = house(STREAM if first_streams else ANSWER)

    async def story() -> None:
        options = {"stream_options": {"include_usage": True}}
        first = await it.ask(stream=first_streams, **(options if first_streams else {}))
        second = await it.ask(stream=not first_streams)
        whole_one, stream_one = (second, first) if first_streams else (first, second)
        assert was_hit(second) and said(whole_one) == streamed(stream_one) == "Half full."
        assert (b'"usage"' in stream_one.body) is first_streams, "usage is for whoever asked for it"
        assert msgspec.json.decode(whole_one.body)["usage"]["completion_tokens"] == 3

    run(story())
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(
    ("headers", "members"),
    [
        ({}, {"temperature": 0.7}),
        ({}, {"temperature": None}),
        ({"cache-control": "no-store"}, {}),
        ({"x-penstock-cache-ttl-class": "live"}, {}),
        ({}, {"store": True}),
        ({}, {"web_search_options": {}}),
        ({"x-penstock-cache-version": "@"}, {}),
        ({}, {"max_tokens": "@"}),
        ({}, {"seed": "@"}),
        ({}, {"tools": "@"}),
        ({}, {"messages": "@"}),
        ({}, {"logit_bias": "@"}),
    ],
    ids=str,
)
def test_nothing_but_the_same_request_is_served_a_kept_answer(headers: Any, members: Any) -> None:
    it, vendor = house()
    kinds = {
        "max_tokens": [5, 6],
        "seed": [1, 2],
        "tools": [[{"type": "function", "function": {"name": name}}] for name in "ab"],
        "messages": [[{"role": role, "content": "x"}] for role in ("user", "system")],
        "logit_bias": [{"1": 1}, {"1": 2}],
    }

    async def story() -> None:
        for number in range(2):
            told = {name: kinds[name][number] if value == "@" else value for name, value in members.items()}
            said = {name: str(number) if value == "@" else value for name, value in headers.items()}
            assert not was_hit(await it.ask(headers=said, **told))

    run(story())
    assert len(vendor.calls) == 2


def test_what_cannot_change_an_answer_does_not_matter() -> None:
    it, vendor = house()

    async def story() -> None:
        await it.ask(metadata={"a": "1"}, safety_identifier="x")
        assert was_hit(await it.ask(metadata={"a": "2"}, safety_identifier="y"))

    run(story())
    assert len(vendor.calls) == 1


def test_whoever_prefers_a_kept_answer_gets_it_at_any_temperature() -> None:
    it, _ = house()
    wish = {"x-prefer-cached": "true"}

    async def story() -> None:
        await it.ask(temperature=0.7, headers=wish)
        assert was_hit(await it.ask(temperature=0.7, headers=wish))

    run(story())


def test_no_cache_asks_anew_and_keeps_what_is_said() -> None:
    it, vendor = house(full(whole("old", **USED)), full(whole("new", **USED)))

    async def story() -> None:
        await it.ask()
        assert said(await it.ask(headers={"cache-control": "max-age=0, no-cache"})) == "new"
        assert said(await it.ask()) == "new"

    run(story())
    assert len(vendor.calls) == 2


@pytest.mark.parametrize(("chosen", "fresh_s"), [("", 3_600), ("semi", 3_600), ("static", 86_400)])
def test_an_answer_is_fresh_as_long_as_its_class_says(chosen: str, fresh_s: int) -> None:
    it, vendor = house()
    headers = {"x-penstock-cache-ttl-class": chosen} if chosen else {}

    async def story() -> None:
        await it.ask(headers=headers)
        it.clock.advance(fresh_s - 1)
        assert was_hit(await it.ask(headers=headers))
        it.clock.advance(1)
        assert not was_hit(await it.ask(headers=headers))

    run(story())
    assert len(vendor.calls) == 2


@pytest.mark.parametrize("out", ["a", "a/t"])
def test_whoever_opted_out_keeps_nothing(out: str) -> None:
    it, vendor = house(opted_out=(out,))

    async def story() -> None:
        for _ in range(2):
            assert not was_hit(await it.ask())

    run(story())
    assert len(vendor.calls) == 2 and not it.kept.tallies


@pytest.mark.parametrize(
    "answer",
    [
        stream(ROLE, text("Half "), ProviderFailure("cut", kind="cut")),
        full(whole("Half", **USED).replace(b'"stop"', b'"length"')),
        full(whole("", **USED).replace(b'"stop"', b'"content_filter"')),
        full(
            whole("", **USED)
            .replace(b'"stop"', b'"tool_calls"')
            .replace(
                b'"content":""', b'"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]'
            )
        ),
    ],
    ids=["cut", "length", "filtered", "tools"],
)  # fmt: skip
def test_what_is_not_a_whole_good_answer_is_not_kept(answer: Any) -> None:
    it, vendor = house(answer)

    async def story() -> None:
        for _ in range(2):
            try:
                await it.ask(stream=vendor.answers[0]().streamed)
            except ProviderFailure:
                pass

    run(story())
    assert len(vendor.calls) == 2 and it.kept.tally("a").kept == 0


def test_tool_calls_are_kept_where_that_is_allowed_and_lengths_the_caller_chose() -> None:
    began = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    went_on = {"index": 0, "function": {"arguments": "1}"}}
    calls = b"".join(
        [event(choices=[{"index": 0, "delta": {"tool_calls": [call]}}]) for call in (began, went_on)]
    )
    finish = FINISH.replace(b'"stop"', b'"tool_calls"')
    it, _ = house(stream(ROLE, calls, finish, USAGE, DONE), tool_calls=True)

    async def story() -> None:
        await it.ask(stream=True)
        again = await it.ask()
        call = msgspec.json.decode(again.body)["choices"][0]["message"]["tool_calls"][0]
        assert was_hit(again) and call["function"] == {"name": "f", "arguments": '{"a":1}'}

    run(story())
    short, vendor = house(full(whole("Half", **USED).replace(b'"stop"', b'"length"')))
    run(short.ask(max_tokens=1))
    assert was_hit(run(short.ask(max_tokens=1))) and len(vendor.calls) == 1


def test_what_another_back_end_said_is_not_kept_as_this_ones() -> None:
    sim, dear = Vendor("sim", DOWN), Vendor("dear", ANSWER)
    it = CachedHouse(sim, dear)
    run(it.ask(model="both"))
    assert not was_hit(run(it.ask(model="both")))
    assert it.kept.tally("a").kept == 0


def test_an_answer_gone_on_with_after_a_break_is_not_kept_as_its_second_part() -> None:
    broken = stream(ROLE, text("Half "), ProviderFailure("gone", kind="cut"))
    vendor = Vendor("sim", broken, stream(ROLE, text("full."), FINISH, USAGE, DONE), STREAM)
    it = CachedHouse(vendor)
    it.table = House(vendor, resume=True).table

    async def story() -> None:
        for _ in range(2):
            caller = await it.ask(model="both", stream=True)
            assert streamed(caller) == "Half full." and not was_hit(caller)

    run(story())
    assert len(vendor.calls) == 3


def test_a_kept_answer_meets_the_limits_a_fresh_one_meets() -> None:
    it, vendor = house()
    run(it.ask())
    it.state.refuse = 0
    with pytest.raises(OverLimit):
        run(it.ask())
    assert len(vendor.calls) == 1


def test_a_kept_answer_passes_the_check_of_whoever_gets_it() -> None:
    it, vendor = house(full(whole(f"```json\n{GOOD}\n```", **USED)))
    it.pipeline.inspections = (StructuredCare(),)
    run(it.ask(response_format=FORMAT))
    again = run(it.ask(response_format=FORMAT))
    streams = run(it.ask(response_format=FORMAT, stream=True, headers={"x-penstock-structured": "validated"}))
    raw = run(it.ask(response_format=FORMAT, stream=True))
    assert was_hit(again) and said(again) == GOOD
    assert was_hit(streams) and streamed(streams) == GOOD
    assert was_hit(raw) and msgspec.json.decode(streamed(raw)) == msgspec.json.decode(GOOD)
    assert len(vendor.calls) == 1


def test_another_dialect_is_another_request_and_its_answers_are_in_its_own_words() -> None:
    it, vendor = house()
    face = anthropic_face(it.clock)
    body = msgspec.json.encode(
        {"model": "small", "max_tokens": 50, "temperature": 0, "messages": [{"role": "user", "content": "How?"}]}
    )  # fmt: skip
    run(it.ask(max_tokens=50, messages=[{"role": "user", "content": "How?"}]))
    first, second = run(it.ask(face=face, body=body)), run(it.ask(face=face, body=body))
    assert not was_hit(first) and was_hit(second)
    assert msgspec.json.decode(second.body)["content"] == [{"type": "text", "text": "Half full."}]
    assert len(vendor.calls) == 2


def test_many_who_ask_the_same_at_once_make_one_call() -> None:
    it, vendor = house(STREAM)

    async def story() -> None:
        callers = await asyncio.gather(*[it.ask(stream=True) for _ in range(20)])
        assert {streamed(caller) for caller in callers} == {"Half full."}
        assert sum(map(was_hit, callers)) == 19

    run(story())
    assert len(vendor.calls) == 1
    assert sum(posting.amount_nanos for posting in it.ledger.postings) == COST_NANOS


def test_when_who_asked_first_goes_away_another_asks() -> None:
    it, vendor = house(HANG, ANSWER)

    async def story() -> None:
        first = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(it.ask()) for _ in range(5)]
        await asyncio.sleep(0.01)
        first.cancel()
        assert sum(map(was_hit, await asyncio.gather(*others))) == 4

    run(story())
    assert len(vendor.calls) == 2


def test_an_answer_past_its_time_stands_in_where_the_vendor_fails_and_says_so() -> None:
    it, _ = house(ANSWER, DOWN, stale_s=100.0)

    async def story() -> None:
        await it.ask()
        it.clock.advance(3_600 + 99)
        stale = await it.ask()
        assert b"x-penstock-cache: stale; age=3699" in stale.headers and said(stale) == "Half full."
        it.clock.advance(2)
        with pytest.raises(ProviderFailure):
            await it.ask()

    run(story())
    assert it.events[1].cache == "stale" and it.kept.tally("a").stale == 1


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-penstock-cache-ttl-class", "hourly"),
        ("x-penstock-cache-tags", ",".join(["t"] * 17)),
        ("x-penstock-cache-tags", "t" * 129),
        ("x-penstock-cache-version", "v" * 129),
    ],
)
def test_a_header_that_cannot_be_is_refused(header: str, value: str) -> None:
    it, vendor = house()
    with pytest.raises(Invalid) as refusal:
        run(it.ask(headers={header: value}))
    assert refusal.value.field == header and not vendor.calls
    assert it.slots == 0


def test_an_answer_is_forgotten_by_its_tags_its_model_its_route_and_its_feature() -> None:
    for tag in ("doc:42", "model:small", "route:sim/small", "*"):
        it, vendor = house()
        headers = {"x-penstock-cache-tags": "doc:41, doc:42"}
        run(it.ask(headers=headers))
        assert was_hit(run(it.ask(headers=headers)))
        assert run(it.kept.forget("a", "doc:7")) == 0
        assert run(it.kept.forget("b", tag)) == 0
        assert was_hit(run(it.ask(headers=headers)))
        assert run(it.kept.forget("a", tag)) == 1
        assert not was_hit(run(it.ask(headers=headers))), tag
        assert len(vendor.calls) == 2


def test_an_answer_is_forgotten_by_the_key_that_its_header_tells() -> None:
    it, vendor = house()
    for seed in (1, 2):
        run(it.ask(seed=seed))
    served = run(it.ask(seed=1))
    key = re.search(rb"key=([0-9a-f]{16})\r\n", served.headers)
    assert key is not None and run(it.kept.forget("a", f"key:{key[1].decode()}")) == 1
    assert not was_hit(run(it.ask(seed=1))) and was_hit(run(it.ask(seed=2)))
    assert len(vendor.calls) == 3
