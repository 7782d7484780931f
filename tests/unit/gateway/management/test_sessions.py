"""Signing in and out, and who one is: what is refused looks alike, what is given is given once."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.edge.identity import Begun, Identity
from penstock.kernel.errors import Unauthenticated
from penstock.mechanisms.persons import TRIES_PER_EMAIL, TRIES_PER_PEER
from penstock.mechanisms.roles import Action, Role, may
from penstock.mechanisms.tenancy import KeyDoc
from tests.unit.gateway.management.office import ORG, PASSWORD, PEER, TEAM, Office, office

SESSIONS, LINK, OIDC, CODE, ME = (
    f"/api/v1/{name}" for name in ("sessions", "sessions/link", "sessions/oidc", "sessions/oidc/code", "me")
)
KIM = {"email": "Kim@acme.test", "password": PASSWORD}
BACK = {"code": "good", "state": "s", "kept": "k", "redirect_uri": "https://console.test/back"}


class Door:
    """An OpenID provider that knows one person."""

    name = "Acme SSO"

    def __init__(self, email: str = "kim@acme.test") -> None:
        self.email = email
        self.asked: list[str] = []

    async def begin(self, redirect_uri: str) -> Begun:
        return Begun(f"https://provider.test/?back={redirect_uri}", "sealed")

    async def finish(self, *, code: str, state: str, kept: str, redirect_uri: str) -> Identity:
        self.asked.append(code)
        if code != "good":
            raise Unauthenticated("This sign-in did not begin here.", code="oidc_refused")
        return Identity("https://provider.test", "subject-1", self.email)


def test_a_password_opens_a_session_whose_token_works_and_is_shown_once(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        person = await it.person("developer", email=KIM["email"])
        told = await it.ask("POST", SESSIONS, KIM | {"agent": "Firefox"})
        assert told.status == 201
        made = told.json
        assert made["token"].startswith("pens-")
        assert made["person"]["id"] == made["session"]["person"] == person.id
        session = made["session"]
        assert (session["method"], session["peer"], session["agent"], session["current"]) == (
            "password", PEER, "Firefox", True,
        )  # fmt: skip
        [listed] = (await it.ask("GET", SESSIONS, by=made["token"])).json
        assert listed == session
        for path in (SESSIONS, ME, f"/api/v1/people/{person.id}/sessions"):
            assert made["token"] not in (await it.ask("GET", path, by=made["token"])).text

    office(tmp_path, case)


def test_a_wrong_password_an_unknown_address_and_a_disabled_person_get_one_reply(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        kim = await it.person("developer", email=KIM["email"])
        wrong = await it.ask("POST", SESSIONS, KIM | {"password": "wrong"})
        unknown = await it.ask("POST", SESSIONS, KIM | {"email": "nobody@acme.test"})
        no_address = await it.ask("POST", SESSIONS, KIM | {"email": "nobody"})
        owner = await it.as_("owner")
        await it.ask("POST", f"/api/v1/people/{kim.id}/disable", by=owner)
        disabled = await it.ask("POST", SESSIONS, KIM)
        for told in (wrong, unknown, no_address, disabled):
            assert (told.status, told.error["code"]) == (401, "wrong_password")
            assert told.text == wrong.text
            assert "acme" not in told.text
            assert {name for name in told.headers if name} == {name for name in wrong.headers if name}

    office(tmp_path, case)


def test_attempts_are_limited_per_address_and_per_peer_and_the_refusal_says_when_to_come_again(
    tmp_path: Path,
) -> None:
    async def case(it: Office) -> None:
        await it.person("developer", email=KIM["email"])
        for _ in range(TRIES_PER_EMAIL):
            assert (
                await it.ask("POST", SESSIONS, KIM | {"password": "wrong"}, peer="192.0.2.9")
            ).status == 401
        for peer in ("192.0.2.9", "192.0.2.10"):
            told = await it.ask("POST", SESSIONS, KIM, peer=peer)
            assert told.status == 429
            assert int(told.headers["retry-after"][0]) >= 1
        for number in range(TRIES_PER_PEER):
            body = {"email": f"a{number}@acme.test", "password": "wrong"}
            assert (await it.ask("POST", SESSIONS, body, peer="192.0.2.11")).status == 401
        guess = {"token": "penl-owner-guess", "password": PASSWORD}
        for path, body in ((SESSIONS, KIM | {"email": "b@acme.test"}), (LINK, guess)):
            told = await it.ask("POST", path, body, peer="192.0.2.11")
            assert (told.status, "retry-after" in told.headers) == (429, True)
        assert (await it.ask("POST", LINK, guess, peer="192.0.2.12")).status == 401

    office(tmp_path, case)


def test_a_session_presented_while_signing_in_ends(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        fixed = await it.somebody("developer", email=KIM["email"])
        made = (await it.ask("POST", SESSIONS, KIM, by=fixed)).json
        assert (await it.ask("GET", ME, by=fixed)).status == 401
        assert (await it.ask("GET", ME, by=made["token"])).status == 200

    office(tmp_path, case)


def test_the_owners_link_makes_the_first_owner_once(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        token = await it.people.owner_link()
        body = {"token": token, "password": PASSWORD, "email": "olga@acme.test", "name": "Olga"}
        for lacking in ("email", "name"):
            told = await it.ask("POST", LINK, {k: v for k, v in body.items() if k != lacking})
            assert (told.status, told.error["param"]) == (400, lacking)
        weak = await it.ask("POST", LINK, body | {"password": "short"})
        assert (weak.status, weak.error["param"]) == (400, "password")
        told = await it.ask("POST", LINK, body)
        assert (told.status, told.json["person"]["role"]) == (201, "owner")
        assert (told.json["person"]["org"], told.json["session"]["method"]) == ("default", "link")
        assert (await it.ask("GET", ME, by=told.json["token"])).status == 200
        assert (await it.ask("POST", LINK, body | {"email": "eve@acme.test"})).status == 401

    office(tmp_path, case)


def test_signing_out_ends_this_session_and_no_other(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        await it.person("developer", email=KIM["email"])
        first, second = [(await it.ask("POST", SESSIONS, KIM)).json for _ in range(2)]
        told = await it.ask("DELETE", f"{SESSIONS}/current", by=first["token"])
        assert (told.status, told.text) == (204, "")
        gone = await it.ask("GET", ME, by=first["token"])
        assert (gone.status, gone.error["code"]) == (401, "signed_out")
        assert (await it.ask("GET", ME, by=second["token"])).status == 200

    office(tmp_path, case)


def test_one_ends_ones_own_sessions_and_nobody_elses(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        kim, eve = await it.somebody("developer"), await it.somebody("owner", email=KIM["email"])
        other = (await it.ask("POST", SESSIONS, KIM)).json
        rows = (await it.ask("GET", SESSIONS, by=eve)).json
        assert sorted(row["current"] for row in rows) == [False, True]
        target = f"{SESSIONS}/{other['session']['id']}"
        refused = await it.ask("DELETE", target, by=kim)
        absent = await it.ask("DELETE", f"{SESSIONS}/ses_nothing", by=kim)
        assert (refused.status, refused.text) == (
            404, absent.text.replace("ses_nothing", other["session"]["id"]),
        )  # fmt: skip
        assert (await it.ask("GET", ME, by=other["token"])).status == 200
        assert (await it.ask("DELETE", target, by=eve)).status == 204
        assert (await it.ask("GET", ME, by=other["token"])).status == 401
        [told] = [c for c in await it.told() if c.action == "session.revoke"]
        assert (told.actor_id, told.subject) == (eve.id, other["session"]["id"])

    office(tmp_path, case)


def test_a_key_has_no_sessions(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        key = await it.key("admin")
        assert (await it.ask("GET", SESSIONS, by=key)).json == []
        for end in ("current", "ses_nothing"):
            assert (await it.ask("DELETE", f"{SESSIONS}/{end}", by=key)).status == 404

    office(tmp_path, case)


@pytest.mark.parametrize("role", sorted(Role))
def test_me_tells_who_one_is_and_all_that_one_may(tmp_path: Path, role: str) -> None:
    async def case(it: Office) -> None:
        by = await it.as_(role)
        me = (await it.ask("GET", ME, by=by)).json
        assert (me["id"], me["org"], me["team"], me["role"]) == (by.id, ORG, TEAM, role)
        assert me["kind"] == ("key" if role == "caller" else "person")
        assert me["may"] == [str(action) for action in Action if may(role, action)]
        if by.person is None:
            assert (me["csrf"], me["email"]) == ("", "")
        else:
            assert (me["email"], me["name"]) == (by.person.email, by.person.name)
            it.sessions.check_csrf(by.token.encode(), me["csrf"])

    office(tmp_path, case)


def test_the_csrf_token_of_a_new_session_is_the_one_that_me_tells(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        await it.person("developer", email=KIM["email"])
        made = [(await it.ask("POST", SESSIONS, KIM)).json for _ in range(2)]
        told = [(await it.ask("GET", ME, by=each["token"])).json["csrf"] for each in made]
        assert told == [each["csrf"] for each in made]
        assert len(set(told)) == 2

    office(tmp_path, case)


def test_a_key_is_named_as_its_maker_named_it(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        doc = KeyDoc(id="", mac="", org=ORG, team=TEAM, project="p", user="u", name="for search")
        made, token = await it.tenancy.create_key(doc)
        me = (await it.ask("GET", ME, by=token)).json
        assert (me["kind"], me["id"], me["name"], me["user"]) == ("key", made.id, "for search", "u")

    office(tmp_path, case)


def test_without_an_openid_provider_nobody_comes_in_by_one(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        assert (await it.ask("GET", OIDC)).json == {"enabled": False, "name": ""}
        for path, body in ((OIDC, {"redirect_uri": BACK["redirect_uri"]}), (CODE, BACK)):
            told = await it.ask("POST", path, body)
            assert (told.status, told.error["code"]) == (404, "oidc_off")

    office(tmp_path, case)


def test_somebody_invited_comes_in_by_the_openid_provider_and_is_bound_to_it(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        body = {"email": KIM["email"], "name": "Kim", "role": "developer"}
        invited = (await it.ask("POST", "/api/v1/people", body, by=admin)).json["person"]
        assert (await it.ask("GET", OIDC)).json == {"enabled": True, "name": "Acme SSO"}
        begun = await it.ask("POST", OIDC, {"redirect_uri": BACK["redirect_uri"]})
        assert begun.json == {"url": f"https://provider.test/?back={BACK['redirect_uri']}", "kept": "sealed"}
        for _ in range(
            TRIES_PER_PEER + 1
        ):  # who is known does not use up the attempts of an office's address
            told = await it.ask("POST", CODE, BACK)
            assert (told.status, told.json["session"]["method"]) == (201, "oidc")
            assert (told.json["person"]["id"], told.json["person"]["oidc"]) == (invited["id"], True)
            assert (await it.ask("GET", ME, by=told.json["token"])).status == 200
        bad = await it.ask("POST", CODE, BACK | {"code": "bad"})
        assert (bad.status, bad.error["code"]) == (401, "oidc_refused")

    office(tmp_path, case, oidc=Door())


def test_nobody_uninvited_comes_in_by_the_openid_provider(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        await it.person(
            "developer", email=KIM["email"]
        )  # who has a password: an address elsewhere takes over nobody
        told = await it.ask("POST", CODE, BACK)
        assert (told.status, told.error["code"]) == (401, "unknown_identity")

    office(tmp_path, case, oidc=Door())


def test_the_openid_provider_is_asked_so_often_for_one_peer_and_no_more(tmp_path: Path) -> None:
    door = Door()

    async def case(it: Office) -> None:
        for _ in range(TRIES_PER_PEER):
            assert (await it.ask("POST", CODE, BACK | {"code": "bad"})).status == 401
        told = await it.ask("POST", CODE, BACK)
        assert (told.status, "retry-after" in told.headers) == (429, True)
        assert len(door.asked) == TRIES_PER_PEER
        assert (await it.ask("POST", CODE, BACK | {"code": "bad"}, peer="192.0.2.200")).status == 401

    office(tmp_path, case, oidc=door)


@pytest.mark.parametrize("smuggled", [
    {"role": "owner"}, {"org": "other"}, {"person": "per_x"}, {"peer": "127.0.0.1"}, {"method": "oidc"},
    {"id": "ses_x"}, {"created_s": 9e9}, {"epoch": 9},
])  # fmt: skip
@pytest.mark.parametrize("path", [SESSIONS, LINK, CODE])
def test_signing_in_takes_nothing_else(tmp_path: Path, path: str, smuggled: dict[str, object]) -> None:
    async def case(it: Office) -> None:
        await it.person("developer", email=KIM["email"])
        body = {SESSIONS: KIM, LINK: {"token": "penl-x-y", "password": PASSWORD}, CODE: BACK}[path]
        told = await it.ask("POST", path, body | smuggled)
        assert (told.status, told.error["param"]) == (400, next(iter(smuggled)))

    office(tmp_path, case, oidc=Door())


@pytest.mark.parametrize("token", ["pens-" + "x" * 43, "pens-", "pen-x", "eyJhbGciOiJub25lIn0.e30.", "x"])
def test_a_token_that_nobody_gave_out_opens_nothing_not_even_what_is_public(
    tmp_path: Path, token: str
) -> None:
    async def case(it: Office) -> None:
        for method, path in (("GET", ME), ("GET", OIDC), ("GET", SESSIONS)):
            assert (await it.ask(method, path, by=token)).status == 401

    office(tmp_path, case)
