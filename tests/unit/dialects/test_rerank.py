"""Reranking in two wires: each over each, nothing lost, no document ranked that was not sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.rerank import (
    MAX_DOCUMENTS,
    parse_reply,
    parse_request,
    render_error,
    render_reply,
    render_request,
    search_units_max,
)
from penstock.kernel.embed import Ranked, RerankReply, RerankRequest
from penstock.kernel.errors import Invalid, NotFound, Upstream
from tests.unit.dialects.shapes import NAMES, WORDS, extras, raws

COHERE = RerankRequest(model="m", query="q", documents=("a", "b", "c"))
TEI = RerankRequest(model="", query="q", documents=("a", "b", "c"), dialect="tei", truncate=False)
COUNTS = st.none() | st.integers(1, 2**31 - 1)
DOCUMENTS = st.lists(WORDS, min_size=1, max_size=3).map(tuple)
REQUESTS = st.builds(
    RerankRequest,
    model=NAMES,
    query=NAMES,
    documents=DOCUMENTS,
    top_n=COUNTS,
    document_tokens=COUNTS,
    return_documents=st.booleans(),
    extras=extras(),
) | st.builds(
    RerankRequest,
    model=st.just("") | NAMES,
    query=NAMES,
    documents=DOCUMENTS,
    dialect=st.just("tei"),
    return_documents=st.booleans(),
    raw_scores=st.booleans(),
    truncate=st.booleans(),
    extras=extras(),
)


@given(REQUESTS)
def test_a_request_comes_back_the_same(request):
    assert parse_request(render_request(request, request.dialect).body) == request


def test_a_document_may_be_an_object_with_a_text():
    body = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}]}
    assert parse_request(json.dumps(body).encode()).documents == ("a", "b")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"model": ""}, "model"),
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a"] * (MAX_DOCUMENTS + 1)}, "documents"),
        ({"documents": [{"title": "a"}]}, "documents[0].text"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"texts": []}, "texts"),
    ],
)
def test_a_refusal_names_the_whole_path(members, field):
    with pytest.raises(Invalid) as refusal:
        parse_request(json.dumps({"model": "m", "query": "q", "documents": ["a"], **members}).encode())
    assert refusal.value.field == field
    assert refusal.value.remedy


def test_either_wire_over_the_other():
    told = render_request(
        RerankRequest(model="m", query="q", documents=("a",), top_n=2, return_documents=True), "tei"
    )
    assert json.loads(told.body) == {"query": "q", "texts": ["a"], "truncate": True}
    tei = RerankRequest(model="m", query="q", documents=("a",), dialect="tei", return_documents=True)
    assert json.loads(render_request(tei, "cohere").body) == {"model": "m", "query": "q", "documents": ["a"]}


@pytest.mark.parametrize(
    ("request_", "dialect", "field"),
    [
        (
            RerankRequest(model="m", query="q", documents=("a",), document_tokens=9),
            "tei",
            "max_tokens_per_doc",
        ),
        (
            RerankRequest(model="m", query="q", documents=("a",), extras={"rank_fields": raws([])}),
            "tei",
            "rank_fields",
        ),
        (
            RerankRequest(model="m", query="q", documents=("a",), dialect="tei", raw_scores=True),
            "cohere",
            "raw_scores",
        ),
        (TEI, "cohere", "truncate"),
    ],
)
def test_what_the_other_wire_cannot_be_told_is_refused_by_name(request_, dialect, field):
    with pytest.raises(Invalid) as refusal:
        render_request(request_, dialect)
    assert (refusal.value.field, refusal.value.reason) == (field, "untranslatable")


RANKED = (Ranked(2, 0.9), Ranked(0, 0.5), Ranked(1, -0.5))


@pytest.mark.parametrize("request_", [COHERE, TEI])
def test_a_reply_comes_back_best_first(request_):
    assert parse_reply(render_reply(RerankReply(results=RANKED), request_), 3).results == RANKED


@given(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9), extras())
def test_what_cohere_says_besides_comes_back_the_same(units, tokens, more):
    reply = RerankReply(results=RANKED, id="r", search_units=units, input_tokens=tokens, extras=more)
    assert parse_reply(render_reply(reply, COHERE), 3) == reply


def test_what_meta_says_beyond_our_fields_is_kept():
    wire = {
        "id": "r",
        "results": [],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    reply = parse_reply(json.dumps(wire).encode(), 0)
    assert reply.search_units == 1
    assert json.loads(render_reply(reply, COHERE)) == wire


def test_the_caller_gets_as_many_documents_as_it_asked_for_whoever_answered():
    request = RerankRequest(model="m", query="q", documents=("a", "b", "c"), top_n=2, return_documents=True)
    tei = b'[{"index":0,"score":0.5},{"index":2,"score":0.9},{"index":1,"score":-0.5,"text":"b"}]'
    told = json.loads(render_reply(parse_reply(tei, 3), request))
    assert told["results"] == [
        {"index": 2, "relevance_score": 0.9, "document": {"text": "c"}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
    ]


def test_tei_tells_texts_when_asked():
    request = RerankRequest(
        model="", query="q", documents=("a", "b", "c"), dialect="tei", return_documents=True
    )
    told = json.loads(render_reply(RerankReply(results=RANKED), request))
    assert [each["text"] for each in told] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"results":7}',
        b'[{"index":0}]',
        b'[{"index":-1,"score":1}]',
        b'[{"index":3,"score":1}]',
        b'[{"index":0,"score":1},{"index":0,"score":2}]',
        b'{"results":[{"index":0,"relevance_score":"x"}]}',
    ],
)
def test_what_is_no_ranking_is_malformed(body):
    with pytest.raises(Upstream) as error:
        parse_reply(body, 3)
    assert error.value.reason == "malformed_reply"


def test_what_a_vendor_says_of_a_result_besides_is_kept_and_documents_are_the_callers_own():
    wire = {
        "id": "r",
        "results": [{"index": 1, "relevance_score": 0.5, "document": {"text": "<EMAIL_1>"}, "spans": [7]}],
    }
    told = json.loads(render_reply(parse_reply(json.dumps(wire).encode(), 3), COHERE))
    assert told["results"] == [{"index": 1, "relevance_score": 0.5, "spans": [7]}]
    request = RerankRequest(model="m", query="q", documents=("a", "mia@example.org"), return_documents=True)
    told = json.loads(render_reply(parse_reply(json.dumps(wire).encode(), 2), request))
    assert told["results"][0]["document"] == {"text": "mia@example.org"}


@pytest.mark.parametrize(
    ("query", "lengths", "units"),
    [
        ("q", [1] * 100, 1),
        ("q", [1] * 101, 2),
        ("q", [499] * 100, 1),
        ("q", [500] * 100, 2),
        ("q" * 500, [1] * 50, 1),
        ("q" * 500, [1] * 51, 2),
        ("\u00fc", [498] * 100, 1),
        ("\u00fc", [499] * 100, 2),
    ],
)
def test_searches_are_bounded_by_what_each_document_can_be_with_the_query(query, lengths, units):
    documents = tuple(["d" * length for length in lengths])
    assert search_units_max(RerankRequest(model="m", query=query, documents=documents)) == units


def test_an_error_has_the_members_of_cohere_and_of_openai_and_tells_no_key():
    status, body = render_error(
        NotFound("There is no pen-abcdefghijkl-0123456789abcdef here.", field="model")
    )
    told = json.loads(body)
    assert (status, told["error"]["param"]) == (404, "model")
    assert told["message"] == told["error"]["message"]
    assert "0123456789abcdef" not in told["message"]
