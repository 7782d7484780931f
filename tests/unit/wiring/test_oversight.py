"""Oversight as wired: the settings decide, mistakes are told at the start, budgets are read by their lasting names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.gateway.privacy import PrivacyCare
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import AlertSettings, LakeSettings, LedgerSettings, Settings
from penstock.mechanisms.alerts.rules import DEFAULTS, breaks
from penstock.mechanisms.headroom import Fill
from penstock.mechanisms.redaction.policy import SKIP_LEAST, Tally
from penstock.mechanisms.redaction.redactor import Redactor
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.wiring.alerts import rules_of, sources_of
from penstock.wiring.health import Health
from penstock.wiring.lake import open_lake
from tests.support import run

NOTHING: Any = None


def test_a_rule_is_as_the_settings_want_it_and_the_others_are_built_in() -> None:
    chosen = [AlertSettings(rule="user-over", limit=5.0), AlertSettings(rule="pii-skips", off=True)]
    rules = {rule.id: rule for rule in rules_of(chosen)}
    assert rules["user-over"].limit == 5.0
    assert rules["user-over"].floor == next(rule.floor for rule in DEFAULTS if rule.id == "user-over")
    assert set(rules) == {rule.id for rule in DEFAULTS} - {"pii-skips"}


def test_every_built_in_rule_can_be_named_in_the_settings() -> None:
    for rule in DEFAULTS:
        assert len(rules_of([AlertSettings(rule=cast("Any", rule.id), off=True)])) == len(DEFAULTS) - 1


def test_a_budget_has_one_name_on_all_its_days_and_tells_of_its_organisation() -> None:
    def read(account: str) -> set[tuple[str, str, float]]:
        fills = (Fill(account, 90, 0, 100),)
        sources = sources_of(Health(), cast("Any", SimpleNamespace(fills=fills)), ())
        found = [reading for source in sources for reading in source.read()]
        assert {reading.rule for reading in found} == {"budget-50", "budget-80", "budget-100"}
        return {(reading.org, reading.subject, reading.value) for reading in found}

    path = "org:acme/user:a@b.example"
    assert read(f"{path}@2026-11-21") == read(f"{path}@2026-11-22") == {("acme", f"{path} of the day", 90)}
    assert read(f"{path}@2026-11") == {("acme", f"{path} of the month", 90)}
    assert read(f"{path}@total") == {("acme", f"{path} of the whole", 90)}


def test_what_stands_of_a_budget_is_not_ended_by_silence_about_it() -> None:
    _, budgets = sources_of(Health(), cast("Any", SimpleNamespace(fills=())), ())
    assert budgets.rules == ()


def test_a_dependency_is_told_of_whether_it_works_or_not() -> None:
    async def case() -> None:
        async def no() -> bool:
            return False

        health = Health()
        health.watch("records", no)
        (source, *_) = sources_of(health, cast("Any", SimpleNamespace(fills=())), ())
        assert [(each.subject, each.value) for each in source.read()] == [("records", 0.0)]
        await health.tick()
        assert [(each.subject, each.value) for each in source.read()] == [("records", 1.0)]

    run(case())


@pytest.mark.parametrize(
    ("skipped", "limit", "fires"),
    [
        (10, -1.0, False),
        (11, -1.0, True),
        (2, 0.001, True),
        (1, 0.001, False),
        (40, 0.05, False),
        (51, 0.05, True),
    ],
)
def test_skipped_scans_alert_above_the_share_the_settings_say(
    skipped: int, limit: float, fires: bool
) -> None:
    tally = Tally(ManualClock())
    for number in range(1_000):
        tally.scanned(skipped=number < skipped)
    redactor = Redactor(Scanner(), ManualClock(), tally, lambda _id, _counts: None)
    care = PrivacyCare(redactor, Scanner(), {})
    *_, scans = sources_of(Health(), cast("Any", SimpleNamespace(fills=())), (care,))
    [reading] = scans.read()
    rules = {rule.id: rule for rule in rules_of([AlertSettings(rule="pii-skips", limit=limit)])}
    assert breaks(rules["pii-skips"], reading.value) is fires


def test_a_few_skipped_scans_are_no_share() -> None:
    tally = Tally(ManualClock())
    for _ in range(SKIP_LEAST - 1):
        tally.scanned(skipped=True)
    assert (tally.skip_rate(), tally.measured_rate()) == (1.0, 0.0)
    tally.scanned(skipped=True)
    assert tally.measured_rate() == 1.0


def test_a_lake_is_refused_where_several_processes_would_share_its_files() -> None:
    settings = Settings(lake=LakeSettings(store=True), ledger=LedgerSettings(url="postgresql://x"))
    with pytest.raises(Invalid, match="one process"):
        run(open_lake(settings, NOTHING, NOTHING, NOTHING, NOTHING))
    assert run(open_lake(Settings(), NOTHING, NOTHING, NOTHING, NOTHING)) is None
