"""The settings: every one with where to change it, nothing secret, and how the platform is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html import unescape

import msgspec
import pytest

from penstock.console.pages.settings import in_words, row, said, sections, variable
from penstock.gateway.management.settings import rows_of
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import LISTS, Settings
from penstock.sdk.replies import Status
from penstock.sdk.requests import SettingRow
from penstock.sdk.requests import Settings as SettingsSeen
from penstock.wiring.settings import load
from tests.unit.console.place import Place, place
from tests.unit.console.support import OWNER, Browser, Platform
from tests.unit.console.test_pages import EVIL, Elements

STATUS = Status(
    version="1.2.3",
    uptime_s=7_200,
    draining=False,
    dependencies={"ledger": True, "traces": False},
    in_flight=3,
    connections=4,
    providers={"openai": 12},
    breakers={"openai/gpt-4o": "closed", "sim/slow": "open", "sim/try": "half_open"},
    models=12,
    unpriced={"sim/free-lunch": "no price is known; add one to [[prices]]"},
    audit_waiting=0,
    audit_dropped=7,
)
PORT = SettingRow(
    key="server.port",
    section="server",
    value=8800,
    default=8700,
    changed=True,
    description="TCP port; `0` picks one.",
)
BODY = SettingRow(
    key="server.body_bytes",
    section="server",
    value=8_388_608,
    default=8_388_608,
    unit="bytes",
    description="Largest body.",
)
KEY = SettingRow(key="providers[0].key", section="providers", value="***", default="", changed=True)


def page(
    *rows: SettingRow, path: str = "/settings", file: str = "", status: Status = STATUS, **me: object
) -> str:
    platform = Platform(
        **{
            "GET /settings": SettingsSeen(file=file, rows=rows),
            "GET /status": status,
            "GET /me": msgspec.structs.replace(OWNER, **me),
        }
    )
    reply = Browser(platform).get(path)
    assert reply.status == 200
    return reply.text


def words(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


# --- the settings -----------------------------------------------------------------------------------------------------


def test_a_setting_shows_its_value_its_default_its_meaning_its_unit_and_where_to_change_it():
    text = words(page(PORT, BODY, file="/etc/penstock.toml"))
    assert "/etc/penstock.toml" in text
    assert "[server] 2 settings, 1 changed" in text
    assert "port changed TCP port; 0 picks one. PENSTOCK_SERVER_PORT 8800 8700" in text
    assert "PENSTOCK_SERVER_BODY_BYTES 8388608 bytes, 8 MiB 8388608" in text


def test_without_a_file_the_page_says_so():
    assert "No file was read" in words(page(PORT))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["port", "body_bytes", "key"]),
        ("?q=server", ["port", "body_bytes"]),
        ("?q=LARGEST+body", ["body_bytes"]),
        ("?q=penstock_server_port", ["port"]),
        ("?show=changed", ["port", "key"]),
        ("?show=changed&q=tcp", ["port"]),
        ("?q=port+largest", []),
    ],
)
def test_every_word_of_a_search_must_be_somewhere_in_a_setting(query, found):
    html = page(PORT, BODY, KEY, path=f"/settings{query}")
    assert re.findall(r'<code class="strong">([^<]+)</code>', html) == found
    assert ("No setting fits" in html) is (not found)


def mistake_of(environment: dict[str, str]) -> str:
    """Return what the platform says is wrong with an environment, "" for nothing."""
    try:
        load(None, environment)
    except Invalid as told:
        return told.message
    return ""


def test_every_variable_that_is_named_is_one_that_the_platform_reads():
    known = [each.key for each in rows_of(Settings()) if "[" not in each.key]
    assert len(known) > 40
    for key in known:
        name = variable(key)
        if not name:
            assert key in LISTS
            continue
        assert "no such setting" not in mistake_of({name: "certainly-not-a-value"}), name
    assert "no such setting" in mistake_of({"PENSTOCK_SERVER_NOTHING": "x"})


def test_a_list_of_tables_is_set_whole_or_in_the_file_only():
    assert variable("auth.issuers[0].audience") == "PENSTOCK_AUTH_ISSUERS"
    assert variable("providers[1].base_url") == ""
    assert row(KEY).variable == ""
    assert "in the file only" in page(KEY)


def test_members_of_tables_within_tables_are_named_from_their_section():
    made = row(SettingRow(key="auth.oidc.client_id", section="auth"))
    assert made.name == "oidc.client_id"
    assert [section.name for section in sections([made, row(SettingRow(key="discover")), row(KEY)])] == [
        "auth",
        "penstock",
        "providers[0]",
    ]


def test_a_section_is_headed_as_in_the_file():
    rows = (row(KEY), row(PORT), row(SettingRow(key="discover")), row(SettingRow(key="routes[11].model")))
    headings = [section.heading for section in sections(rows)]
    assert headings == ["[[providers]] 1", "[server]", "top of the file", "[[routes]] 12"]


@pytest.mark.parametrize(
    "value",
    [True, 8700, 0.5, -1],
)
def test_a_value_is_written_as_the_file_would_hold_it(value):
    assert tomllib.loads(f"value = {said(value)}")["value"] == value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1023, "bytes", ""),
        (1024, "bytes", "1 KiB"),
        (8_388_608, "bytes", "8 MiB"),
        (1_572_864, "bytes", "1.5 MiB"),
        (2**50, "bytes", "1,024 TiB"),
        (119, "seconds", ""),
        (28_800, "seconds", "8 h"),
        (2_000_000_000, "nano-dollars", "$2.00"),
        (0, "nano-dollars", ""),
        (True, "seconds", ""),
        ("many", "bytes", ""),
    ],
)
def test_a_large_figure_is_said_in_words_too(value, unit, text):
    assert in_words(value, unit) == text


def test_what_is_hostile_is_text_everywhere():
    evil = SettingRow(
        key=EVIL, section=EVIL, value=[EVIL], default=EVIL, description=f"`{EVIL}`", unit=EVIL, changed=True
    )
    status = msgspec.structs.replace(
        STATUS,
        version=EVIL,
        dependencies={EVIL: False},
        providers={EVIL: 1},
        breakers={EVIL: EVIL},
        unpriced={EVIL: EVIL},
    )
    for tag, given in Elements(page(evil, file=EVIL, status=status)).found:
        assert tag != "img" or str(given["src"]).startswith("/console/static/")
        assert not [name for name in given if name.startswith("on") or name == "style"]


# --- the health -------------------------------------------------------------------------------------------------------


def test_the_health_says_what_is_down_first_and_why_a_model_is_not_served():
    text = words(page(PORT))
    assert "Penstock 1.2.3, up for 2 h" in text
    assert "Depends on traces: down ledger" in text
    assert "openai: 12 models" in text
    assert "sim/slow: open sim/try: half open openai/gpt-4o: closed" in text
    assert "1 model is not served sim/free-lunch no price is known; add one to [[prices]]" in text
    assert "Audit dropped 7" in text


def test_whoever_may_not_read_the_status_sees_the_settings_without_it():
    html = page(PORT, may=("read settings",))
    assert "Health" not in html
    assert "PENSTOCK_SERVER_PORT" in html


# --- on a whole platform ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def it(tmp_path_factory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


def test_every_setting_there_is_stands_on_the_page(it):
    html = it.person("admin").get("/settings").text
    every = list(rows_of(it.platform.settings))
    assert len(re.findall(r'<code class="strong">', html)) == len(every)
    assert "PENSTOCK_AUTH_OIDC_CLIENT_SECRET" in html
    assert "ledger" in words(html).partition("Breakers")[0]


@pytest.mark.parametrize(
    ("role", "status"),
    [("owner", 200), ("admin", 200), ("team-admin", 403), ("auditor", 403), ("developer", 403)],
)
def test_only_those_who_run_it_open_it(it, role, status):
    reply = it.person(role).get("/settings")
    assert reply.status == status
    assert ("Your role may not read settings." in reply.text) is (status == 403)
