"""Every refusal has the house's form, and none repeats a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.gateway.management.reach import SEARCHED_PAGES, SEARCHED_ROWS, page
from penstock.kernel.errors import Overloaded
from tests.support import run
from tests.unit.edge.exchange import Replies, request
from tests.unit.gateway.management.office import Office, office


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/keys/", None, 404),
        ("PUT", "/api/v1/keys", {}, 405),
        ("POST", "/api/v1/keys", b"{", 400),
        ("POST", "/api/v1/keys", b"[]", 400),
        ("POST", "/api/v1/keys", b"\xff", 400),
        ("POST", "/api/v1/keys", b'{"name": "\\ud800"}', 400),
        ("POST", "/api/v1/keys", b"[" * 100_000, 400),
        ("GET", "/api/v1/keys?limit=0", None, 400),
        ("GET", "/api/v1/keys?limit=1001", None, 400),
        ("GET", "/api/v1/keys?after=%00", None, 400),
        ("GET", "/api/v1/keys?org=%2A", None, 400),
        ("GET", "/api/v1/scopes?level=key", None, 400),
        ("GET", "/api/v1/scopes", None, 400),
        ("GET", "/api/v1/usage?prefix=-2", None, 400),
        ("PATCH", "/api/v1/people/nobody", {}, 404),
    ],
)
def test_every_refusal_has_the_houses_form_and_an_id(
    tmp_path: Path, method: str, path: str, body: object, status: int
) -> None:
    async def case(it: Office) -> None:
        told = await it.ask(method, path, body, by=await it.as_("admin"))
        assert (told.status, len(told.headers["x-request-id"])) == (status, 1)
        assert {"message", "type", "param", "code"} <= set(told.error)

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/v1/keys", "GET, POST"),
        ("/api/v1/keys/key_x", "DELETE, GET, PATCH"),
        ("/api/v1/sessions/oidc", "GET, POST"),
        ("/api/v1/status", "GET"),
    ],
)
def test_a_method_that_is_not_served_is_told_those_that_are(tmp_path: Path, path: str, allow: str) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("OPTIONS", path, by=await it.as_("admin"))
        assert (told.status, told.headers["allow"]) == (405, [allow])

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/keys", {"end_users": 1}),
        ("/api/v1/keys", {"end_users": "yes"}),
        ("/api/v1/keys", {"max_input_tokens": "5"}),
        ("/api/v1/keys", {"rate": {"requests_per_minute": True}}),
        ("/api/v1/keys", {"caps": [{"window": "day", "limit_nanos": 1, "hard": 0}]}),
        ("/api/v1/keys", {"caps": [{"window": "day", "limit_nanos": "1"}]}),
    ],
)
def test_neither_text_nor_a_truth_value_is_taken_for_a_number(tmp_path: Path, path: str, body: Any) -> None:
    async def case(it: Office) -> None:
        assert (await it.ask("POST", path, body, by=await it.as_("owner"))).status == 400

    office(tmp_path, case)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\x00", "\x9b2J", "\u2028", "ends\n"])
def test_a_label_is_one_line_without_control_characters(tmp_path: Path, name: str) -> None:
    async def case(it: Office) -> None:
        by = await it.as_("owner")
        assert (await it.ask("POST", "/api/v1/keys", {"name": name}, by=by)).status == 400
        assert (await it.ask("PUT", "/api/v1/scopes", {"level": "org", "name": name}, by=by)).status == 400
        assert (await it.ask("POST", "/api/v1/keys", {"name": "Übung – 日本"}, by=by)).status == 201

    office(tmp_path, case)


def test_all_the_mistakes_of_a_request_are_told_at_once(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        body = {"org": "a/b", "tier": "", "max_input_tokens": -1}
        told = await it.ask("POST", "/api/v1/keys", body, by=await it.as_("owner"))
        assert told.status == 400
        assert all(name in told.error["message"] for name in body)

    office(tmp_path, case)


@pytest.mark.parametrize("body", [
    {"email": "a@b.test", "password": "hunter2" * 200},
    {"email": "a@b.test", "password": ["hunter2"]},
    {"email": "a@b.test", "password": "hunter2", "passwort": "hunter2"},
    {"password": "hunter2hunter2"},
])  # fmt: skip
def test_no_refusal_repeats_a_password(tmp_path: Path, body: dict[str, object]) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("POST", "/api/v1/sessions", body)
        assert told.status == 400
        assert "hunter2" not in told.text

    office(tmp_path, case)


def test_what_nobody_foresaw_is_a_500_that_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Office) -> None:
        async def breaks(*_: object) -> None:
            raise ValueError("postgresql://user:secret@db")

        admin = await it.as_("admin")
        monkeypatch.setattr(it.tenancy, "keys", breaks)
        replies: Any = Replies()
        asked = request("GET", "/api/v1/keys", authorization=f"Bearer {admin.token}")
        with pytest.raises(ValueError, match="secret"):
            await it.edge.handle(asked, replies)
        assert replies.status == 500
        assert b"secret" not in replies.body
        assert msgspec.json.decode(replies.body)["error"]["code"] == "internal_error"

    office(tmp_path, case)


def test_a_search_for_rows_in_reach_is_bounded_and_says_so() -> None:
    readings: list[int] = []

    async def read(after: str, most: int) -> list[str]:
        readings.append(most)
        begin = int(after or 0)
        return [f"{number:09d}" for number in range(begin + 1, begin + 1 + most)]

    async def case() -> None:
        with pytest.raises(Overloaded) as told:
            await page(read, lambda _: False, str, "", 2)
        assert told.value.remedy
        assert readings == [2, *[SEARCHED_ROWS] * (SEARCHED_PAGES - 1)]
        seen = await page(read, lambda row: row.endswith("000"), str, "", 2)
        assert seen == ["000001000", "000002000"]

    run(case())
