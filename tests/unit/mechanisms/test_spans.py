"""A request's spans: those of what it came to, with its figures where they belong, the same whoever draws them."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.spans import Span
from penstock.mechanisms.genai import V1_26, V1_36, V1_41, VOCABULARIES
from penstock.mechanisms.spans import BackEnd, spans_of, trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
AT_S = 1_800_000_000.0

FULL = RequestEvent(
    request_id="req_1",
    at_s=AT_S,
    org="acme",
    team="search",
    model="fast",
    provider="sim",
    model_used="gpt-4o",
    route="fast>sim/gpt-4o",
    stream=True,
    input_tokens=120,
    cached_tokens=100,
    output_tokens=30,
    reasoning_tokens=10,
    cost_nanos=777,
    price_version="v1",
    routed_ms=1.0,
    admitted_ms=3.0,
    first_token_ms=500.0,
    latency_ms=900.0,
    calls=(
        Call("dear", "big", 3.0, 103.0, "overloaded", 7),
        Call("sim", "gpt-4o", 203.0, 900.0, "ok", 770, 120, 30),
    ),
    attempts=2,
    finish="stop",
    temperature=0.5,
    max_tokens=100,
    trace_id=TRACE,
    parent_span=PARENT,
)


def changed(**fields: object) -> RequestEvent:
    return msgspec.structs.replace(FULL, **fields)


def shape(spans: list[Span]) -> list[tuple[str, str, float, float, str]]:
    return [(each.name, each.kind, each.began_ms, each.ended_ms, each.error) for each in spans]


def total(spans: list[Span], name: str) -> int:
    return sum(each.attributes.get(name, 0) for each in spans)


# ------------------------------------------------------------------------------------------------ which spans, and when


def test_a_request_is_drawn_from_its_first_byte_to_its_last() -> None:
    assert shape(spans_of(FULL)) == [
        ("chat fast", "server", 0.0, 900.0, ""),
        ("parse and route", "internal", 0.0, 1.0, ""),
        ("admit", "internal", 1.0, 3.0, ""),
        ("chat big", "client", 3.0, 103.0, "overloaded"),
        ("chat gpt-4o", "client", 203.0, 900.0, ""),
        ("relay", "internal", 500.0, 900.0, ""),
    ]


def test_every_span_but_the_root_is_a_child_of_the_root() -> None:
    root, *others = spans_of(FULL)
    assert (root.depth, root.parent_id, root.remote_parent) == (0, PARENT, True)
    assert {(each.depth, each.parent_id, each.remote_parent) for each in others} == {(1, root.span_id, False)}
    assert {each.trace_id for each in (root, *others)} == {TRACE}
    assert len({each.span_id for each in (root, *others)}) == 6


def test_times_on_the_wall_end_when_the_request_ended() -> None:
    root, *_, relay = spans_of(FULL)
    assert root.ended_ns == relay.ended_ns == round(AT_S * 1e9)
    assert root.began_ns == round(AT_S * 1e9) - 900_000_000


REFUSED = {"calls": (), "provider": "", "model_used": "", "first_token_ms": 0.0, "attempts": 0}


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        (
            {"routed_ms": 0.0, "admitted_ms": 0.0, "status": 404, "error": "model_not_found"},
            [("parse and route", "model_not_found")],
        ),
        (
            {"admitted_ms": 0.0, "status": 429, "error": "insufficient_quota"},
            [("parse and route", ""), ("admit", "insufficient_quota")],
        ),
        ({"admitted_ms": 0.0, "status": 503}, [("parse and route", ""), ("admit", "503")]),
        ({"status": 500, "error": "internal_error"}, [("parse and route", ""), ("admit", "")]),
    ],
)
def test_the_step_in_which_a_request_ended_carries_the_error(
    fields: dict[str, object], steps: list[tuple[str, str]]
) -> None:
    _, *drawn = spans_of(changed(**REFUSED, **fields))
    assert [(each.name, each.error) for each in drawn] == steps


@pytest.mark.parametrize(
    ("status", "failed"), [(200, False), (429, False), (499, False), (500, True), (503, True)]
)
def test_a_refusal_is_an_answer_and_a_failure_is_not(status: int, failed: bool) -> None:
    root, *_ = spans_of(changed(status=status, error="" if status == 200 else "why"))
    assert root.failed is failed
    assert root.attributes["http.response.status_code"] == status
    assert root.attributes.get("error.type", "") == root.error == ("" if status == 200 else "why")


def test_an_answer_from_the_cache_calls_nobody() -> None:
    hit = changed(calls=(), cache="exact", attempts=0, cost_nanos=0, first_token_ms=4.0)
    spans = spans_of(hit)
    assert [each.name for each in spans] == ["chat fast", "parse and route", "admit", "relay"]
    assert spans[0].attributes["penstock.cache"] == "exact"
    assert total(spans, "gen_ai.usage.input_tokens") == 0


def test_an_event_of_a_time_before_calls_were_listed_shows_the_one_that_answered() -> None:
    old = changed(calls=(), routed_ms=0.0, admitted_ms=0.0)
    assert shape(spans_of(old))[1] == ("chat gpt-4o", "client", 0.0, 900.0, "")
    assert [each.name for each in spans_of(old)] == ["chat fast", "chat gpt-4o", "relay"]
    assert total(spans_of(old), V1_41.input_tokens) == 120
    assert total(spans_of(old), V1_41.output_tokens) == 30


def test_times_out_of_order_are_put_in_order() -> None:
    odd = changed(
        routed_ms=950.0, first_token_ms=-3.0, calls=(Call("sim", "gpt-4o", 800.0, 700.0),), latency_ms=900.0
    )
    assert [(each.began_ms, each.ended_ms) for each in spans_of(odd)] == [
        (0.0, 900.0),
        (0.0, 900.0),
        (900.0, 900.0),
        (800.0, 800.0),
    ]


# --------------------------------------------------------------------------------------------------------- figures


def test_tokens_and_cost_are_told_once() -> None:
    root, *others = spans_of(FULL)
    calls = [each for each in others if each.kind == "client"]
    assert total([root, *others], V1_41.input_tokens) == FULL.input_tokens
    assert total([root, *others], V1_41.output_tokens) == FULL.output_tokens
    assert total(calls, "penstock.cost_nanos") == root.attributes["penstock.cost_nanos"] == FULL.cost_nanos


def test_the_call_that_answered_tells_what_it_answered() -> None:
    failed, answered = (each for each in spans_of(FULL) if each.kind == "client")
    assert answered.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sim",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.297,
        "penstock.provider": "sim",
        "penstock.outcome": "ok",
        "penstock.cost_nanos": 770,
    }
    assert failed.attributes["error.type"] == "overloaded"
    assert failed.failed
    assert not failed.attributes.keys() & {V1_41.response_model, V1_41.finish_reasons, V1_41.input_tokens}


def test_the_root_tells_who_asked_and_why_it_went_where_it_went() -> None:
    root = spans_of(changed(project="web", user="kim", key_id="key_1", feature="chat", flags=("pii",)))[0]
    told = {name.removeprefix("penstock."): value for name, value in root.attributes.items()}
    for name in (
        "request_id",
        "org",
        "team",
        "project",
        "user",
        "key_id",
        "feature",
        "model",
        "route",
        "flags",
    ):
        assert told[name] == getattr(
            changed(project="web", user="kim", key_id="key_1", feature="chat", flags=("pii",)), name
        )
    assert told["attempts"] == 2
    assert told["outcome"] == "ok"


def test_back_ends_tell_vendor_and_server() -> None:
    back_ends = {"sim": BackEnd("azure", "eu.example", 443), "dear": BackEnd()}
    failed, answered = (each for each in spans_of(FULL, V1_41, back_ends) if each.kind == "client")
    assert answered.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert (answered.attributes["server.address"], answered.attributes["server.port"]) == ("eu.example", 443)
    assert answered.attributes["penstock.provider"] == "sim"
    assert failed.attributes["gen_ai.provider.name"] == "dear"
    assert "server.address" not in failed.attributes


@pytest.mark.parametrize(
    ("names", "provider", "tokens"),
    [
        (V1_41, "gen_ai.provider.name", "gen_ai.usage.input_tokens"),
        (V1_36, "gen_ai.system", "gen_ai.usage.input_tokens"),
        (V1_26, "gen_ai.system", "gen_ai.usage.prompt_tokens"),
    ],
)
def test_another_version_names_the_same_facts_otherwise(names, provider: str, tokens: str) -> None:
    answered = spans_of(FULL, names)[4]
    assert (answered.attributes[provider], answered.attributes[tokens]) == ("sim", 120)
    assert sorted(map(repr, answered.attributes.values())) == sorted(
        map(repr, spans_of(FULL, V1_41)[4].attributes.values())
    )


# ------------------------------------------------------------------------------------------------------------- ids


def test_whoever_draws_an_event_makes_the_same_ids() -> None:
    assert spans_of(FULL) == spans_of(msgspec.json.decode(msgspec.json.encode(FULL), type=RequestEvent))
    other = {each.span_id for each in spans_of(changed(request_id="req_2"))}
    assert not other & {each.span_id for each in spans_of(FULL)}


@pytest.mark.parametrize("trace_id", ["", "0" * 32, TRACE.upper(), TRACE[:-1], "x" * 32])
def test_without_a_callers_trace_a_request_is_a_trace_of_its_own(trace_id: str) -> None:
    event = changed(trace_id=trace_id)
    root = spans_of(event)[0]
    assert (root.parent_id, root.remote_parent) == ("", False)
    assert root.trace_id == trace_of(event) == trace_of(changed(trace_id="")) != TRACE
    assert len(bytes.fromhex(root.trace_id)) == 16


@pytest.mark.parametrize("parent", ["", "0" * 16, PARENT.upper(), PARENT + "0"])
def test_a_parent_that_is_none_leaves_the_root_without_one(parent: str) -> None:
    root = spans_of(changed(parent_span=parent))[0]
    assert (root.trace_id, root.parent_id, root.remote_parent) == (TRACE, "", False)


# ----------------------------------------------------------------------------------- whatever an event holds

WILD_TEXT = st.text(st.characters(), max_size=40) | st.just("x" * 5_000) | st.just("\ud800")
WILD_MS = st.floats(0.0, 1e4) | st.floats() | st.just(1e300) | st.just(-5.0)
WILD_INT = st.integers(-(2**70), 2**70)


@given(
    request_id=WILD_TEXT, at_s=WILD_MS, model=WILD_TEXT, provider=WILD_TEXT, error=WILD_TEXT, route=WILD_TEXT,
    status=st.sampled_from([200, 400, 499, 500]), routed_ms=WILD_MS, admitted_ms=WILD_MS, first_token_ms=WILD_MS,
    latency_ms=WILD_MS, cost_nanos=WILD_INT, input_tokens=WILD_INT, temperature=st.none() | WILD_MS,
    flags=st.lists(WILD_TEXT, max_size=40).map(tuple), trace_id=WILD_TEXT, parent_span=WILD_TEXT,
    names=st.sampled_from(list(VOCABULARIES.values())),
    calls=st.lists(
        st.builds(Call, WILD_TEXT, WILD_TEXT, WILD_MS, WILD_MS, WILD_TEXT, WILD_INT, WILD_INT), max_size=3
    ).map(tuple),
)  # fmt: skip
def test_nothing_an_event_holds_makes_a_span_that_no_wire_can_carry(names, **fields) -> None:
    root, *others = spans_of(RequestEvent(**fields), names)
    for each in (root, *others):
        assert root.began_ns <= each.began_ns <= each.ended_ns <= root.ended_ns < 2**64
        assert (len(bytes.fromhex(each.trace_id)), len(bytes.fromhex(each.span_id))) == (16, 8)
        assert each.name.encode()
        each.error.encode()
        for value in each.attributes.values():
            assert value != ""
            assert value != ()
            if isinstance(value, float):
                assert math.isfinite(value)
            elif isinstance(value, int):
                assert abs(value) < 2**63
            for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                assert len(text.encode()) <= 4 * 1_024
