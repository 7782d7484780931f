"""The pages of knowledge: whose key looks, what is shown of a collection, and what hostile text makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.console import searching
from penstock.console.inputs import Reading
from penstock.console.pages import knowledge
from penstock.kernel.errors import Conflict, Unauthenticated
from penstock.sdk.people import Me
from tests.unit.console.place import must_be_tame
from tests.unit.console.support import CSRF, OWNER, TOKEN, Browser, Platform
from tests.unit.console.test_pages import EVIL

KEY = "pen-canaryId0001-canarysecretcanarysecretcanary"
CALLER = Me(kind="key", id="key_1", role="caller", name="docs", org="acme", team="search", project="web")
HERE = "/knowledge/guides"
PAGES = ("/knowledge", HERE, f"{HERE}/documents", f"{HERE}/jobs", f"{HERE}/jobs/job_1", f"{HERE}/migrations")
SPACE = "local/all-MiniLM-L6-v2@1"


def answers(text: str = "plain") -> dict[str, Any]:
    """Return a small collection in which every text is `text`."""
    page = {"has_more": False, "last_id": None}
    collection = {
        "id": "col_1", "name": "guides", "model": text, "space": text, "documents": 2, "precision": text,
        "rerank": text, "searchable": {"documents": 2, "chunks": 3, "bytes": 4_096},
    }  # fmt: skip
    failure = {"code": text, "message": text, "retryable": True, "document": text}
    document = {
        "id": text, "status": "failed", "title": text, "url": text, "acl": [text], "failure": failure,
        "media_type": text, "language": text,
    }  # fmt: skip
    job = {
        "id": "job_1",
        "status": "partial",
        "kind": text,
        "counts": {"documents": 2, "done": 1, "failed": 1},
    }
    near = {"document": text, "of": [{"position": 0, "other": text, "other_position": 1, "similarity": 0.9}]}
    check = {"probes": 9, "known_after": 0.9, "dense_recall": 1.0, "missing": text}
    migration = {
        "id": text, "status": "ready", "from": text, "to": text, "reason": text, "job": text, "check": check,
    }  # fmt: skip
    result = {
        "document": text, "text": text, "score": 0.75, "title": text, "url": "javascript:alert(1)",
        "heading": text, "metadata": {text: text},
        "scores": {"cosine": 0.5, "bm25": None, "rrf": 0.09, "late": 0.875},
    }  # fmt: skip
    found = {
        "collection": "guides", "space": text, "results": [result], "warnings": [text], "took_ms": 3.0,
        "score": {"name": text, "model": text, "calibrated": True, "threshold": 0.5},
    }  # fmt: skip
    base = "/v1/collections"
    return {
        f"GET {base}": {"data": [collection], **page},
        f"GET {base}/guides": collection,
        f"GET {base}/guides/documents": {"data": [document], **page},
        f"DELETE {base}/guides/documents/*": {"deleted": True},
        f"GET {base}/guides/jobs": {"data": [job], **page},
        f"GET {base}/guides/jobs/job_1": {**job, "failures": [failure], "near_duplicates": [near]},
        f"POST {base}/guides/jobs/job_1/retry": job,
        f"GET {base}/guides/migrations": {"data": [migration], **page},
        f"POST {base}/guides/migrations/mig_1/rollback": migration,
        f"POST {base}/guides/search": found,
    }


class Keyed(Platform):
    """A platform that knows a person's session, and one key."""

    def __init__(self, *, who: Any = CALLER, text: str = "plain", **more: Any) -> None:
        super().__init__(**(answers(text) | more))
        self.who = who

    def find(self, token: str, method: str, target: str, body: bytes) -> Any:
        self.answers["GET /me"] = self.who if token == KEY else OWNER
        return super().find(token, method, target, body)


def browser(made: Keyed) -> Browser:
    """Return a browser that holds the key."""
    opened = Browser(made)
    assert opened.post("/knowledge", {"key": KEY}).location == "/console/knowledge"
    made.tokens.clear()
    made.asked.clear()
    return opened


@pytest.mark.parametrize("path", PAGES)
def test_without_a_key_every_page_asks_for_one_and_nothing_is_looked_at(path):
    made = Keyed()
    reply = Browser(made).get(path)
    assert reply.status == 200 and "Whose collections?" in reply.text
    assert [name for name, *_ in made.asked] == ["GET /me"]


@pytest.mark.parametrize("path", PAGES)
def test_with_it_everything_is_asked_as_the_key_and_hostile_text_stays_text(path):
    made = Keyed(text=EVIL)
    reply = browser(made).get(path)
    assert reply.status == 200, reply.text
    assert made.tokens[0] == TOKEN and set(made.tokens[1:]) == {KEY}
    assert "alert(1)" in reply.text and KEY not in reply.text
    must_be_tame(reply.text)


def test_a_key_that_administers_or_is_none_is_not_held_and_never_shown():
    admin = msgspec.structs.replace(CALLER, role="admin")
    for who in (admin, msgspec.structs.replace(CALLER, kind="machine"), Unauthenticated()):
        opened = Browser(Keyed(who=who))
        reply = opened.post("/knowledge", {"key": KEY})
        assert reply.status == 400 and KEY not in reply.text and "penstock_key" not in opened.jar


def test_the_key_is_out_of_reach_of_scripts_serves_nobody_else_and_goes_with_its_person():
    made = Keyed()
    opened = Browser(made)
    (cookie,) = opened.post("/knowledge", {"key": KEY}).cookies
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    kept = opened.jar["penstock_key"]
    opened.jar["penstock_key"] = kept.replace("per_ada", "per_eve")
    assert "Whose collections?" in opened.get("/knowledge").text
    opened.jar["penstock_key"] = kept
    made.answers["DELETE /sessions/current"] = made.answers["POST /sessions/sign-out"] = {}
    opened.post("/sign-out")
    assert "penstock_key" not in opened.jar


def test_a_key_that_ended_meanwhile_is_let_go_of_and_another_asked_for():
    made = Keyed()
    opened = browser(made)
    made.who = Unauthenticated()
    reply = opened.get("/knowledge")
    assert "has ended" in reply.text and "penstock_key" not in opened.jar


def test_a_search_is_asked_as_typed_and_each_score_is_told_with_its_threshold():
    made = Keyed()
    form = {
        "query": "When?",
        "k": "3",
        "acl": "crew, staff",
        "where": "language = en, 7\nyear >= 2020",
        "rerank": "late",
    }
    reply = browser(made).post(HERE, form)
    assert made.bodies("POST /v1/collections/guides/search") == [
        {
            "query": "When?", "k": 3, "acl": ["crew", "staff"], "rerank": "late", "explain": True,
            "where": [{"field": "language", "any_of": ["en", 7, "7"]}, {"field": "year", "at_least": 2020.0}],
        }
    ]  # fmt: skip
    assert "worth an answer from 0.50" in reply.text and "0.750" in reply.text
    for value in ("0.5", "0.09", "0.875", "–"):
        assert f'<dd class="tabular">{value}</dd>' in reply.text


@pytest.mark.parametrize(
    "form", [{"query": ""}, {"query": "x", "k": "101"}, {"query": "x", "where": "nonsense"}]
)
def test_a_search_that_is_none_is_not_asked(form):
    made = Keyed()
    assert browser(made).post(HERE, form).status == 400
    assert not made.bodies("POST /v1/collections/guides/search")


def test_a_hostile_answer_is_shown_and_never_obeyed():
    reply = browser(Keyed(text=EVIL)).post(HERE, {"query": EVIL})
    assert reply.status == 200 and "alert(1)" in reply.text
    must_be_tame(reply.text)


def test_a_document_is_deleted_a_job_retried_and_a_migration_rolled_back():
    made = Keyed()
    opened = browser(made)
    opened.post(f"{HERE}/documents", {"id": "a/b <c>", "after": "a"})
    assert opened.post(f"{HERE}/jobs/job_1", {"step": "retry"}).status == 303
    assert opened.post(f"{HERE}/migrations", {"id": "mig_1", "step": "rollback"}).status == 303
    assert [path for name, path, *_ in made.asked if name[:3] != "GET"] == [
        "/v1/collections/guides/documents/a%2Fb%20%3Cc%3E",
        "/v1/collections/guides/jobs/job_1/retry",
        "/v1/collections/guides/migrations/mig_1/rollback",
    ]
    assert opened.post(f"{HERE}/jobs/job_1", {"step": "burn"}).status == 400


def test_the_jobs_are_read_a_page_at_a_time_however_many_there_are():
    """The page looks again every two seconds while one is open."""
    asked: list[dict[str, str]] = []

    def newest_first(query: dict[str, str]) -> dict[str, Any]:
        asked.append(query)
        number = 999 - 50 * query.get("after", "").count("&")
        job = {"id": f"job &{number}", "status": "running", "counts": {}, "created_at": number}
        return {"data": [job], "has_more": number > 900, "last_id": f"{query.get('after', '')}&"}

    opened = browser(Keyed(**{"GET /v1/collections/guides/jobs": newest_first}))
    page = opened.get(f"{HERE}/jobs")
    assert asked == [{"limit": "50"}] and "job &amp;999" in page.text
    assert 'hx-get="/console/knowledge/guides/jobs"' in page.text and "Newest" not in page.text
    assert f'href="/console{HERE}/jobs?after=%26">Older' in page.text
    page = opened.get(f"{HERE}/jobs?after=%26")
    assert asked[1:] == [{"limit": "50", "after": "&"}] and "job &amp;949" in page.text
    assert 'hx-get="/console/knowledge/guides/jobs?after=%26"' in page.text and "Newest" in page.text
    assert "Older" not in opened.get(f"{HERE}/jobs?after=%26%26").text


def test_a_model_that_is_refused_is_told_where_it_was_typed():
    refused = Conflict("The collection is being changed.")
    made = Keyed(**{"POST /v1/collections/guides/migrations": refused})
    reply = browser(made).post(f"{HERE}/migrations", {"model": "other", "switch": "auto"})
    assert reply.status == 409 and refused.message in reply.text and 'value="other"' in reply.text
    assert made.bodies("POST /v1/collections/guides/migrations") == [{"model": "other", "switch": "auto"}]


@pytest.mark.parametrize("page", knowledge.PAGES, ids=lambda page: f"{page.method} {page.path}")
def test_whoever_may_not_use_models_and_whose_form_is_not_theirs_is_refused(page):
    made = Keyed()
    opened, path = browser(made), page.path.replace("{name}", "guides").replace("{id}", "job_1")
    if page.method == "POST":
        assert opened.post(path, {"query": "x"}, csrf="guessed").status == 403
        assert [name for name, *_ in made.asked] == ["GET /me"]
    reviewer = Me(kind="person", id="per_ada", role="auditor", may=("read usage",), csrf=CSRF)
    nobody = Browser(Platform(**{"GET /me": reviewer}))
    assert (nobody.get(path) if page.method == "GET" else nobody.post(path)).status == 403


def test_conditions_are_read_at_their_bounds():
    lines = "\n".join(["a = 1"] * searching.CONDITIONS_MOST)
    for text, wrong in (
        (lines, False),
        (f"{lines}\nb = 1", True),
        ("year <= old", True),
        ("a <= -1.5", False),
    ):
        form = Reading({"query": "x", "where": text})
        searching.read(form)
        assert ("where" in form.wrong) is wrong
