"""`penstock people` and `penstock changes`: one call each, the link shown once, what changed told member by member."""

from __future__ import annotations

import json

import pytest

from penstock.sdk.people import ChangeView, Invited, PersonView

ADA = PersonView(
    id="per_1",
    org="acme",
    team="search",
    email="ada@acme.test",
    name="Ada",
    role="developer",
    state="invited",
)
INVITED = Invited(person=ADA, link_token="penl-per_1-secret")


@pytest.mark.parametrize(
    ("words", "route"),
    [(("invite", "ada@acme.test", "Ada"), "POST /people"), (("link", "per_1"), "POST /people/per_1/link")],
)
def test_whoever_is_invited_gets_a_link_that_leads_to_the_console(far, penstock, words, route):
    far.answers[route] = INVITED
    code, out, _ = penstock("people", *words)
    assert code == 0
    assert f"\n{far.url}/console/link?token=penl-per_1-secret\n" in out
    told = json.loads(penstock("people", *words, "--json")[1])
    assert told["link"] == f"{far.url}/console/link?token={told['link_token']}"


@pytest.mark.parametrize("verb", ["disable", "enable"])
def test_somebody_is_shut_out_and_let_in(far, penstock, verb):
    far.answers[f"POST /people/per_1/{verb}"] = ADA
    assert penstock("people", verb, "per_1")[1] == "per_1 (ada@acme.test) is invited\n"


def test_everybody_is_listed(far, penstock):
    far.answers["GET /people"] = (ADA,)
    out = penstock("people", "list", "--org", "acme")[1]
    assert "ada@acme.test" in out
    assert "never" in out
    assert far.queries("GET /people")[0]["org"] == "acme"


def test_a_role_that_is_none_is_refused(far, penstock):
    assert penstock("people", "invite", "a@b.test", "A", "--role", "king")[0] == 2
    assert far.asked == []


def change(number: int, before: object, after: object) -> ChangeView:
    return ChangeView(
        id=f"c{number}", at_s=1_795_252_800.0, actor_name="Ada", actor_role="owner", action="key.change",
        subject="key:k", before=before, after=after,
    )  # fmt: skip


def test_only_what_changed_is_told_and_of_what_was_made_what_is_not_empty(far, penstock):
    far.answers["GET /changes"] = (
        change(1, {"name": "a", "rate": 5}, {"name": "b", "rate": 5}),
        change(2, None, {"name": "new", "caps": [], "end_users": False}),
        change(3, {"name": "gone"}, None),
    )
    out = penstock("changes")[1].splitlines()
    assert out[1].rstrip().endswith("name: a → b")
    assert out[2].rstrip().endswith("name: new")
    assert out[3].rstrip().endswith("key:k")
    assert len(out) == 4


@pytest.mark.parametrize(("limit", "more"), [(1, False), (2, True), (3, False)])
def test_changes_are_asked_for_as_given_and_go_on_after_a_full_page(far, penstock, limit, more):
    rows = (change(1, None, None), change(2, None, None))
    far.answers["GET /changes"] = lambda query: rows[: int(query["limit"])] if query["limit"] != "1" else ()
    out = penstock("changes", "--actor", "per_1", "--subject", "s", "--action", "a", "--limit", str(limit))[1]
    assert ("more: --after c2" in out) is more
    asked = far.queries("GET /changes")[0]
    assert (asked["actor"], asked["subject"], asked["action"]) == ("per_1", "s", "a")
