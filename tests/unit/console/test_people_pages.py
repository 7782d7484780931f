"""People at the console, on a whole platform: invited, changed, shut out and let in; who may, and who is told what."""

from __future__ import annotations

import re

import pytest

from penstock.console import roles as words
from penstock.console.pages import people as pages
from penstock.mechanisms import people as theirs
from penstock.mechanisms.changes import THE_PLATFORM
from penstock.mechanisms.roles import ALLOWED, BREADTHS, GRANTS, PEOPLE_ROLES, Action, Breadth, Role
from tests.unit.console.place import PASSWORD, Place, Visitor, filled, must_be_tame, place, wrong_fields
from tests.unit.console.test_pages import EVIL

ROLES = words.ROLE_NAMES


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with place(tmp_path_factory.mktemp("people")) as made:
        yield made


@pytest.fixture(scope="module")
def people(it) -> dict[str, Visitor]:
    return {role: it.person(role, name=f"the {role}") for role in ROLES}


@pytest.fixture
def ada(people) -> Visitor:
    return people["owner"]


def invited(
    it: Place, email: str, role: str = "developer", *, name: str = "Lin", team: str = "search"
) -> str:
    person, _ = it.run(it.platform.people.invite(THE_PLATFORM, email, name, role, org="acme", team=team))
    return person.id


def link_in(html: str) -> str:
    return re.search(r'<pre id="link"[^>]*>[^<]*/console/link\?token=([^<]*)</pre>', html)[1]


def kept(it: Place, person_id: str):
    return it.run(it.platform.people.person(person_id))


# --- the table of roles says what the platform does -------------------------------------------------------------------


def test_who_may_what_is_the_platform_s_own_table():
    assert set(words.ROLE_NAMES) == {role.value for role in PEOPLE_ROLES}
    assert {action: set(may) for action, may in words.WHO_MAY.items()} == {
        action.value: {role.value for role in may & PEOPLE_ROLES} for action, may in ALLOWED.items()
    }


def test_who_may_give_which_role_is_the_platform_s_own_table():
    given = {role.value: {each.value for each in may & PEOPLE_ROLES} for role, may in GRANTS.items()}
    assert {role: set(words.grants_of(role)) for role in ROLES if words.grants_of(role)} == given


def test_what_is_fixed_for_a_role_is_what_it_does_not_reach_beyond():
    fixed = {Breadth.PLATFORM: 0, Breadth.ORGANISATION: 1, Breadth.TEAM: 2, Breadth.SELF: 3}
    said = {"the platform": 0, "the organisation": 1, "the team": 2, "themselves": 3}
    for role in words.ROLES:
        assert len(words.fixed_for(role.name)) == fixed[BREADTHS[Role(role.name)]] == said[role.reach]
    assert words.fixed_for("a role of tomorrow") == ("org", "team", "user")


def test_a_link_lasts_as_long_as_is_said():
    assert pages.LINK_DAYS * 86_400 == theirs.LINK_LIFE_S


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: f"{page.method} {page.path}")
def test_a_page_opens_to_exactly_the_roles_that_have_its_action(it, people, page, role):
    somebody = invited(it, f"open.{role}.{abs(hash(page))}@example.org")
    path = page.path.replace("{id}", somebody)
    reply = people[role].get(path) if page.method == "GET" else people[role].post(path, {"role": "developer"})
    may = role in ALLOWED[Action(page.needs)]
    assert (reply.status != 403) == may
    assert reply.status < 500


@pytest.mark.parametrize("csrf", ["", "guessed"])
@pytest.mark.parametrize(
    "page", [page for page in pages.PAGES if page.method == "POST"], ids=lambda page: page.path
)
def test_a_form_without_the_session_s_token_changes_nothing(it, ada, page, csrf):
    somebody = invited(it, f"csrf.{csrf}.{abs(hash(page))}@example.org")
    before = kept(it, somebody), len(it.run(it.platform.people.of_org("acme", limit=1000)))
    form = {"name": "by another site", "email": "evil@example.org", "role": "owner", "team": "search"}
    assert ada.post(page.path.replace("{id}", somebody), form, csrf=csrf).status == 403
    assert (kept(it, somebody), len(it.run(it.platform.people.of_org("acme", limit=1000)))) == before


def test_nothing_is_offered_that_would_be_refused(it, people):
    owner, developer = people["owner"].person.id, people["developer"].person.id
    assert "Invite somebody" not in people["auditor"].get("/people").text
    for visitor, person in (
        ("auditor", developer),
        ("admin", owner),
        ("team-admin", people["admin"].person.id),
    ):
        html = people[visitor].get(f"/people/{person}").text
        assert not re.search(r'action="/console/people/', html)
        assert 'data-open="disable"' not in html
    offered = re.findall(r'name="role" value="([^"]*)"', people["team-admin"].get("/people/invite").text)
    assert offered == ["team-admin", "developer", "reviewer"]
    assert "Firefox" not in people["auditor"].get(f"/people/{developer}").text


def test_whoever_is_out_of_reach_looks_like_nobody(it, people):
    foreign = it.person("developer", org="globex", name="Foreign").person.id
    mate = it.person("developer", team="ops", name="Mate").person.id
    for role, person in (("admin", foreign), ("team-admin", foreign), ("team-admin", mate)):
        assert people[role].get(f"/people/{person}").status == 404
        assert people[role].post(f"/people/{person}/disable").status == 404
    assert people["admin"].get(f"/people/{foreign}?org=globex").status == 403
    assert people["owner"].get(f"/people/{foreign}?org=globex").status == 200
    assert "Foreign" in people["owner"].get("/people?org=globex").text
    assert kept(it, mate).state == "active"


# --- inviting ---------------------------------------------------------------------------------------------------------


def test_an_invitation_s_link_is_shown_once_and_lets_in(it, ada):
    reply = ada.fill(
        "/people/invite", name="Grace", email="Grace@Example.org", role="reviewer", team="judges"
    )
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    token = link_in(reply.text)
    assert "127.0.0.1:8700/console/link" in reply.text
    grace = it.run(it.platform.people.by_email("grace@example.org"))
    assert (grace.name, grace.role, grace.team, grace.state) == ("Grace", "reviewer", "judges", "invited")
    secret = token.split("-", 2)[2]  # base64url: it may hold hyphens of its own
    for path in ("/people", f"/people/{grace.id}"):
        assert secret not in ada.get(path).text
    assert "link not used yet" in ada.get(f"/people/{grace.id}").text
    assert it.run(it.platform.people.accept(token, PASSWORD, peer="10.9.9.9")).state == "active"


def test_an_invitation_with_mistakes_keeps_all_that_was_typed(it, ada):
    typed = {"name": "", "email": "no address", "role": "auditor", "team": "no good!"}
    reply = ada.fill("/people/invite", **typed)
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"name", "email", "team"}
    again, _ = filled(reply.text)
    assert {name: again[name] for name in typed} == typed


def test_an_address_that_is_taken_says_so_at_the_field(it, ada):
    invited(it, "taken@example.org")
    reply = ada.fill("/people/invite", name="Again", email="TAKEN@example.org")
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"email"}
    assert "Somebody has this address already" in reply.text
    assert 'value="Again"' in reply.text


def test_a_role_above_one_s_own_is_refused_however_it_is_asked_for(it, people):
    jens = people["team-admin"]
    form, _ = filled(jens.get("/people/invite").text)
    assert (
        jens.post("/people/invite", form | {"name": "Up", "email": "up@example.org", "role": "admin"}).status
        == 400
    )
    other = jens.post(
        "/people/invite", form | {"name": "Up", "email": "up@example.org", "role": "developer", "team": "ops"}
    )
    assert (other.status, wrong_fields(other.text)) == (403, {"team"})
    assert it.run(it.platform.people.by_email("up@example.org")) is None


# --- changing ---------------------------------------------------------------------------------------------------------


def test_a_form_changes_what_was_changed_and_no_more(it, ada):
    person = invited(it, "change@example.org")
    assert ada.fill(f"/people/{person}", role="reviewer").status == 303
    assert (kept(it, person).role, kept(it, person).name, kept(it, person).team) == (
        "reviewer",
        "Lin",
        "search",
    )
    changes = it.changes()
    ada.fill(f"/people/{person}")
    assert it.changes() == changes
    ada.fill(f"/people/{person}", name="Lin Lin", team="ops")
    assert (kept(it, person).name, kept(it, person).team, kept(it, person).role) == (
        "Lin Lin",
        "ops",
        "reviewer",
    )


def test_a_change_with_a_mistake_keeps_what_was_typed(it, ada):
    person = invited(it, "mistake@example.org")
    reply = ada.fill(f"/people/{person}", name="Kept", team="no good!", role="auditor")
    assert (reply.status, wrong_fields(reply.text)) == (400, {"team"})
    again, _ = filled(reply.text)
    assert (again["name"], again["team"], again["role"]) == ("Kept", "no good!", "auditor")
    assert kept(it, person).name == "Lin"


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(it, ada):
    person = invited(it, "stale@example.org")
    form, where = filled(ada.get(f"/people/{person}").text)
    ada.fill(f"/people/{person}", role="reviewer")
    stale = ada.post(where.removeprefix("/console"), form | {"role": "admin"})
    assert (stale.status, kept(it, person).role) == (409, "reviewer")
    assert filled(stale.text)[0]["role"] == "admin"


def test_a_new_link_replaces_the_old_one_and_sets_a_new_password(it, ada):
    person, first = it.run(
        it.platform.people.invite(
            THE_PLATFORM, "lost@example.org", "Lost", "developer", org="acme", team="search"
        )
    )
    reply = ada.post(f"/people/{person.id}/link")
    assert reply.status == 201
    assert "any earlier link has stopped working" in reply.text
    with pytest.raises(Exception, match="used, replaced or has ended"):
        it.run(it.platform.people.accept(first, PASSWORD, peer="10.8.8.8"))
    assert it.run(it.platform.people.accept(link_in(reply.text), PASSWORD, peer="10.8.8.8")).state == "active"


def test_somebody_is_shut_out_and_let_in_again(it, ada):
    lin = it.person("developer", name="Lin")
    page = f"/people/{lin.person.id}"
    assert lin.get("/account").status == 200
    assert ada.post(f"{page}/disable").status == 303
    assert kept(it, lin.person.id).state == "disabled"
    assert lin.get("/account").status == 303
    html = ada.get(page).text
    assert ('data-open="disable"' in html, "/enable" in html, "/link" in html) == (False, True, False)
    refused = ada.post(f"{page}/link")
    assert refused.status == 409
    assert "This person is disabled." in refused.text
    ada.post(f"{page}/enable")
    assert kept(it, lin.person.id).state == "active"


def test_nobody_shuts_themselves_out(it, ada):
    assert 'data-open="disable"' not in ada.get(f"/people/{ada.person.id}").text
    assert ada.post(f"/people/{ada.person.id}/disable").status == 400
    assert kept(it, ada.person.id).state == "active"


def test_the_last_owner_stays_one_and_the_form_says_why(it, ada):
    reply = ada.fill(f"/people/{ada.person.id}", role="admin")
    assert reply.status == 409
    assert "last active owner" in reply.text
    assert "Make another owner first." in reply.text
    assert kept(it, ada.person.id).role == "owner"


def test_sessions_are_shown_and_all_ended(it, ada):
    lin = it.person("developer", name="Lin")
    assert "Firefox" in ada.get(f"/people/{lin.person.id}").text
    assert ada.post(f"/people/{lin.person.id}/end-sessions").status == 303
    assert lin.get("/account").status == 303
    assert "Not signed in anywhere." in ada.get(f"/people/{lin.person.id}").text


# --- looking ----------------------------------------------------------------------------------------------------------


def test_the_list_says_how_each_signs_in_and_finds_by_words(it, ada):
    invited(it, "needle@example.org", name="Needle")
    html = ada.get("/people?q=needle+developer").text
    assert "needle@example.org" in html
    assert "link not used yet" in html
    assert "the auditor" not in html
    assert "Nobody fits" in ada.get("/people?q=nobody-is-called-so").text


def test_the_table_of_roles_marks_one_s_own(people):
    html = people["auditor"].get("/people").text
    assert "auditor (you)" in html
    assert "write limits of projects" in html


def test_hostile_names_stay_text_everywhere(it, ada):
    person = invited(it, "evil@example.org", name=EVIL)
    replies = [
        ada.get("/people"), ada.get(f"/people/{person}"), ada.get("/people?q=%3Cimg%20src=x%3E"),
        ada.fill("/people/invite", name=EVIL, email=EVIL, team=EVIL), ada.post(f"/people/{person}/link"),
        ada.fill(f"/people/{person}", team=EVIL, name=EVIL), ada.get("/people?org=acme"),
    ]  # fmt: skip
    for reply in replies:
        assert reply.status in (200, 201, 400)
        must_be_tame(reply.text)
