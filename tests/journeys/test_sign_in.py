"""The first person of a bare machine: the link that `penstock up` prints, a password, a session, and then the others.

Promise: each start prints a new link while nobody is an owner, only the newest works, and it works once; the owner
invites, the invited come in, and each may what the role may; once there is an owner no link is printed; no log, no
output but the welcome and no file holds a link or a session.
"""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.test_newcomer import Home

PASSWORD = "a long enough pass phrase"


def ask(home: Home, method: str, path: str, bearer: str = "", **body: Any) -> tuple[int, Any]:
    """Ask the management API; returns status and decoded body."""
    connection = http.client.HTTPConnection(home.url.rpartition("/")[2], timeout=30)
    headers = {"content-type": "application/json"}
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    try:
        connection.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
        reply = connection.getresponse()
        text = reply.read()
    finally:
        connection.close()
    return reply.status, json.loads(text) if text else None


def link_of(welcome: str) -> str:
    """Return the token of the owner's link in a welcome; empty when there is none."""
    found = re.search(r"\S+/console/link\?token=(penl-owner-\S+)", welcome)
    return found[1] if found else ""


@pytest.fixture
def home(tmp_path: Path):
    """Give a folder in which nothing was started yet; end what was."""
    made = Home(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


def test_from_the_first_start_to_a_team_that_signs_in(home: Home) -> None:
    stale = link_of(home.up())
    assert home.down() == 0
    link = link_of(home.up())
    assert stale
    assert link
    assert link != stale
    owner = {"password": PASSWORD, "email": "Olga@acme.test", "name": "Olga"}
    claims = [ask(home, "POST", "/sessions/link", token=each, **owner) for each in (stale, link, link)]
    assert [status for status, _ in claims] == [401, 201, 401]
    made = claims[1][1]
    assert made["person"]["role"] == "owner"
    olga = made["token"]
    me = ask(home, "GET", "/me", olga)[1]
    assert (me["kind"], me["role"], me["name"]) == ("person", "owner", "Olga")

    invited = {"email": "dan@acme.test", "name": "Dan", "role": "developer", "team": "search"}
    status, invitation = ask(home, "POST", "/people", olga, **invited)
    assert status == 201
    accepted = {"token": invitation["link_token"], "password": f"{PASSWORD} of Dan"}
    assert ask(home, "POST", "/sessions/link", **accepted)[0] == 201
    signing_in = {"email": "DAN@acme.test", "password": f"{PASSWORD} of Dan"}
    assert ask(home, "POST", "/sessions", **{**signing_in, "password": PASSWORD})[0] == 401
    status, made = ask(home, "POST", "/sessions", **signing_in)
    dan = made["token"]
    assert (status, ask(home, "GET", "/me", dan)[1]["role"]) == (201, "developer")
    assert [ask(home, "GET", path, dan)[0] for path in ("/people", "/settings", "/requests")] == [
        403,
        403,
        200,
    ]
    assert [ask(home, "GET", path, olga)[0] for path in ("/people", "/settings")] == [200, 200]
    assert ask(home, "POST", f"/people/{invitation['person']['id']}/disable", olga)[0] == 200
    assert ask(home, "GET", "/me", dan)[0] == 401
    assert ask(home, "DELETE", "/sessions/current", olga)[0] == 204
    assert ask(home, "GET", "/me", olga)[0] == 401

    assert home.down() == 0
    assert link_of(home.up()) == ""
    assert home.down() == 0
    secrets = (stale, link, olga, dan, invitation["link_token"], PASSWORD)
    kept = [path.read_bytes() for path in (home.folder / "var").rglob("*") if path.is_file()]
    for secret in secrets:
        assert not any(secret in text for text in home.errors)
        assert not any(secret.encode() in data for data in kept)
