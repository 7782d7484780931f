"""The book: one alert of each kind reaches a webhook, once, whatever dies, restarts, repeats or runs twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.mechanisms import webhooks
from penstock.mechanisms.alerts import book
from penstock.mechanisms.alerts.book import PAST_S, TOTALS_EVERY_S, Alerts, Source
from penstock.mechanisms.alerts.rules import DEFAULTS, Alert, Reading, Rule
from penstock.mechanisms.webhooks import Target, Webhooks
from penstock.ports.traces import DAY_S, Total, TraceFilter
from tests.support import run
from tests.unit.mechanisms.alerts.test_rules import total

TODAY_S = 20_000 * DAY_S
TOLD = Rule(id="told", kind="told", limit=1)


class Hooks:
    """Takes every post."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict]] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        message = msgspec.json.decode(body)
        self.posted.append((message["type"], message["data"]))
        return 200

    def told(self) -> list[tuple[str, str, str]]:
        return [(type, data["rule"], data["subject"]) for type, data in self.posted]


class Traces:
    """Totals by what is asked for."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], list[Total]] = {}
        self.asked: list[tuple[TraceFilter, tuple[str, ...]]] = []

    async def totals(self, wanted: TraceFilter, by: Sequence[str]) -> list[Total]:
        self.asked.append((wanted, tuple(by)))
        return self.rows.get(tuple(by), [])


class Stage:
    def __init__(self, records: SqliteRecords, clock: ManualClock) -> None:
        self.records, self.clock = records, clock
        self.hooks, self.traces = Hooks(), Traces()
        self.now: list[Reading] = []

    def alerts(
        self, rules: Iterable[Rule] = (TOLD,), sources: Sequence[Source] = (), records: object = None
    ) -> Alerts:
        hooks = self.webhooks(records)
        return Alerts(
            records or self.records,
            hooks,
            self.clock,
            traces=self.traces,
            rules=tuple(rules),
            sources=sources,
        )

    def webhooks(self, records: object = None) -> Webhooks:
        target = Target(name="ops", url="https://ops.test/hook")
        return Webhooks([target], records or self.records, None, self.hooks, self.clock)

    async def posted(self) -> list[tuple[str, str, str]]:
        await self.webhooks().step()
        return self.hooks.told()


def staged(folder: Path, case: Callable[[Stage], Awaitable[None]]) -> None:
    async def opened() -> None:
        clock = ManualClock(wall_s=TODAY_S + 36_000.0)
        collections = (*book.COLLECTIONS, *webhooks.COLLECTIONS)
        records = await SqliteRecords.open(folder / "records.sqlite", collections, clock)
        try:
            await case(Stage(records, clock))
        finally:
            await records.close()

    run(opened())


def told(value: float, subject: str = "s", rule: str = "told", org: str = "acme") -> Reading:
    return Reading(rule=rule, org=org, subject=subject, value=value)


def test_one_alert_of_each_kind_fires_is_delivered_and_is_visible(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        dollar = 1_000_000_000
        stage.traces.rows = {
            ("org", "day"): [
                total("acme", TODAY_S - n * DAY_S, cost=(3 if n == 0 else 1) * dollar) for n in range(8)
            ],
            ("org", "feature", "day"): [
                total("acme", "chat", TODAY_S - n * DAY_S, cost=(4 if n == 0 else 1) * dollar)
                for n in range(8)
            ],
            ("org", "user"): [total("acme", "ann", cost=101 * dollar), total("acme", "bob", cost=dollar)],
            ("org", "feature"): [total("acme", "chat", tokens=500_001, requests=20)],
        }
        budgets = Source(
            ("budget-50", "budget-80", "budget-100"),
            lambda: [told(83, "org:acme@2026-11", f"budget-{mark}") for mark in (50, 80, 100)],
        )
        down = Source(
            ("dependency-down",),
            lambda: [told(1, "state", "dependency-down", ""), told(0, "x", "dependency-down", "")],
        )
        skips = Source(("pii-skips",), lambda: [told(0.02, "pii", "pii-skips", "")])
        alerts = stage.alerts(DEFAULTS, (budgets, down, skips))
        alerts.tell(told(1, "gpt-canary", "canary-rolled-back"))
        for _ in range(6):
            await alerts.tick()
            stage.clock.advance(1.0)
        wanted = {
            ("alert.firing", "day-above-mean", "acme"),
            ("alert.firing", "feature-spike", "chat"),
            ("alert.firing", "user-over", "ann"),
            ("alert.firing", "tokens-per-request", "chat"),
            ("alert.firing", "budget-50", "org:acme@2026-11"),
            ("alert.firing", "budget-80", "org:acme@2026-11"),
            ("alert.firing", "dependency-down", "state"),
            ("alert.firing", "pii-skips", "pii"),
            ("alert.firing", "canary-rolled-back", "gpt-canary"),
        }
        posted = await stage.posted()
        assert set(posted) == wanted
        assert len(posted) == len(wanted) == alerts.fired
        shown = await alerts.standing()
        assert {(alert.rule, alert.subject) for alert in shown} == {each[1:] for each in wanted}
        assert {alert.rule for alert in await alerts.standing("acme")} == {
            each[1] for each in wanted if each[1] not in {"dependency-down", "pii-skips"}
        }
        stage.traces.rows = {}
        stage.clock.advance(DAY_S)
        await alerts.tick()
        ended = {each[1:] for each in (await stage.posted())[len(wanted) :]}
        assert {rule for rule, _ in ended} >= {"day-above-mean", "user-over", "canary-rolled-back"}
        assert {alert.rule for _, alert in await alerts.past()} == {rule for rule, _ in ended}

    staged(tmp_path, case)


def test_what_happens_again_while_its_alert_stands_is_told_again_once(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for event in ("trial_1", "trial_1", "trial_2", "trial_2"):
            alerts = stage.alerts(DEFAULTS)  # each in a process of its own
            alerts.tell(
                Reading(rule="canary-rolled-back", org="", subject="chat (errors)", value=1.0, event=event)
            )
            await alerts.tick()
            stage.clock.advance(3_600.0)
        assert await stage.posted() == [("alert.firing", "canary-rolled-back", "chat (errors)")] * 2
        assert {data["event"] for _, data in stage.hooks.posted} == {"trial_1", "trial_2"}
        assert {alert.event for alert in await alerts.standing()} == {"trial_1", "trial_2"}
        stage.clock.advance(DAY_S)
        await alerts.tick()
        assert (await alerts.standing(), len(await alerts.past())) == ([], 2)
        assert len(await stage.posted()) == 4

    staged(tmp_path, case)


def test_totals_are_asked_for_once_a_minute_and_of_the_right_days(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        alerts = stage.alerts(DEFAULTS)
        for seconds in (0, TOTALS_EVERY_S - 1, 1):
            stage.clock.advance(seconds)
            await alerts.tick()
        assert len(stage.traces.asked) == 8
        since = {by: wanted.since_s for wanted, by in stage.traces.asked}
        assert since[("org", "day")] == since[("org", "feature", "day")] == TODAY_S - 7 * DAY_S
        assert since[("org", "user")] == since[("org", "feature")] == TODAY_S

    staged(tmp_path, case)


def test_a_restart_neither_loses_nor_doubles_an_alert(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for value in (2, 2, 2, 0.5, 0.5):
            alerts = stage.alerts()
            alerts.tell(told(value))
            await alerts.tick()
        assert await stage.posted() == [("alert.firing", "told", "s"), ("alert.resolved", "told", "s")]
        assert await alerts.standing() == []

    staged(tmp_path, case)


@pytest.mark.parametrize("at", range(1, 4))
def test_a_write_that_fails_is_made_again_and_told_once(tmp_path: Path, at: int) -> None:
    """The row and its message are one transaction: it fails before, or its answer is lost after."""

    async def case(stage: Stage) -> None:
        class Failing:
            count = 0

            def __getattr__(self, name: str) -> object:
                return getattr(stage.records, name)

            async def transact(self, writes: object) -> object:
                self.count += 1
                if self.count == at == 1:
                    raise Unavailable
                made = await stage.records.transact(writes)
                if self.count == at:
                    raise Unavailable
                return made

        alerts = stage.alerts(records=Failing())
        for value in (2, 2, 2, 0, 0, 0):
            alerts.tell(told(value))
            try:
                await alerts.tick()
            except Unavailable:
                alerts._standing = None  # as the loop does
        assert await stage.posted() == [("alert.firing", "told", "s"), ("alert.resolved", "told", "s")]

    staged(tmp_path, case)


def test_what_happened_once_is_told_even_if_the_store_was_away_at_the_time(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        class Away:
            times = 2

            def __getattr__(self, name: str) -> object:
                return getattr(stage.records, name)

            async def transact(self, writes: object) -> object:
                self.times -= 1
                if self.times >= 0:
                    raise Unavailable
                return await stage.records.transact(writes)

        alerts = stage.alerts(records=Away())
        alerts.tell(told(2, "first"))
        alerts.tell(told(2, "second"))
        for _ in range(2):
            with pytest.raises(Unavailable):
                await alerts.tick()
            alerts._standing = None  # as the loop does
            alerts.tell(told(3, "first"))
        await alerts.tick()
        assert await stage.posted() == [("alert.firing", "told", "first"), ("alert.firing", "told", "second")]
        assert [alert.value for alert in await alerts.standing() if alert.subject == "first"] == [3]

    staged(tmp_path, case)


def test_what_happened_once_is_told_when_another_process_noted_something_meanwhile(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        rule = Rule(id="told", kind="told", limit=0, lasts_s=100.0)
        one, other = stage.alerts((rule,)), stage.alerts((rule,))
        for alerts in (one, other):
            await alerts.tick()
        other.tell(told(1, "both"))
        await other.tick()
        one.tell(told(1, "both"))
        one.tell(told(1, "mine"))
        await one.tick()  # it does not know yet what the other noted
        await one.tick()
        told_of = [("alert.firing", "told", "both"), ("alert.firing", "told", "mine")]
        assert sorted(await stage.posted()) == told_of

    staged(tmp_path, case)


def test_of_two_processes_one_tells(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        both = (stage.alerts(), stage.alerts())
        for value in (2, 2, 0, 0):
            for alerts in both:
                alerts.tell(told(value))
                await alerts.tick()
        assert await stage.posted() == [("alert.firing", "told", "s"), ("alert.resolved", "told", "s")]

    staged(tmp_path, case)


def test_what_is_told_once_stands_its_time_and_again_when_told_again(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        rule = Rule(id="told", kind="told", limit=0, lasts_s=100.0)
        alerts = stage.alerts((rule,))
        alerts.tell(told(1))
        for seconds in (0, 90, 9):
            stage.clock.advance(seconds)
            await alerts.tick()
            assert len(await alerts.standing()) == 1
        alerts.tell(told(1))
        await alerts.tick()
        stage.clock.advance(99)
        await alerts.tick()
        assert len(await alerts.standing()) == 1
        stage.clock.advance(1)
        await alerts.tick()
        assert await stage.posted() == [("alert.firing", "told", "s"), ("alert.resolved", "told", "s")]

    staged(tmp_path, case)


def test_a_source_that_says_nothing_of_it_any_more_ends_it_and_one_that_fails_does_not(
    tmp_path: Path,
) -> None:
    async def case(stage: Stage) -> None:
        now: list[Reading] = [told(2, "a"), told(2, "b")]
        broken = False

        def read() -> list[Reading]:
            if broken:
                raise RuntimeError
            return now

        alerts = stage.alerts(sources=(Source(("told",), read),))
        await alerts.tick()
        now.pop()
        broken = True
        await alerts.tick()
        assert {alert.subject for alert in await alerts.standing()} == {"a", "b"}
        assert alerts.failures == 1
        broken = False
        await alerts.tick()
        assert {alert.subject for alert in await alerts.standing()} == {"a"}

    staged(tmp_path, case)


def test_a_rule_that_is_no_more_leaves_nothing_standing(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        alerts = stage.alerts()
        alerts.tell(told(2))
        alerts.tell(told(2, rule="unknown"))
        await alerts.tick()
        await stage.alerts(()).tick()
        assert await alerts.standing() == []
        assert len(await stage.posted()) == 2

    staged(tmp_path, case)


def test_alerts_are_bounded_and_the_rest_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(book, "STANDING_MOST", 3)

    async def case(stage: Stage) -> None:
        alerts = stage.alerts()
        for n in range(5):
            alerts.tell(told(2, f"s{n}"))
        await alerts.tick()
        for n in range(5):
            alerts.tell(told(2, f"s{n + 3}"))
        await alerts.tick()
        assert len(await alerts.standing()) == 3
        assert alerts.left_out == 2 + 2 + 3

    staged(tmp_path, case)


def test_the_past_is_by_page_latest_first_and_is_forgotten(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        alerts = stage.alerts()
        for n in range(3):
            for value in (2, 0):
                alerts.tell(told(value, f"s{n}", org="acme" if n else "beta"))
                await alerts.tick()
                stage.clock.advance(1)
        page = await alerts.past(limit=2)
        assert [alert.subject for _, alert in page] == ["s2", "s1"]
        assert [a.subject for _, a in await alerts.past(after=page[-1][0])] == ["s0"]
        assert [a.subject for _, a in await alerts.past("beta")] == ["s0"]
        stage.clock.advance(PAST_S - 4)
        assert await alerts.trim() == 1
        stage.clock.advance(10)
        assert await alerts.trim() == 2
        assert await alerts.past() == []

    staged(tmp_path, case)


def test_the_message_shows_the_alert_as_it_stands(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        alerts = stage.alerts()
        alerts.tell(told(2))
        await alerts.tick()
        await stage.posted()
        (shown,) = await alerts.standing()
        assert msgspec.convert(stage.hooks.posted[0][1], Alert) == shown

    staged(tmp_path, case)
