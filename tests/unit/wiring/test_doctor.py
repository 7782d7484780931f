"""The doctor: finds nothing wrong with a sound deployment, every fault of a sick one, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import apsw
import asyncpg
import msgspec
import pytest

from penstock.contracts.case import CUT_OFF, SET_CLOCK, BrokenPromise, NotTried
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import NotFound, Unavailable
from penstock.kernel.settings import (
    LakeSettings,
    LedgerSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TraceSettings,
    WebhookSettings,
)
from penstock.kernel.settings_cache import CacheSettings
from penstock.ports.ledger import Hold, Line, Posting
from penstock.wiring import adapters, doctor
from penstock.wiring.books import verify_offline
from penstock.wiring.doctor import Cases, Finding, examine
from penstock.wiring.harness import Suite, suites
from tests.support import run


def found(settings: Settings) -> dict[str, Finding]:
    async def looking():
        return [finding async for finding in examine(settings, {})]

    return {finding.what: finding for finding in run(looking(), ceiling_s=60.0)}


def on(folder, **fields: object) -> Settings:
    return Settings(store=StoreSettings(data=str(folder)), discover=False, **fields)


LEDGER = [(CUT_OFF, 1), (SET_CLOCK, 1), ("change the journal behind its back", 4)]
"""What the doctor does not do to a ledger, and how many of its cases need it."""


def not_tried(finding: Finding) -> list[tuple[str, int]]:
    return [(harm, len(names)) for harm, names in finding.cases.could_not.items()]


async def spent(settings: Settings) -> None:
    """Leave one settled request in the ledger."""
    ledger = await adapters.ledger(settings, SystemClock(), "test")
    await ledger.hold(Hold("op-1", 5, (Line("org:a@total"),)))
    await ledger.post(Posting("op-1", 5))
    await ledger.close()


def test_a_sound_deployment_is_well_and_every_store_was_put_to_its_contract(tmp_path):
    settings = on(tmp_path, cache=CacheSettings(url="memory:"))
    run(spent(settings))
    before = {path.name for path in tmp_path.iterdir()}
    findings = found(settings)
    assert [f for f in findings.values() if not f.well] == []
    ports = {what.split(" on ")[0] for what in findings if " on " in what}
    stores = {"ledger", "records", "state", "signals", "stream", "traces", "blobs", "cache"}
    assert ports == stores
    assert {what: not_tried(f) for what, f in findings.items() if f.cases} == {
        "ledger on SQLite": LEDGER,
        "records on SQLite": [(CUT_OFF, 1)],
        "state on this process": [(CUT_OFF, 1), (SET_CLOCK, 1)],
        "signals on this process": [("lose signals on their way", 1), (CUT_OFF, 1)],
        "stream on segment files": [("tear the tail of the log", 2), ("fill the disk", 1)],
        "traces on SQLite": [(CUT_OFF, 1)],
        "blobs on files": [
            ("count the files of blobs", 1),
            ("crash in mid-write", 1),
            ("fill the disk", 1),
            ("read the clock that blobs are stamped with", 1),
            ("flip a byte of a blob", 1),
        ],
        "cache on this process": [
            ("know what the cache is bound to", 2),
            ("know what an entry is bound to", 1),
            ("restart the cache, its file damaged", 2),
        ],
    }
    for suite in suites(settings, tmp_path):
        cases = findings[f"{suite.port} on {suite.engine}"].cases
        assert cases.kept == len(suite.cases) - cases.not_tried > 0
    # SQLite leaves its two side files behind a reader; they hold nothing.
    assert {path.name for path in tmp_path.iterdir()} - before <= {"ledger.sqlite-shm", "ledger.sqlite-wal"}


def test_a_lake_has_its_engine_put_to_the_contract(tmp_path):
    (suite,) = (
        each
        for each in suites(on(tmp_path, lake=LakeSettings(store=True)), tmp_path)
        if each.port == "tables"
    )
    finding = run(doctor._kept(replace(suite, cases=suite.cases[:2])))
    assert (finding.what, finding.well, finding.cases.kept) == ("tables on DuckDB", True, 2)


def test_it_runs_beside_a_server_that_holds_the_ledger(tmp_path):
    settings = on(tmp_path)

    async def beside():
        ledger = await adapters.ledger(settings, SystemClock(), "test")
        try:
            return [finding async for finding in examine(settings, {})]
        finally:
            await ledger.close()

    assert [f for f in run(beside(), ceiling_s=60.0) if not f.well] == []


@pytest.fixture
def quick(monkeypatch):
    """Leave the contracts out."""
    monkeypatch.setattr(doctor, "suites", lambda *_: [])


@pytest.mark.usefixtures("quick")
def test_each_fault_is_found_and_hides_none_of_the_others(tmp_path, monkeypatch):
    settings = on(
        tmp_path,
        server=ServerSettings(tls_cert="c"),
        providers=(
            ProviderSettings(name="far", kind="openai", base_url="http://127.0.0.1:9/v1", connect_s=1.0),
        ),
    )
    run(spent(settings))
    connection = apsw.Connection(str(tmp_path / "ledger.sqlite"))
    connection.execute("DROP TRIGGER journal_is_not_updated; UPDATE journal SET digest = x'00' WHERE seq = 1")
    connection.close()
    tmp_path.chmod(0o755)
    monkeypatch.setattr(doctor, "DISK_LEAST_BYTES", 2**62)
    findings = found(settings)
    sick = [what for what, finding in findings.items() if not finding.well]
    assert sick == ["safety", "disk", "data folder", "ledger", "provider far"]
    assert "chmod 700" in findings["data folder"].told


@pytest.mark.usefixtures("quick")
def test_a_clock_before_the_price_table_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(SystemClock, "wall_s", staticmethod(lambda: 0.0))
    assert not found(on(tmp_path))["clock"].well


def suite_of(*cases) -> Suite:
    class Nothing:
        async def __aenter__(self):
            return None

        async def __aexit__(self, *_):
            return None

    return Suite("state", "paper", [(case.__name__, (1,), case) for case in cases], Nothing)


async def kept(_harness) -> None:
    """Keep a promise."""


async def broken(_harness) -> None:
    raise BrokenPromise("two owners (seen=2)")


async def needs_harm(_harness) -> None:
    raise NotTried("fill the disk")


async def needs_other_harm(_harness) -> None:
    raise NotTried("flip a byte")


async def unreachable(_harness) -> None:
    raise Unavailable("The store is down.")


async def hangs(_harness) -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("cases", "well", "told"),
    [
        ((kept,), True, "1 kept, 0 broken, 0 not tried"),
        ((kept, needs_harm), True, "1 kept, 0 broken, 1 not tried. Could not fill the disk (1)"),
        ((needs_harm,), True, "0 kept, 0 broken, 1 not tried. Could not fill the disk (1)"),
        (
            (needs_harm, needs_other_harm, needs_harm),
            True,
            "0 kept, 0 broken, 3 not tried. Could not fill the disk (2), flip a byte (1)",
        ),
        ((broken, kept), False, "1 kept, 1 broken, 0 not tried. Broken: broken: two owners (seen=2)"),
        ((broken,) * 5, False, "; and 2 more"),
        ((broken, needs_harm), False, "(seen=2). Could not fill the disk (1)"),
        (
            (kept, unreachable, broken, kept),
            False,
            "1 kept, 1 broken, 2 not tried. Broken: unreachable: The store is down. Could not reach the store (2)",
        ),
        (
            (kept, unreachable),
            False,
            "1 kept, 1 broken, 0 not tried. Broken: unreachable: The store is down",
        ),
        ((hangs, kept), False, "hangs: TimeoutError"),
    ],
)
def test_a_contract_is_judged_case_by_case(monkeypatch, cases, well, told):
    monkeypatch.setattr(doctor, "LOOK_S", 0.05)
    finding = run(doctor._kept(suite_of(*cases)))
    assert (finding.well, told in finding.told) == (well, True), finding


def test_what_was_not_tried_is_counted_apart_and_named_by_what_was_needed():
    cases = run(doctor._kept(suite_of(kept, needs_harm, broken, needs_other_harm, needs_harm))).cases
    needed = {"fill the disk": ["needs_harm", "needs_harm"], "flip a byte": ["needs_other_harm"]}
    assert cases == Cases(kept=1, broken=1, not_tried=3, could_not=needed)


def test_the_contracts_are_run_on_the_engines_that_the_settings_name(tmp_path):
    fleet = Settings(
        ledger=LedgerSettings(url="postgresql://h/d"),
        store=StoreSettings(records_url="postgresql://h/d", state_url="redis://h/0"),
    )
    engines = {suite.port: suite.engine for suite in suites(fleet, tmp_path)}
    shared = {
        "ledger": "PostgreSQL",
        "records": "PostgreSQL",
        "state": "Redis",
        "signals": "Redis",
        "traces": "PostgreSQL",
    }
    assert engines == shared | {"stream": "segment files", "blobs": "files"}
    cached = msgspec.structs.replace(
        fleet, cache=CacheSettings(url="redis://h/1"), lake=LakeSettings(store=True)
    )
    more = {suite.port: suite.engine for suite in suites(cached, tmp_path)}
    assert (more["cache"], more["tables"]) == ("Redis", "DuckDB")
    apart = msgspec.structs.replace(fleet, traces=TraceSettings(url="sqlite:"))
    assert {suite.engine for suite in suites(apart, tmp_path) if suite.port == "traces"} == {"SQLite"}
    off = msgspec.structs.replace(fleet, traces=TraceSettings(store=False))
    assert "traces" not in {suite.port for suite in suites(off, tmp_path)}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("url", "secret", "well", "told"),
    [
        ("http://127.0.0.1:9/x", "", True, "127.0.0.1 is known; messages are not signed"),
        ("http://127.0.0.1:9/x", "good", True, "messages are signed"),
        ("http://127.0.0.1:9/x", "bad", False, "not base64"),
        ("http://127.0.0.1:9/x", "absent", False, "absent"),
        ("http://example.org/x", "", False, "https only"),
        ("https://nowhere.invalid/x", "", False, "nowhere.invalid"),
    ],
)
def test_a_webhook_is_looked_at_and_nothing_is_posted(tmp_path, url, secret, well, told):
    (tmp_path / "secrets").mkdir(mode=0o700)
    for name, value in (("good", "whsec_aGVyb24="), ("bad", "whsec_a")):
        (tmp_path / "secrets" / name).write_text(value)
        (tmp_path / "secrets" / name).chmod(0o600)
    target = WebhookSettings(name="ops", url=url, secret=secret)
    finding = found(on(tmp_path, webhooks=(target,)))["webhook ops"]
    assert (finding.well, told in finding.told) == (well, True), finding


@pytest.mark.redis
def test_a_real_redis_of_answers_keeps_its_contract(tmp_path, fresh_redis):
    settings = Settings(cache=CacheSettings(url=fresh_redis()))
    (suite,) = (each for each in suites(settings, tmp_path) if each.port == "cache")
    finding = run(doctor._kept(suite), ceiling_s=60.0)
    assert finding.well, finding.told
    assert finding.cases.kept == len(suite.cases) - finding.cases.not_tried > 0


@pytest.mark.redis
@pytest.mark.parametrize(
    ("port", "needed"),
    [
        ("state", [(CUT_OFF, 1), (SET_CLOCK, 1)]),
        ("signals", [("lose signals on their way", 1), (CUT_OFF, 1)]),
    ],
)
def test_a_real_redis_keeps_its_contracts_and_is_left_as_it_was(tmp_path, fresh_redis, port, needed):
    settings = Settings(store=StoreSettings(state_url=fresh_redis()))
    (suite,) = (each for each in suites(settings, tmp_path) if each.port == port)
    finding = run(doctor._kept(suite), ceiling_s=60.0)
    assert finding.well, finding.told
    assert not_tried(finding) == needed


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("port", "needed"), [("ledger", LEDGER), ("records", [(CUT_OFF, 1)]), ("traces", [(CUT_OFF, 1)])]
)
def test_a_real_postgresql_keeps_its_contracts_and_is_left_as_it_was(tmp_path, fresh_postgres, port, needed):
    dsn = fresh_postgres()
    settings = Settings(ledger=LedgerSettings(url=dsn), store=StoreSettings(records_url=dsn))
    (suite,) = (each for each in suites(settings, tmp_path) if each.port == port)
    finding = run(doctor._kept(suite), ceiling_s=120.0)
    assert finding.well, finding.told
    assert not_tried(finding) == needed

    async def left():
        connection = await asyncpg.connect(dsn)
        found = await connection.fetch(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname LIKE 'doctor%' OR (n.nspname = 'public' AND c.relkind = 'r')"
        )
        await connection.close()
        return found

    assert run(left()) == []


@pytest.mark.postgres
def test_the_books_in_postgresql_are_verified_without_joining_in(fresh_postgres):
    settings = Settings(ledger=LedgerSettings(url=fresh_postgres()))
    with pytest.raises(NotFound, match="no ledger"):
        run(verify_offline(settings))
    run(spent(settings))
    verdict = run(verify_offline(settings))
    assert (verdict.operations, verdict.problems) == (1, ())
    assert list(verdict.heads) == ["test"]
