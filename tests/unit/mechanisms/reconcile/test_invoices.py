"""Invoices are read exactly as their vendors write them; what cannot be read is refused where it is."""

from __future__ import annotations

import json

import pytest

from penstock.kernel.errors import Invalid
from penstock.mechanisms.reconcile import invoices as module
from penstock.mechanisms.reconcile.invoices import InvoiceLine, anthropic_costs, openai_costs, plain_csv

# As https://developers.openai.com/api/reference/resources/organization shows it, grouped by line_item.
OPENAI = b"""{"object": "page", "data": [
 {"object": "bucket", "start_time": 1795132800, "end_time": 1795219200, "results": [
  {"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"},
   "line_item": "gpt-4o-2024-08-06, input", "project_id": null, "quantity": 24000},
  {"object": "organization.costs.result", "amount": {"value": 0.1000000000000000055511, "currency": "usd"},
   "line_item": "gpt-4o-2024-08-06, output", "project_id": null},
  {"object": "organization.costs.result", "amount": {"value": "1e-9", "currency": "usd"},
   "line_item": null, "project_id": null}]},
 {"object": "bucket", "start_time": 1795219200, "end_time": 1795305600, "results": []}],
 "has_more": false, "next_page": null}"""
# As https://platform.claude.com/docs/en/api/admin/cost_report shows it, grouped by description; amounts are cents.
ANTHROPIC = b"""{"data": [{"starting_at": "2026-11-20T00:00:00Z", "ending_at": "2026-11-21T00:00:00Z", "results": [
 {"currency": "USD", "amount": "123.78912", "workspace_id": "w", "description": "Claude Sonnet 4 Usage - Input Tokens",
  "cost_type": "tokens", "context_window": "0-200k", "model": "claude-sonnet-4-20250514",
  "service_tier": "standard", "token_type": "uncached_input_tokens"},
 {"currency": "USD", "amount": "0.21088", "model": "claude-sonnet-4-20250514", "cost_type": "tokens"},
 {"currency": "USD", "amount": "100", "model": null, "description": "Web Search Usage", "cost_type": "web_search"}]}],
 "has_more": false, "next_page": null}"""


def line(vendor: str, day: str, model: str, cost: int, **facts: object) -> InvoiceLine:
    return InvoiceLine(vendor=vendor, day=day, model=model, cost_nanos=cost, **facts)


def test_openais_costs_are_added_up_by_model_and_day() -> None:
    assert openai_costs(OPENAI) == [
        line("openai", "2026-11-20", "", 1),
        line("openai", "2026-11-20", "gpt-4o-2024-08-06", 160_000_000),
    ]
    assert openai_costs(OPENAI, OPENAI)[1].cost_nanos == 320_000_000


def test_anthropics_amounts_are_cents() -> None:
    assert anthropic_costs(ANTHROPIC) == [
        line("anthropic", "2026-11-20", "Web Search Usage", 1_000_000_000),
        line("anthropic", "2026-11-20", "claude-sonnet-4-20250514", 1_240_000_000),
    ]


def test_a_csv_says_what_it_knows() -> None:
    text = (
        "date,model,cost_usd,reference,input_tokens,vendor\r\n"
        '2026-11-20,gpt-4o,$0.1,req_1,7,\r\n"2026-11-20","a,b",-2.0000000005,,,azure\r\n'
    )
    assert plain_csv(text, vendor="openai") == [
        line("openai", "2026-11-20", "gpt-4o", 100_000_000, reference="req_1", input_tokens=7),
        line("azure", "2026-11-20", "a,b", -2_000_000_000),
    ]


def test_amounts_are_rounded_once_and_not_line_by_line() -> None:
    bucket = json.loads(OPENAI)["data"][0]
    bucket["results"] = [
        {"amount": {"value": "0.0000000004", "currency": "usd"}, "line_item": "m, x"} for _ in range(10)
    ]
    assert openai_costs(json.dumps({"data": [bucket]}).encode())[0].cost_nanos == 4


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"usd"', b'"eur"'),
        (b"0.06", b"NaN"),
        (b"0.06", b'"a"'),
        (b"0.06", b"true"),
        (b"0.06", b"null"),
        (b"0.06", b"1e99999999999"),
        (b"0.06", b"1e12"),
        (b'"data"', b'"date"'),
        (b'"results"', b'"result"'),
        (b'"value"', b'"worth"'),
        (b"1795132800", b'"soon"'),
        (b"1795132800", b"1e99"),
        (b"1795132800", b"99999999999999999999"),
        (b'{"object": "page"', b'["page"'),
        (b'{"object": "bucket"', b"[1], {}, {"),
    ],
)
def test_what_is_no_costs_page_is_refused(good: bytes, bad: bytes) -> None:
    assert good in OPENAI
    with pytest.raises(Invalid):
        openai_costs(OPENAI.replace(good, bad, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "date,model\n2026-11-20,a\n",
        "date,model,cost_usd\n2026-13-20,a,1\n",
        "date,model,cost_usd\n2026-11-20,a,one\n",
        "date,model,cost_usd\n2026-11-20,a,\n",
        "date,model,cost_usd\n2026-11-20\n",
        "date,model,cost_usd,input_tokens\n2026-11-20,a,1,-7\n",
        "date,model,cost_usd,input_tokens\n2026-11-20,a,1,1.5\n",
        'date,model,cost_usd\n2026-11-20,"a,1\n',
    ],
)
def test_what_is_no_invoice_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        plain_csv(text)


def test_a_refusal_says_where() -> None:
    with pytest.raises(Invalid) as told:
        plain_csv("date,model,cost_usd\n2026-11-20,a,1\n2026-11-20,a,x\n")
    assert told.value.value == "line 3"


def test_an_invoice_has_an_end(monkeypatch) -> None:
    monkeypatch.setattr(module, "LINES_MOST", 3)
    text = "date,model,cost_usd\n" + "2026-11-20,a,1\n" * 2
    assert len(plain_csv(text)) == 2
    with pytest.raises(Invalid):
        plain_csv(text + "2026-11-20,a,1\n")
