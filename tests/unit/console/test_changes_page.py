"""The audit of changes: what is shown of each, how it is found, and that nobody reads what is not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.console.differences import DEPTH_MOST, LINES_MOST, difference, shown
from penstock.console.pages.changes import ACTIONS, ROWS
from penstock.kernel.context import Cap, Rate
from penstock.mechanisms import changes as audit
from penstock.sdk.people import ChangeView
from tests.unit.console.place import Place, place
from tests.unit.console.support import NOW_S, OWNER, Browser, Platform
from tests.unit.console.test_pages import EVIL, Elements

TOKEN = "pen-abcdefghijkl-0123456789abcdef0123456789abcdef"
CHANGE = ChangeView(
    id="c1",
    at_s=NOW_S,
    org="acme",
    team="search",
    actor_kind="person",
    actor_id="per_ada",
    actor_name="Ada Lovelace",
    actor_role="admin",
    action="key.change",
    subject="k1",
    before={"name": "docs", "rate": {"tokens_per_minute": 0}},
    after={"name": "docs", "rate": {"tokens_per_minute": 9_000}},
    request_id="req_of_the_change",
    peer="10.1.2.3",
)


def page(*changes: ChangeView, path: str = "/changes", **me: object) -> str:
    platform = Platform(**{"GET /changes": changes, "GET /me": msgspec.structs.replace(OWNER, **me)})
    reply = Browser(platform).get(path)
    assert reply.status == 200
    return reply.text


def links(html: str) -> set[str]:
    return {str(given.get("href")) for tag, given in Elements(html).found if tag == "a"}


# --- one change -------------------------------------------------------------------------------------------------------


def test_a_change_tells_who_in_which_role_when_what_of_what_and_by_which_request():
    html = page(CHANGE)
    for text in (
        "Ada Lovelace",
        "admin",
        "2026-11-21 09:20",
        "changed the key",
        "docs",
        "req_of_the_change",
        "10.1.2.3",
    ):
        assert text in html
    assert re.search(r"rate · tokens per minute</dt><dd><del>0</del>.*<ins>9,000</ins>", html)


def test_it_links_to_the_key_to_the_person_and_to_the_changes_of_either():
    found = links(page(CHANGE, path="/changes?action=key.change"))
    assert {"/console/keys/k1", "/console/people/per_ada"} <= found
    assert "/console/changes?actor=per_ada&action=key.change" in found
    assert "/console/changes?subject=k1&action=key.change" in found


def test_a_person_elsewhere_is_found_where_they_are_and_a_level_where_its_limits_are_set():
    elsewhere = msgspec.structs.replace(CHANGE, org="other org")
    assert "/console/people/per_ada?org=other+org" in links(page(elsewhere))
    limits = msgspec.structs.replace(
        CHANGE, action="scope.put", subject="org:acme/team:search", before=None, after=None
    )
    html = page(limits)
    assert "/console/keys/limits?level=team&org=acme&team=search" in links(html)
    assert "acme / search" in html


def test_nothing_is_linked_that_the_reader_may_not_open():
    found = links(page(CHANGE, may=("read changes",), role="auditor"))
    assert not [link for link in found if link.startswith(("/console/keys", "/console/people"))]


def test_what_is_hostile_is_text_everywhere():
    values = {field.name: EVIL for field in msgspec.structs.fields(ChangeView) if field.type is str}
    evil = ChangeView(
        **values | {"at_s": NOW_S, "before": {EVIL: [EVIL]}, "after": {EVIL: {EVIL: EVIL}, "name": EVIL}}
    )
    html = page(evil, path="/changes?actor=%22%3E%3Cimg%20src=x%3E")
    for tag, given in Elements(html).found:
        assert tag != "img" or str(given["src"]).startswith("/console/static/")
        assert not [name for name in given if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            assert str(given.get(name, "/")).startswith(("/", "#")), (tag, given)


# --- differences ------------------------------------------------------------------------------------------------------


def lines(before: object, after: object) -> list[tuple[str, str, str]]:
    return [(line.name, line.before, line.after) for line in difference(before, after).lines]


def test_only_what_differs_has_a_line_member_by_member_at_any_depth():
    before = {"a": 1, "caps": [{"limit_nanos": 10**9, "hard": True}], "models": ["x"]}
    after = {"a": 1, "caps": [{"limit_nanos": 2 * 10**9, "hard": False}], "models": ["x", "y"]}
    assert lines(before, after) == [
        ("caps 1 · limit", "$1.00", "$2.00"),
        ("caps 1 · hard", "yes", "no"),
        ("models", "x", "x, y"),
    ]


def test_a_document_that_came_or_went_shows_what_it_said():
    document = {"name": "docs", "team": "", "rate": {"concurrency": 0}, "revoked_s": 0.0}
    (came,) = difference(None, document).lines
    assert (came.name, came.after, came.is_new, came.is_gone) == ("name", "docs", True, False)
    (went,) = difference(document, None).lines
    assert (went.name, went.before, went.is_new, went.is_gone) == ("name", "docs", False, True)
    assert difference(None, None).lines == ()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("limit_nanos", 1_500_000_000, "$1.50"),
        ("revoked_s", NOW_S, "2026-11-21 09:20:00 UTC"),
        ("revoked_s", 0.0, "never"),
        ("overlap_s", 3600, "3,600 s"),
        ("hard", False, "no"),
        ("team", "", "nothing"),
        ("models", [], "nothing"),
        ("requests_per_minute", 60_000, "60,000"),
        ("tokens_per_minute", 9, "9"),
    ],
)
def test_values_are_said_in_their_own_unit(name, value, text):
    assert shown(name, value) == text


@pytest.mark.parametrize(
    "name", ["password_hash", "mac", "link_token", "oidc.client_secret", "caps 1.digest"]
)
def test_what_is_named_like_a_secret_is_stars_even_if_the_platform_let_it_through(name):
    assert shown(name, "canary") == "***"


@pytest.mark.parametrize("value", [TOKEN, f"my key is {TOKEN}", [TOKEN], "eyJhbGciOiJub25lIn0.e30."])
def test_what_looks_like_a_token_is_stars_wherever_it_stands(value):
    assert "0123456789abcdef" not in shown("name", value)
    assert "eyJ" not in shown("name", value)


@pytest.mark.parametrize("over", [0, 1])
def test_the_lines_of_a_change_are_bounded_and_the_rest_is_counted(over):
    found = difference(None, {f"m{number}": "x" for number in range(LINES_MOST + over)})
    assert (len(found.lines), found.more) == (LINES_MOST, over)
    assert len(shown("name", "x" * 5_000)) == 300


def test_what_lies_too_deep_is_one_value_and_never_the_end_of_the_stack():
    deep: object = "bottom"
    for _ in range(100):
        deep = {"m": deep}
    (line,) = difference(None, deep).lines
    assert line.name.count("m") == DEPTH_MOST
    assert line.after.startswith("{'m'")


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_filter_of_the_address_is_what_the_platform_is_asked_an_organisation_only_by_an_owner():
    path = "/changes?actor=per_1&subject=k1&action=key.revoke&org=other&after=c9"
    asked: dict[str, dict[str, str]] = {}
    for role in ("owner", "admin"):
        platform = Platform(**{"GET /changes": (), "GET /me": msgspec.structs.replace(OWNER, role=role)})
        assert Browser(platform).get(path).status == 200
        (asked[role],) = platform.queries("GET /changes")
    wanted = {
        "actor": "per_1",
        "subject": "k1",
        "action": "key.revoke",
        "after": "c9",
        "limit": str(ROWS + 1),
    }
    assert asked == {"owner": {**wanted, "org": "other"}, "admin": wanted}


@pytest.mark.parametrize("more", [0, 1])
def test_a_full_page_leads_to_the_next_by_its_last_change_and_only_when_there_is_one(more):
    changes = [msgspec.structs.replace(CHANGE, id=f"c{number}") for number in range(ROWS + more)]
    found = links(page(*changes, path="/changes?action=key.change"))
    assert (f"/console/changes?action=key.change&after=c{ROWS - 1}" in found) is bool(more)
    assert "change-c50" not in page(*changes)


def test_nothing_changed_and_nothing_found_are_told_apart():
    assert "Nothing was changed yet" in page()
    assert "Nothing matches" in page(path="/changes?actor=nobody")


def test_every_action_the_platform_writes_has_its_words():
    written: set[str] = set()
    for path in Path(audit.__file__).parent.glob("*.py"):
        written |= set(re.findall(r'"((?:key|scope|person|session)\.[a-z-]+)"', path.read_text()))
    assert written == set(ACTIONS)


# --- on a whole platform ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def it(tmp_path_factory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


def test_what_was_done_to_a_key_stands_there_with_its_figures_and_without_its_secret(it):
    from_above = it.person("admin", name="Grace <b>Hopper</b>")
    key = it.key(
        name="docs", rate=Rate(requests_per_minute=60), caps=(Cap(window="day", limit_nanos=5 * 10**9),)
    )
    assert from_above.post(f"/keys/{key.id}/revoke").status == 303
    html = from_above.get(f"/changes?subject={key.id}").text
    assert "revoked the key" in html
    assert "made the key" in html
    assert "Grace &lt;b&gt;Hopper&lt;/b&gt;" in html
    assert "<ins>$5.00</ins>" in html
    assert key.mac not in html
    assert from_above.get("/changes?subject=nothing-of-that-id").text.count("Nothing matches") == 1


@pytest.mark.parametrize(
    ("role", "status"), [("developer", 403), ("team-admin", 403), ("reviewer", 403), ("auditor", 200)]
)
def test_only_admins_and_auditors_open_it(it, role, status):
    reply = it.person(role).get("/changes")
    assert reply.status == status
    assert ("Your role may not read changes." in reply.text) is (status == 403)


def test_an_organisation_s_changes_are_its_own(it):
    canary = it.key(name="canary-of-acme")
    stranger = it.person("admin", org="other")
    assert "canary-of-acme" not in stranger.get(f"/changes?subject={canary.id}").text
    assert "canary-of-acme" not in stranger.get("/changes?org=acme").text
    owner = it.person("owner", org="other")
    assert "canary-of-acme" in owner.get("/changes?org=acme").text
