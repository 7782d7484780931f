"""Collections and vectors through the client: each method asks its own route and gives what the server told."""

from __future__ import annotations

import base64
import struct

import msgspec
import pytest

from penstock.kernel.errors import Invalid, Upstream
from penstock.sdk.client import Client
from penstock.sdk.knowledge import CollectionRequest, Condition, DocumentRequest, SearchRequest
from tests.support import run
from tests.unit.sdk.wires import Scripted

COLLECTION = {
    "id": "col_1", "name": "guides", "model": "m", "space": "m@1", "stale": False, "documents": 2,
    "searchable": {"documents": 2, "chunks": 3, "bytes": 9}, "unknown_to_us": 1,
}  # fmt: skip
DOCUMENT = {
    "id": "a/b", "status": "failed", "acl": ["staff"], "metadata": {"year": 2026}, "omitted": ["pages 3 to 4"],
    "failure": {"code": "encrypted", "message": "It needs a password.", "retryable": False},
}  # fmt: skip
JOB = {
    "id": "job_1", "status": "partial", "counts": {"documents": 2, "done": 1, "failed": 1, "cost_nanos": 5},
    "failures": [{"document": "b", "code": "no_text", "message": "m", "retryable": False}],
    "near_duplicates": [{
        "document": "a", "of": [{"position": 0, "other": "c", "other_position": 1, "similarity": 0.9}],
    }],
}  # fmt: skip
FOUND = {
    "collection": "guides", "space": "m@1", "score": {"name": "s", "model": "m", "calibrated": True, "threshold": 0.4},
    "results": [{"document": "a", "text": "t", "score": 0.5, "scores": {"cosine": 0.5, "bm25": None, "words": 0.1}}],
}  # fmt: skip
MOVE = {"id": "mig_1", "status": "ready", "from": "m@1", "to": "n@1", "check": None}
ASKED = {"query": "q", "k": 3, "where": [{"field": "year", "at_least": 2020.0}], "acl": ["staff"]}
BASE = "/v1/collections"


def page(*rows: object) -> dict[str, object]:
    return {"object": "list", "data": list(rows), "has_more": False, "last_id": None}


def call(noun: str, method: str, *arguments: object, **named: object):
    return lambda client: getattr(getattr(client, noun), method)(*arguments, **named)


# name, what is called, what the server answers, the method and target it must be asked, the body it must be given
KNOWLEDGE = [
    (
        "create", (CollectionRequest(name="guides", chunk_tokens=64),),
        COLLECTION, f"POST {BASE}", {"name": "guides", "chunk_tokens": 64},
    ),
    ("list", (), page(COLLECTION), f"GET {BASE}?limit=100", None),
    ("get", ("gui/des",), COLLECTION, f"GET {BASE}/gui%2Fdes", None),
    ("delete", ("guides",), {"deleted": True}, f"DELETE {BASE}/guides", None),
    (
        "add", ("guides", [DocumentRequest(id="a", text="t")]),
        JOB, f"POST {BASE}/guides/documents", {"documents": [{"id": "a", "text": "t"}]},
    ),
    ("documents", ("guides",), page(DOCUMENT), f"GET {BASE}/guides/documents?limit=100", None),
    ("document", ("guides", "a/b"), DOCUMENT, f"GET {BASE}/guides/documents/a%2Fb", None),
    ("remove", ("guides", "a/b"), {"deleted": True}, f"DELETE {BASE}/guides/documents/a%2Fb", None),
    ("jobs", ("guides",), page(JOB), f"GET {BASE}/guides/jobs?limit=100", None),
    ("job", ("guides", "job_1"), JOB, f"GET {BASE}/guides/jobs/job_1?limit=100", None),
    ("retry", ("guides", "job_1"), JOB, f"POST {BASE}/guides/jobs/job_1/retry", None),
    ("cancel", ("guides", "job_1"), JOB, f"POST {BASE}/guides/jobs/job_1/cancel", None),
    (
        "search",
        ("guides", SearchRequest(query="q", k=3, where=(Condition(field="year", at_least=2020),), acl=("staff",))),
        FOUND, f"POST {BASE}/guides/search", ASKED,
    ),
    ("migrate", ("guides", "n"), MOVE, f"POST {BASE}/guides/migrations", {"model": "n", "switch": "auto"}),
    ("migrations", ("guides",), page(MOVE), f"GET {BASE}/guides/migrations?limit=100", None),
    ("migration", ("guides", "mig_1"), MOVE, f"GET {BASE}/guides/migrations/mig_1", None),
    ("steer", ("guides", "mig_1", "rollback"), MOVE, f"POST {BASE}/guides/migrations/mig_1/rollback", None),
]  # fmt: skip
OTHERS = {
    "collections.add_lines",
    "collections.document_page",
    "collections.job_page",
    "collections.add_bytes",
    "embeddings.create",
    "embeddings.tokenize",
}
METHODS = {f"collections.{row[0]}" for row in KNOWLEDGE} | OTHERS


@pytest.mark.parametrize(
    ("method", "given", "answer", "asked", "body"), KNOWLEDGE, ids=[row[0] for row in KNOWLEDGE]
)
def test_a_method_asks_its_route_and_gives_what_it_told(method, given, answer, asked, body):
    wire = Scripted(answer)
    found = run(call("collections", method, *given)(Client(transport=wire)))
    ((verb, target, sent),) = wire.calls
    assert f"{verb} {target}" == asked
    assert (msgspec.json.decode(sent) if sent else None) == body
    if found is not None:
        told = msgspec.to_builtins(found)
        wanted = answer.get("data", answer)
        assert shows(wanted, list(told) if isinstance(told, tuple) else told)


def shows(answer, told) -> bool:
    if isinstance(answer, dict):
        return all(shows(each, told[name]) for name, each in answer.items() if name != "unknown_to_us")
    if isinstance(answer, list):
        return len(answer) == len(told) and all(map(shows, answer, told))
    return answer == told


def test_pages_are_read_to_the_end():
    first = {"data": [COLLECTION] * 2, "has_more": True, "last_id": "col_2"}
    wire = Scripted(first, page(COLLECTION))
    assert len(run(Client(transport=wire).collections.list())) == 3
    assert [target for _, target, _ in wire.calls][1] == f"{BASE}?after=col_2&limit=100"


def test_every_failure_of_a_job_that_ended_is_told_and_an_open_one_is_not_read_through():
    first = JOB | {"has_more_failures": True, "last_failure": "line\t7"}
    second = JOB | {"failures": [{"document": "c", "code": "encrypted", "message": "m", "retryable": False}]}
    wire = Scripted(first, second)
    job = run(Client(transport=wire).collections.job("guides", "job_1"))
    assert [each.document for each in job.failures] == ["b", "c"] and not job.has_more_failures
    assert [target for _, target, _ in wire.calls][1] == f"{BASE}/guides/jobs/job_1?limit=100&after=line%097"
    wire = Scripted(first | {"status": "running"})
    job = run(Client(transport=wire).collections.job("guides", "job_1"))
    assert job.has_more_failures and len(wire.calls) == 1


def test_one_page_of_documents_tells_what_the_next_comes_after():
    wire = Scripted({"data": [DOCUMENT], "has_more": True, "last_id": "a/b"}, page(DOCUMENT))
    calls = Client(transport=wire).collections
    first = run(calls.document_page("guides", limit=1))
    assert (len(first.documents), first.after) == (1, "a/b")
    assert run(calls.document_page("guides", after=first.after, limit=1)).after == ""
    assert [target for _, target, _ in wire.calls][1] == f"{BASE}/guides/documents?after=a%2Fb&limit=1"


def test_one_page_of_jobs_tells_what_the_older_ones_come_after():
    wire = Scripted({"data": [JOB], "has_more": True, "last_id": "job_1"}, page(JOB))
    calls = Client(transport=wire).collections
    first = run(calls.job_page("guides", limit=1))
    assert ([job.id for job in first.jobs], first.after) == (["job_1"], "job_1")
    assert run(calls.job_page("guides", after=first.after, limit=1)).after == ""
    assert [target for _, target, _ in wire.calls][1] == f"{BASE}/guides/jobs?after=job_1&limit=1"


def test_a_document_as_its_bytes_has_its_labels_too():
    wire = Scripted(JOB)
    calls = Client(transport=wire).collections
    run(calls.add_bytes("guides", b"x", id="a", acl=("hr", "legal & co")))
    assert wire.calls[0][1] == f"{BASE}/guides/documents?id=a&acl=hr%2Clegal+%26+co"
    for labels in (("hr,legal",), ("hr", "")):
        with pytest.raises(Invalid, match="label"):
            run(calls.add_bytes("guides", b"x", acl=labels))
    assert len(wire.calls) == 1, "what would mean other labels is not sent"


def test_many_documents_go_as_lines_and_one_as_its_bytes():
    wire = Scripted(JOB, JOB)
    client = Client(transport=wire)
    lines = [DocumentRequest(id=str(n), text="a\nb") for n in range(3)]
    assert run(client.collections.add_lines("guides", iter(lines))).counts.ended == 2
    run(client.collections.add_bytes("guides", b"\x00%PDF", "application/pdf", id="a b", file="x.pdf"))
    (_, bulk, sent), (_, raw, content) = wire.calls
    assert (bulk, sent.count(b"\n")) == (f"{BASE}/guides/bulk", 2)
    assert [msgspec.json.decode(line)["id"] for line in sent.split(b"\n")] == ["0", "1", "2"]
    assert (raw, content) == (f"{BASE}/guides/documents?id=a+b&name=x.pdf", b"\x00%PDF")
    assert wire.headers[1] == b"content-type: application/pdf\r\n"
    with pytest.raises(Invalid):
        run(client.collections.add_bytes("guides", b"x", "a/b\r\nx-evil: 1"))


def test_vectors_come_in_order_as_numbers_whatever_they_travelled_as():
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    answer = {
        "model": "m",
        "data": [{"index": 1, "embedding": [0.25, 0.75]}, {"index": 0, "embedding": packed}],
        "usage": {"prompt_tokens": 7},
    }
    wire = Scripted(answer)
    made = run(
        Client(transport=wire).embeddings.create(model="m", input=["a", "b"], lane="ingest", truncate="end")
    )
    assert (made.vectors, made.tokens) == (((0.5, -1.0), (0.25, 0.75)), 7)
    ((_, target, sent),) = wire.calls
    asked = {"model": "m", "input": ["a", "b"], "truncate": "end", "encoding_format": "base64"}
    assert (target, msgspec.json.decode(sent)) == ("/v1/embeddings", asked)
    assert wire.headers == [b"x-priority: ingest\r\n"]
    broken = Scripted({"model": "m", "data": [{"index": 0, "embedding": "AAAAA="}], "usage": {}})
    with pytest.raises(Upstream):
        run(Client(transport=broken).embeddings.create(model="m", input="a"))


def test_tokens():
    wire = Scripted([[{"id": 101, "text": "", "special": True, "start": None, "stop": None}]])
    ((token,),) = run(Client(transport=wire).embeddings.tokenize(["a"]))
    assert (token.id, token.special) == (101, True)
    assert wire.calls[0][:2] == ("POST", "/v1/tokenize")
