"""Structured output on the request path: what leaves fits its schema, and every answer thrown away is paid for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.gateway.structured_care import StructuredCare
from penstock.kernel.errors import Invalid, OverBudget, Upstream
from penstock.mechanisms.retry_budget import RETRY_RESERVE
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    QUICK,
    ROLE,
    USAGE,
    House,
    Vendor,
    full,
    stream,
    text,
    whole,
)

USED = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
ONE = 9 * 1_000 + 3 * 2_000
"""What one such answer costs, in nano-dollars."""
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "reading",
        "schema": {
            "type": "object",
            "properties": {"litres": {"type": "integer"}},
            "required": ["litres"],
            "additionalProperties": False,
        },
    },
}
GOOD, BAD = '{"litres": 12}', '{"litres": "many"}'


def house(*replies: bytes, ledger: ScriptedLedger | None = None) -> tuple[House, Vendor, StructuredCare]:
    """Return a gateway whose vendor gives these whole replies in order."""
    vendor, care = Vendor("sim", *[full(reply) for reply in replies]), StructuredCare()
    made = House(vendor, ledger=ledger)
    made.pipeline.inspections = (care,)
    return made, vendor, care


def ask(it: House, mode: str = "", **members: Any) -> None:
    """Ask for a reading."""
    context = it.context
    if mode:

        def with_header(who: Any = None) -> Any:
            made = context(who)
            made.header = {b"x-penstock-structured": mode.encode()}.get
            return made

        it.context = with_header  # pyright: ignore[reportAttributeAccessIssue]  # one header more
    run(it.serve(**{"response_format": FORMAT, **members}))


def said(it: House) -> str:
    """Return the words of the whole reply that was sent."""
    return msgspec.json.decode(it.caller.body)["choices"][0]["message"]["content"]


def test_a_right_answer_passes_byte_for_byte() -> None:
    reply = whole(GOOD, **USED, unheard_of=1.50)
    it, vendor, care = house(reply)
    ask(it)
    assert it.caller.body == reply and len(vendor.calls) == 1
    assert (care.tally.first_try, care.tally.failed) == (1, 0)


def test_a_fenced_answer_is_mended_and_asked_for_once() -> None:
    it, vendor, care = house(whole(f"Sure!\n```json\n{GOOD}\n```", **USED))
    ask(it)
    assert msgspec.json.decode(said(it)) == {"litres": 12} and len(vendor.calls) == 1
    assert care.tally.repaired == 1


def test_a_wrong_answer_is_asked_for_again_with_what_is_wrong_and_both_are_paid() -> None:
    it, vendor, care = house(whole(BAD, **USED), whole(GOOD, **USED))
    ask(it)
    assert said(it) == GOOD and len(vendor.calls) == 2
    again = msgspec.json.decode(vendor.calls[1].body)["messages"]
    assert again[-2] == {"role": "assistant", "content": BAD} and "litres" in again[-1]["content"]
    [posting] = it.ledger.postings
    assert posting.amount_nanos == 2 * ONE and len(posting.attempts) == 2
    assert sum(hold.amount_nanos for hold in it.ledger.holds) >= posting.amount_nanos
    assert care.tally.reasked == 1


def test_after_two_re_asks_it_is_an_error_and_all_three_are_paid() -> None:
    it, vendor, care = house(whole(BAD, **USED))
    with pytest.raises(Upstream) as failed:
        ask(it)
    assert failed.value.reason == "structured_output_invalid" and failed.value.limit == 3
    assert len(vendor.calls) == 3 and not it.caller.started
    assert it.ledger.postings[0].amount_nanos == 3 * ONE
    assert care.tally.failed == 1


def test_a_request_adds_to_the_retry_budget_once_however_often_it_asks_again() -> None:
    it, vendor, _ = house(whole(BAD, **USED))
    with pytest.raises(Upstream):
        ask(it)
    assert len(vendor.calls) == 3
    share = QUICK.retry_share_percent / 100
    assert it.resilience.budget._balance == pytest.approx(RETRY_RESERVE + share)


def test_an_answer_that_cannot_be_read_is_an_error_and_is_paid_for() -> None:
    it, vendor, _ = house(whole("?", **USED).replace(b'"?"', b"12"))
    with pytest.raises(Upstream):
        ask(it)
    assert len(vendor.calls) == 1 and not it.caller.started
    assert it.ledger.postings[0].amount_nanos == ONE
    assert [call.outcome for call in it.events[0].calls] == ["ok"]


def test_without_money_for_another_attempt_it_is_an_error_and_one_is_paid() -> None:
    ledger = ScriptedLedger()
    it, vendor, _ = house(whole(BAD, **USED), ledger=ledger)
    hold = ledger.hold

    async def once(wanted: Any) -> Any:
        if ledger.holds:
            raise OverBudget(limit=0)
        return await hold(wanted)

    ledger.hold = once  # pyright: ignore[reportAttributeAccessIssue]  # no room for a second hold
    with pytest.raises(Upstream, match="1 attempt"):
        ask(it)
    assert len(vendor.calls) == 1 and ledger.postings[0].amount_nanos == ONE


def test_a_validated_stream_is_held_until_it_fits_and_then_told_as_a_stream() -> None:
    it, vendor, _ = house(whole(BAD, **USED), whole(GOOD, **USED))
    ask(it, "validated", stream=True)
    assert not any(call.stream for call in vendor.calls) and len(vendor.calls) == 2
    body = it.caller.body
    assert b"text/event-stream" in it.caller.headers and body.endswith(DONE) and b"many" not in body
    chunks = [msgspec.json.decode(block[6:]) for block in body.split(b"\n\n") if block.startswith(b"data: {")]
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks) == GOOD
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert it.ledger.postings[0].amount_nanos == 2 * ONE


def test_a_raw_stream_is_mended_as_it_flows() -> None:
    steps = [ROLE, text("```json\n"), text('{"litres": '), text("12,}"), text("\n```"), FINISH, USAGE, DONE]
    vendor, care = Vendor("sim", stream(*steps)), StructuredCare()
    it = House(vendor)
    it.pipeline.inspections = (care,)
    ask(it, stream=True)
    body = it.caller.body
    chunks = [msgspec.json.decode(block[6:]) for block in body.split(b"\n\n") if block.startswith(b"data: {")]
    words = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks)
    assert msgspec.json.decode(words) == {"litres": 12} and body.endswith(DONE)
    assert care.tally.repaired == 1


def test_off_leaves_the_answer_as_the_vendor_wrote_it() -> None:
    reply = whole(BAD, **USED)
    it, vendor, _ = house(reply)
    ask(it, "off")
    assert it.caller.body == reply and len(vendor.calls) == 1


def test_a_schema_that_is_none_is_refused_before_anything_is_spent() -> None:
    it, vendor, _ = house(whole(GOOD))
    with pytest.raises(Invalid):
        ask(it, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}})
    assert not vendor.calls and not it.ledger.holds
