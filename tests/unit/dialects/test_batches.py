"""Batches on both wires: their lines are lines, and Anthropic's are told with every member its SDK reads."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from anthropic.types.messages import MessageBatch

from penstock.dialects import anthropic_batches, openai_batches
from penstock.dialects.openai_batches import Counts
from penstock.kernel.errors import Invalid

PRETTY = json.dumps({"id": "a", "content": "one\ntwo", "count": 12345678901234567890}, indent=2).encode()
ENDS = ("completed", "failed", "cancelled", "expired")


@pytest.mark.parametrize("wire", [openai_batches, anthropic_batches])
@pytest.mark.parametrize("status", [200, 400])
def test_a_reply_that_its_vendor_wrote_over_several_lines_is_one_line(wire: Any, status: int) -> None:
    line: bytes = wire.render_answer("batch_req_1", "a", status, "req_1", PRETTY)
    assert not {b"\n", b"\r"} & {line[at : at + 1] for at in range(len(line))}
    assert b'"one\\ntwo"' in line and b"12345678901234567890" in line


def test_params_stand_in_one_line_and_are_otherwise_as_they_were_sent() -> None:
    body = b'{"requests": [{"custom_id": "a", "params": {"n": 1.50}}, {"custom_id": "b", "params": {"x":\n [1]}}]}'
    lines = anthropic_batches.parse_batch(body, 2)
    assert [bytes(line.body) for line in lines] == [b'{"n": 1.50}', b'{"x":[1]}']
    assert [openai_batches.parse_line(msgspec.json.encode(line), "/v1/messages") for line in lines] == lines


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "requests"),
        (b'{"requests": 1}', "requests"),
        (b'{"requests": [{"custom_id": "a"}]}', "requests[0].params"),
        (b'{"requests": [{"custom_id": "", "params": {}}]}', "requests[0].custom_id"),
        (b"{", ""),
        (b'{"requests": [{"custom_id": "a", "params": ' + b"[" * 20_000, ""),
    ],
)
def test_what_creates_no_batch_is_refused_by_name(body: bytes, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        anthropic_batches.parse_batch(body, 1)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("in_progress", {"processing": 7}),
        ("finalizing", {"processing": 7}),
        ("cancelling", {"processing": 7}),
        ("completed", {"succeeded": 4, "errored": 2, "canceled": 1}),
        ("cancelled", {"succeeded": 4, "errored": 2, "canceled": 1}),
        ("expired", {"succeeded": 4, "errored": 2, "expired": 1}),
        ("failed", {"succeeded": 4, "errored": 2, "canceled": 1}),
    ],
)
def test_requests_stand_still_until_the_end_and_are_all_counted_then(
    status: str, told: dict[str, int]
) -> None:
    counts = Counts(total=7, completed=4, failed=2)
    entered = {"in_progress": 10.25, status: 12.5}
    wire = anthropic_batches.render_batch(
        "msgbatch_1", status, counts, created_s=10.25, expires_s=86_410.25, entered=entered
    )
    batch = MessageBatch.model_validate(wire)
    assert {name: n for name, n in batch.request_counts.to_dict().items() if n} == told
    ended = status in ENDS
    assert (
        batch.processing_status == "ended",
        batch.ended_at is not None,
        batch.results_url is not None,
    ) == (
        ended,
        ended,
        ended,
    )
    assert batch.created_at == dt.datetime(1970, 1, 1, 0, 0, 10, 250_000, dt.UTC)
    assert (
        (batch.processing_status == "canceling")
        is (batch.cancel_initiated_at is not None)
        is (status == "cancelling")
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [("batch_cancelled", "canceled"), ("batch_expired", "expired"), ("answer_too_large", "errored")],
)
def test_a_request_without_an_answer_has_a_result_all_the_same(code: str, kind: str) -> None:
    result = json.loads(anthropic_batches.render_unanswered("l", "a", code, "why"))
    assert (result["custom_id"], result["result"]["type"]) == ("a", kind)
    assert ("why" in str(result)) is (kind == "errored")
