"""Keys, limits and budgets at the console, on a whole platform: each action, who may, what comes back wrong."""

from __future__ import annotations

import re
import shlex
from html import unescape

import pytest

from penstock.console.pages import key_forms, keys, limits
from penstock.console.visits import Page
from penstock.kernel.context import Cap, Rate
from penstock.mechanisms.roles import ALLOWED, Action
from penstock.mechanisms.scopes import ScopeDoc
from penstock.sdk.client import Client
from tests.unit.console.place import Visitor, filled, must_be_tame, place, put_scope, wrong_fields
from tests.unit.console.test_pages import EVIL, Elements

PAGES = (*key_forms.PAGES, *keys.PAGES, *limits.PAGES)
ROLES = ("owner", "admin", "team-admin", "developer", "reviewer", "auditor")
DAY = Cap(window="day", limit_nanos=20_000_000_000, warn_percent=(50, 90), hard=True)


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with place(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module")
def people(it) -> dict[str, Visitor]:
    return {role: it.person(role) for role in ROLES}


@pytest.fixture
def ada(people) -> Visitor:
    return people["owner"]


def address(page: Page, key_id: str) -> str:
    path = page.path.replace("{id}", key_id)
    return f"{path}?level=project&org=acme&team=search&project=web" if path.endswith("limits") else path


def token_in(html: str) -> str:
    return re.search(r'<pre id="token"[^>]*>([^<]*)</pre>', html)[1]


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.method} {page.path}")
def test_a_page_opens_to_exactly_the_roles_that_have_its_action(it, people, page, role):
    own = it.key(user=people["developer"].person.id)
    visitor = people[role]
    reply = (
        visitor.get(address(page, own.id)) if page.method == "GET" else visitor.post(address(page, own.id))
    )
    may = role in ALLOWED[Action(page.needs)]
    assert (reply.status != 403) == may
    assert reply.status < 500
    assert may or page.needs in reply.text


@pytest.mark.parametrize("csrf", ["", "guessed"])
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.method == "POST"], ids=lambda page: page.path
)
def test_a_form_without_the_session_s_token_changes_nothing(it, ada, page, csrf):
    before, own = it.changes(), it.key(org="other")
    reply = ada.post(address(page, own.id), {"name": "by another site"}, csrf=csrf)
    assert reply.status == 403
    assert "csrf" in reply.text
    assert it.changes() == before
    assert it.stored(own.id) == own


def test_nothing_is_offered_that_would_be_refused(it, people):
    key = it.key(name="of nobody")
    admins = it.key(role="admin")
    auditor = people["auditor"]
    assert "New key" not in auditor.get("/keys").text
    assert "/keys/limits?" not in auditor.get("/keys").text
    assert 'data-open="revoke"' not in auditor.get(f"/keys/{key.id}").text
    assert 'data-open="revoke"' not in people["admin"].get(f"/keys/{admins.id}").text
    assert 'data-open="revoke"' in people["owner"].get(f"/keys/{admins.id}").text
    assert 'name="role"' not in people["admin"].get("/keys/new").text
    assert 'name="role"' in people["owner"].get("/keys/new").text
    assert people["admin"].get(f"/keys/{admins.id}/edit").status == 403


def test_a_developer_sees_and_makes_keys_of_their_own_only(it, people):
    yuki = people["developer"]
    foreign = it.key(name="somebody elses")
    form, _ = filled(yuki.get("/keys/new").text)
    assert (form["org"], form["team"], form["user"]) == ("acme", "search", yuki.person.id)
    assert "readonly" in re.search(r'<input[^>]*name="user"[^>]*>', yuki.get("/keys/new").text)[0]
    assert foreign.name not in yuki.get("/keys?state=all").text
    assert yuki.get(f"/keys/{foreign.id}").status == 404
    refused = yuki.fill("/keys/new", user="kim", name="reaching out")
    assert refused.status == 403
    assert wrong_fields(refused.text) == {"user"}
    assert "own user only" in refused.text
    assert 'value="reaching out"' in refused.text


def test_another_organisation_s_keys_are_an_owner_s_to_see_and_nobody_else_s(it, people):
    foreign = it.key(org="globex", name="of globex")
    assert people["owner"].get("/keys?org=globex").text.count(foreign.id) >= 1
    for role in ("admin", "auditor"):
        assert people[role].get("/keys?org=globex").status == 403
        assert people[role].get(f"/keys/{foreign.id}").status == 404


# --- making -----------------------------------------------------------------------------------------------------------


def test_a_new_key_s_token_is_shown_once_and_works(it, ada):
    reply = ada.fill("/keys/new", name="first", team="ops", day_dollars="0.000000001", requests_per_minute="1,000",
                     models="local/extractive", expires="86400", max_request_dollars="1.50")  # fmt: skip
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    token = token_in(reply.text)
    assert f"Bearer {token}" in unescape(reply.text)
    key = it.stored(token[4:16])
    assert (key.name, key.team, key.org, key.models) == ("first", "ops", "acme", ("local/extractive",))
    assert key.rate == Rate(requests_per_minute=1_000)
    assert key.caps == (Cap(window="day", limit_nanos=1),)
    assert key.max_request_nanos == 1_500_000_000
    assert 86_390 < key.expires_s - key.created_s <= 86_401
    for path in (f"/keys/{key.id}", "/keys", f"/keys/{key.id}/edit"):
        assert token[17:] not in ada.get(path).text

    async def models() -> list[str]:
        async with Client(f"http://127.0.0.1:{it.platform.port}", token) as client:
            return [model.id for model in await client.models.list()]

    assert it.run(models()) == ["local/extractive"]


def test_a_form_with_mistakes_keeps_all_that_was_typed_and_makes_nothing(it, ada):
    typed = {"name": "kept words", "project": "no good!", "day_dollars": "1,5", "concurrency": "many",
             "month_warn": "0",
             "models": "one\ntwo", "expires": "2592000", "total_hard": "soft", "end_users": "yes"}  # fmt: skip
    before = len(it.run(it.platform.tenancy.keys("acme", "", 1000)))
    reply = ada.fill("/keys/new", **typed)
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"project", "day_dollars", "concurrency", "month_warn"}
    again, _ = filled(reply.text)
    assert {name: again[name] for name in typed} == typed
    assert len(it.run(it.platform.tenancy.keys("acme", "", 1000))) == before


def test_a_role_that_was_not_offered_is_refused_by_the_platform(it, people):
    reply = people["admin"].fill("/keys/new", role="owner", name="climbing")
    assert reply.status == 403
    assert "write keys of admins and owners" in reply.text
    assert not [key for key in it.run(it.platform.tenancy.keys("acme", "", 1000)) if key.name == "climbing"]


def test_the_first_call_is_one_command_whatever_the_model_is_called():
    made = type("Made", (), {"token": "pen-x", "key": type("Key", (), {"models": ("it's; rm -rf $HOME",)})})
    command = key_forms.first_call("http://here", made).replace("\\\n", "")
    words = shlex.split(command)
    assert words[:2] == ["curl", "http://here/v1/chat/completions"]
    assert "it's; rm -rf $HOME" in words[-1]


# --- changing ---------------------------------------------------------------------------------------------------------


def test_a_key_s_form_sends_what_was_changed_and_no_more(it, ada):
    key = it.key(name="before", caps=(DAY,), rate=Rate(concurrency=3), models=("m",), max_output_tokens=9)
    before = it.changes()
    assert ada.fill(f"/keys/{key.id}/edit").location == f"/console/keys/{key.id}"
    assert (it.stored(key.id), it.changes()) == (key, before)
    assert ada.fill(f"/keys/{key.id}/edit", name="after").status == 303
    changed = it.stored(key.id)
    assert (changed.name, changed.caps, changed.rate, changed.models) == (
        "after",
        key.caps,
        key.rate,
        key.models,
    )
    assert ada.fill(f"/keys/{key.id}/edit", day_dollars="", concurrency="").status == 303
    assert (it.stored(key.id).caps, it.stored(key.id).rate) == ((), Rate())


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(it, ada):
    key = it.key(name="shared")
    form, where = filled(ada.get(f"/keys/{key.id}/edit").text)
    ada.fill(f"/keys/{key.id}/edit", concurrency="7")
    path = where.removeprefix("/console")
    stale = ada.post(path, form | {"name": "mine", "concurrency": "5"})
    assert stale.status == 409
    assert (it.stored(key.id).rate.concurrency, it.stored(key.id).name) == (7, "shared")
    again, _ = filled(stale.text)
    assert (again["name"], again["concurrency"]) == ("mine", "5")
    assert ada.post(path, again).status == 303
    assert (it.stored(key.id).rate.concurrency, it.stored(key.id).name) == (5, "mine")


def test_a_name_past_its_bound_is_wrong_at_its_field(it, people):
    key = it.key(name="x", user=people["developer"].person.id)
    reply = people["developer"].fill(f"/keys/{key.id}/edit", name="n" * 129)
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"name"}


@pytest.mark.parametrize(("overlap", "lives"), [("3600", True), ("0", False)])
def test_rotating_makes_a_successor_and_ends_the_old_key_when_asked(it, ada, overlap, lives):
    key = it.key(name="turning", caps=(DAY,))
    reply = ada.post(f"/keys/{key.id}/rotate", {"overlap": overlap})
    assert reply.status == 201
    made = it.stored(token_in(reply.text)[4:16])
    assert (made.name, made.caps, made.team) == (key.name, key.caps, key.team)
    html = ada.get(f"/keys/{key.id}").text
    assert (">ending<" in html, ">revoked<" in html) == (lives, not lives)


def test_an_overlap_nobody_offered_is_refused(it, ada):
    key = it.key()
    assert ada.post(f"/keys/{key.id}/rotate", {"overlap": "99999999"}).status == 400
    assert it.stored(key.id).revoked_s == 0


def test_a_key_is_revoked_and_an_admin_s_only_with_its_name_typed(it, ada):
    plain, admins = it.key(name="plain"), it.key(name="the gate", role="admin")
    reply = ada.post(f"/keys/{plain.id}/revoke")
    assert (reply.status, it.stored(plain.id).revoked_s > 0) == (303, True)
    for word in ("", "the wrong gate"):
        asked = ada.post(f"/keys/{admins.id}/revoke", {"word": word})
        assert (asked.status, it.stored(admins.id).revoked_s) == (400, 0)
        assert wrong_fields(asked.text) == {"word"}
        assert re.search(r'<dialog id="revoke"[^>]* data-opens', asked.text)
    assert ada.post(f"/keys/{admins.id}/revoke", {"word": "the gate"}).status == 303
    assert it.stored(admins.id).revoked_s > 0


# --- looking ----------------------------------------------------------------------------------------------------------


def test_the_table_finds_keys_by_words_and_state(it, ada):
    here, gone = it.key(name="needle alive", team="hay"), it.key(name="needle gone", team="hay")
    ada.post(f"/keys/{gone.id}/revoke")
    assert [key.id in ada.get("/keys?q=needle").text for key in (here, gone)] == [True, False]
    assert [key.id in ada.get("/keys?q=needle&state=ended").text for key in (here, gone)] == [False, True]
    assert [key.id in ada.get("/keys?q=hay+needle&state=all").text for key in (here, gone)] == [True, True]
    assert "No key fits" in ada.get("/keys?q=nothing-is-called-so").text


def test_a_key_s_page_leads_to_its_requests_its_costs_and_what_is_above_it(it, ada):
    put_scope(it, ScopeDoc(path="org:acme/team:lead", level="team", caps=(DAY,)))
    key = it.key(team="lead", caps=(Cap(window="total", limit_nanos=0),))
    html = unescape(ada.get(f"/keys/{key.id}").text)
    assert f'href="/console/requests?key_id={key.id}"' in html
    assert f"/console/costs?key_id={key.id}&by=day" in html
    assert 'href="/console/keys#org:acme/team:lead"' in html
    assert "100 %" in html


def test_what_the_overview_points_to_is_there(it, ada):
    """Pressures of the overview lead to ``/console/keys#PATH``, for levels and keys alike."""
    put_scope(it, ScopeDoc(path="org:acme/team:deep/project:down", level="project", caps=(DAY,)))
    key = it.key(team="deep", project="down")
    ids = {found.get("id") for _, found in Elements(ada.get("/keys").text).found}
    assert {
        "org:acme",
        "org:acme/team:deep",
        "org:acme/team:deep/project:down",
        f"org:acme/key:{key.id}",
    } <= ids


def test_a_first_start_says_what_to_do(it):
    fresh = it.person("owner", org="empty", team="none")
    assert "No keys yet" in fresh.get("/keys").text
    assert "/keys/new" in fresh.get("/keys").text


# --- hostile names ----------------------------------------------------------------------------------------------------


def test_hostile_names_stay_text_everywhere(it, ada):
    put_scope(it, ScopeDoc(path="org:acme/team:evil", level="team", name=EVIL, caps=(DAY,)))
    key = it.key(name=EVIL, models=(EVIL,), team="evil")
    admins = it.key(name=EVIL, role="admin")
    pages = [
        ada.get("/keys?state=all"), ada.get(f"/keys/{key.id}"), ada.get(f"/keys/{admins.id}"),
        ada.get(f"/keys/{key.id}/edit"),
        ada.get("/keys/limits?level=team&team=evil"), ada.get(f"/keys?q={'%3Cimg%20src=x%3E'}"),
        ada.fill("/keys/new", name=EVIL, project=EVIL, day_dollars=EVIL, models=EVIL),
        ada.post(f"/keys/{key.id}/rotate", {"overlap": "3600"}),
    ]  # fmt: skip
    for reply in pages:
        assert reply.status in (200, 201, 400)
        must_be_tame(reply.text)
    assert filled(pages[6].text)[0]["day_dollars"] == EVIL
