"""What is unsafe does not start: each reason is caught alone, all are told together, and none shows a secret."""

from __future__ import annotations

import apsw
import msgspec
import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import (
    AdmissionSettings,
    LedgerSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from penstock.wiring import safety
from penstock.wiring.owner import mint

EVERYWHERE = ".".join("0000")
FLEET = Settings(
    ledger=LedgerSettings(url="postgresql://db/x"),
    store=StoreSettings(records_url="postgresql://db/x", state_url="redis://r/0"),
)


def serving(**fields: object) -> Settings:
    return Settings(server=ServerSettings(**fields))


def reasons(settings: Settings, *, workers: int = 1, admin_key: str = "") -> list[str]:
    """Return every reason not to start."""
    try:
        safety.check(settings, workers=workers, admin_key=admin_key)
    except Invalid as refusal:
        return [reason for reason in refusal.message.split("\n  - ")[1:] if refusal.reason == "unsafe_start"]
    return []


def test_the_defaults_are_safe():
    assert reasons(Settings()) == []


@pytest.mark.parametrize(
    ("host", "open_"),
    [
        ("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("localhost", False),
        (EVERYWHERE, True), ("::", True), ("192.168.1.4", True), ("example.org", True), ("localhost.example.org", True),
    ],
)  # fmt: skip
def test_an_open_bind_needs_the_names_it_answers_to(host, open_):
    found = reasons(serving(host=host))
    assert bool(found) is open_
    assert all("server.allowed_hosts" in reason for reason in found)
    assert reasons(serving(host=host, allowed_hosts=("gate.example.org",))) == []


@pytest.mark.parametrize(
    ("cert", "key", "sound"), [("", "", True), ("c", "k", True), ("c", "", False), ("", "k", False)]
)
def test_tls_is_whole_or_not_at_all(cert, key, sound):
    assert (reasons(serving(tls_cert=cert, tls_key=key)) == []) is sound


@pytest.mark.parametrize(
    "weak",
    [
        "admin", "changeme", "sk-1234", "pen-", "pen-short", "pen-aaaaaaaaaaaa-" + "a" * 43,
        "pen-aaaaaaaaaaaa-" + "abcdefghijklmno" * 3, "pen-aaaaaaaaaaaax" + "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
        mint()[:48],
    ],
)  # fmt: skip
def test_a_weak_or_known_admin_key_is_refused_and_not_shown(weak):
    found = reasons(Settings(), admin_key=weak)
    assert len(found) == 1
    assert "admin key" in found[0]
    assert weak in ("admin", "pen-") or weak not in found[0]


def test_a_minted_admin_key_is_strong_enough():
    assert all(reasons(Settings(), admin_key=mint()) == [] for _ in range(100))


@pytest.mark.parametrize(("workers", "sound"), [(1, True), (2, False)])
def test_processes_do_not_share_embedded_stores(workers, sound):
    assert (reasons(Settings(), workers=workers) == []) is sound
    assert reasons(FLEET, workers=workers) == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ledger.url", msgspec.structs.replace(FLEET, ledger=LedgerSettings())),
        ("store.records_url", msgspec.structs.replace(FLEET, store=StoreSettings(state_url="redis://r/0"))),
        (
            "store.state_url",
            msgspec.structs.replace(FLEET, store=StoreSettings(records_url="postgresql://db/x")),
        ),
    ],
)
def test_one_embedded_store_is_enough_to_refuse_a_fleet_and_is_named(name, settings):
    found = reasons(settings, workers=2)
    assert len(found) == 1
    assert name in found[0]


@pytest.mark.parametrize(
    ("version", "sound"), [("3.51.2", False), ("3.51.3", True), ("3.50.9", False), ("4.0.0", True)]
)
def test_an_engine_with_the_wal_reset_bug_is_refused(monkeypatch, version, sound):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    assert (reasons(Settings()) == []) is sound


def test_every_reason_is_told_at_once(monkeypatch):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.45.0")
    assert len(reasons(serving(host=EVERYWHERE, tls_cert="c"), workers=4, admin_key="admin")) == 5


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@[::1/x", "postgresql://u:pa/ss@db/x", "db.example.org", "redis://h:none"]
)
def test_an_address_that_is_none_is_named_without_its_password(url):
    found = reasons(Settings(store=StoreSettings(records_url=url)))
    assert len(found) == 1
    assert "store.records_url" in found[0]
    assert "pa/ss" not in found[0]


@pytest.mark.parametrize(
    ("deadline_s", "hold_s", "safe"),
    [
        (600, 900, True),
        (899.9, 900, True),
        (900, 900, False),
        (900, 3600, False),
        (60, 60, False),
        (59, 60, True),
    ],
)
def test_a_request_may_not_outlive_its_hold_or_its_slots(deadline_s: float, hold_s: int, safe: bool):
    settings = Settings(
        admission=AdmissionSettings(deadline_s=deadline_s), ledger=LedgerSettings(hold_timeout_s=hold_s)
    )
    assert [("outlive" in reason) for reason in reasons(settings)] == ([] if safe else [True])
