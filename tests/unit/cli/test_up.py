"""What a start tells: the owner's link while nobody is an owner, and nothing that it should not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from penstock.cli.up import Welcome, for_people, welcome
from penstock.kernel.settings import AuthSettings, ServerSettings, Settings
from penstock.wiring.owner import FirstKeys

LINK = "penl-owner-abcdefgh"
FIRST = FirstKeys(owner_file=Path("var/owner.key"), made=True, caller_token="pen-caller")
LATER = FirstKeys(owner_file=Path("var/owner.key"), made=False, caller_token="")


def told(keys: FirstKeys = FIRST, link: str | None = LINK, *, console: str = "", **server: Any) -> Welcome:
    """Return what a start of a small platform tells."""
    urls = (console,) if console else ()
    platform: Any = SimpleNamespace(
        settings=Settings(server=ServerSettings(**server), auth=AuthSettings(console_urls=urls)),
        port=8701,
        catalogue=SimpleNamespace(
            providers=lambda: {"local": SimpleNamespace(models=("extractive",))},
            current=lambda: SimpleNamespace(unpriced=()),
        ),
    )
    return welcome(platform, keys, link)


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ({}, "http://127.0.0.1:8701"), ({"host": "::1"}, "http://[::1]:8701"),
        ({"tls_cert": "c", "tls_key": "k"}, "https://127.0.0.1:8701"),
        ({"console": "https://penstock.example"}, "https://penstock.example"),
        ({"console": "https://penstock.example/"}, "https://penstock.example"),
    ],
)  # fmt: skip
def test_the_link_leads_to_the_console_where_people_reach_it(where: dict[str, Any], url: str) -> None:
    found = told(**where)
    assert found.owner_link == f"{url}/console/link?token={LINK}"
    assert for_people(found).count(found.owner_link) == 1


def test_while_there_is_an_owner_no_link_is_told() -> None:
    text = for_people(told(link=None))
    assert told(link=None).owner_link == ""
    assert "penl-" not in text
    assert "owner, by this link" not in text
    assert text.replace("\n\n\n", "") == text  # and no hole is left where it would be


def test_the_first_start_shows_the_callers_key_and_a_later_one_does_not() -> None:
    first, later = for_people(told()), for_people(told(LATER))
    assert first.count("pen-caller") == 3
    assert "pen-caller" not in later
    assert "made before" in later
    assert LINK in later


def test_programs_are_told_the_same() -> None:
    found = msgspec.json.decode(msgspec.json.encode(told()))
    assert found["owner_link"].endswith(LINK)
    assert (found["caller_token"], found["providers"]) == ("pen-caller", {"local": 1})
