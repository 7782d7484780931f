"""The book of alerts: what stands, what stood, and that somebody is told of each change, once, across restarts.

    totals, sources, `tell` ──▶ readings ──▶ rules ──▶ the alert's row and the webhooks' rows, in one transaction

Promises: of several processes that read the same thing one writes it, by the version of the row; a restart loses no
alert and tells of none twice; who is told is told of `firing` and `resolved`, never of `pending`. A source that fails
neither stops the others nor resolves what it had reported. What a process finds broken by itself (`Rule.by_node`) is
not ended by another that finds it well, until the first has been silent for `SILENT_S`. What happened once (`tell`) and
cannot be written is written later. At most `STANDING_MOST` alerts stand; more are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, StaleVersion, Unavailable
from penstock.mechanisms.alerts import readings
from penstock.mechanisms.alerts.rules import DEFAULTS, Alert, Reading, Rule, advanced, breaks
from penstock.mechanisms.webhooks import Message, Webhooks
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.traces import DAY_S, TraceFilter, Traces

COLLECTIONS: Final = (
    Collection(name="alerts", indexes=("org",)),
    Collection(name="alerts_past", indexes=("org",)),
)
PLATFORM: Final = "*"
STANDING_MOST: Final = 1_000
PAGE: Final = 1_000
PAST_S: Final = 90 * 86_400.0
TOTALS_EVERY_S: Final = 60.0
EVERY_S: Final = 1.0
SEEN_EVERY_S: Final = 2.0
"""How often it is written down that something is still found broken, where others may not find it so."""
SILENT_S: Final = 10.0
TIMES: Final = 1 << 56
_log = logging.getLogger("penstock.alerts")


class Source(msgspec.Struct, frozen=True):
    """Whoever knows something now: dependencies, budgets, scans that were skipped. It is asked each second.

    What stands of its `rules` and it says nothing of is as if it had said 0.
    """

    rules: tuple[str, ...]
    read: Callable[[], Iterable[Reading]]


class Alerts:
    """Evaluates rules. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self,
        records: Records,
        webhooks: Webhooks,
        clock: Clock,
        *,
        traces: Traces | None = None,
        rules: Sequence[Rule] = DEFAULTS,
        sources: Sequence[Source] = (),
    ) -> None:
        """Read totals from `traces`, if there is one, and the rest from `sources` and `tell`."""
        self.fired = 0
        """Alerts that fired, since this object was made; so are the other figures."""
        self.left_out = 0
        """Readings that broke a rule when there was no room for another alert."""
        self.failures = 0
        """Times a source, the totals or a row could not be read or written."""
        self._records = records
        self._webhooks = webhooks
        self._clock = clock
        self._traces = traces
        self._rules = {rule.id: rule for rule in rules}
        self._sources = tuple(sources)
        self._told: dict[str, Reading] = {}
        self._standing: dict[str, tuple[Alert, int]] | None = None
        """By key: the alert and its row's version; None before they were read."""
        self._seen_s: dict[str, float] = {}
        """By key: when this process itself was the last to write down that it found it broken."""
        self._totals_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(self._rules.values())

    def start(self) -> None:
        """Begin to evaluate; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._tick_forever(), name="alerts")

    async def close(self) -> None:
        """Evaluate no more; what stands, stands at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell(self, reading: Reading) -> None:
        """Note something that happened, for the next tick; of one subject and event the latest counts."""
        if len(self._told) < STANDING_MOST or reading.key in self._told:
            self._told[reading.key] = reading
        else:
            self.left_out += 1

    async def standing(self, org: str = "") -> list[Alert]:
        """Return the alerts that stand, of one organisation or of all."""
        rows = await self._rows("alerts", org)
        return [msgspec.json.decode(row.value, type=Alert) for row in rows]

    async def past(self, org: str = "", *, after: str = "", limit: int = 100) -> list[tuple[str, Alert]]:
        """Return a page of alerts that were resolved, each with its id, the latest first."""
        rows = await self._rows("alerts_past", org, after=after, limit=limit)
        return [(row.id, msgspec.json.decode(row.value, type=Alert)) for row in rows]

    async def _rows(self, collection: str, org: str, *, after: str = "", limit: int = PAGE) -> Sequence[Row]:
        if org:
            index = _index(org)
            return await self._records.find(collection, PLATFORM, "org", index, after=after, limit=limit)
        return await self._records.scan(collection, PLATFORM, after=after, limit=limit)

    # ------------------------------------------------------------------------------------------------- evaluation

    async def _tick_forever(self) -> None:
        while True:
            try:
                await self.tick()
            except Exception as error:  # because alerts must outlive what they are about
                self.failures += 1
                self._standing = None
                _log.warning("alerts wait: %s", error, exc_info=not isinstance(error, PenstockError))
            await asyncio.sleep(EVERY_S)

    async def tick(self) -> None:
        """Read everything that is due once, and note what changed."""
        try:
            if self._standing is None:
                self._standing = await self._recalled()
            await self._note_told()
            for source in self._sources:
                await self._note_source(source)
            await self._note_totals()
            await self._end_what_is_over()
        except StaleVersion:  # another process noted something: look again what stands
            self._standing = None

    async def _note_told(self) -> None:
        """Note what happened. Nobody tells it again: what the store cannot take now is noted at the next tick."""
        told = dict(self._told)
        try:
            await self._note(told.values())
        except (Unavailable, StaleVersion):
            told = {}
            raise
        finally:  # what it will never take must not keep the rest waiting
            for key, reading in told.items():
                if self._told.get(key) is reading:
                    del self._told[key]

    async def _note_source(self, source: Source) -> None:
        """Note what a source says now."""
        try:
            found = list(source.read())
        except Exception:  # because one source must not silence the others
            self.failures += 1
            _log.exception("a source of alerts stumbled")
            return
        await self._note(found, whole=source.rules)

    async def _note_totals(self) -> None:
        """Note what the totals say of today, if it is time."""
        now_s = self._clock.wall_s()
        if self._traces is None or now_s - self._totals_s < TOTALS_EVERY_S:
            return
        self._totals_s = now_s
        for rule in self._rules.values():
            if rule.kind != "told":
                today_s = int(now_s // DAY_S) * DAY_S
                await self._note(await self._from_totals(rule, self._traces, today_s), whole=(rule.id,))

    async def _from_totals(self, rule: Rule, traces: Traces, today_s: int) -> list[Reading]:
        """Return the readings of a rule about totals."""
        week = TraceFilter(since_s=today_s - readings.DAYS_BEFORE * DAY_S)
        today = TraceFilter(since_s=today_s)
        if rule.kind == "day_above_mean":
            return list(readings.above_mean(rule, await traces.totals(week, ("org", "day")), today_s))
        if rule.kind == "feature_spike":
            by = ("org", "feature", "day")
            return list(readings.above_mean(rule, await traces.totals(week, by), today_s))
        if rule.kind == "user_over":
            return list(readings.spent(rule, await traces.totals(today, ("org", "user"))))
        return list(readings.tokens_per_request(rule, await traces.totals(today, ("org", "feature"))))

    async def _end_what_is_over(self) -> None:
        """End what was told once and has stood its time, and what no rule is about any more."""
        now_s = self._clock.wall_s()
        for alert, version in tuple(self._known.values()):
            rule = self._rules.get(alert.rule)
            if rule is None or (rule.lasts_s and now_s - alert.seen_s >= rule.lasts_s):
                ended = msgspec.structs.replace(alert, state="resolved", resolved_s=now_s)
                await self._write(alert, ended, version)
        for key in self._seen_s.keys() - self._known.keys():  # what others ended, and what found no room
            del self._seen_s[key]

    # ---------------------------------------------------------------------------------------------------- the rows

    @property
    def _known(self) -> dict[str, tuple[Alert, int]]:
        return self._standing if self._standing is not None else {}

    async def _recalled(self) -> dict[str, tuple[Alert, int]]:
        rows = await self._records.scan("alerts", PLATFORM, limit=PAGE)
        alerts = (msgspec.json.decode(row.value, type=Alert) for row in rows)
        return {alert.key: (alert, row.version) for alert, row in zip(alerts, rows, strict=True)}

    async def _note(self, found: Iterable[Reading], *, whole: Sequence[str] = ()) -> None:
        """Apply readings; of the rules in `whole` what stands and was not read is read as 0."""
        by_key = {reading.key: reading for reading in found}
        for alert, _ in self._known.values():
            if alert.rule in whole and alert.key not in by_key:
                by_key[alert.key] = Reading(
                    rule=alert.rule, org=alert.org, subject=alert.subject, value=0.0, event=alert.event
                )
        now_s = self._clock.wall_s()
        for key, reading in by_key.items():
            rule = self._rules.get(reading.rule)
            if rule is None:
                continue
            before, version = self._known.get(key, (None, 0))
            after = advanced(rule, before, reading, now_s)
            if rule.by_node:
                after = self._of_this_node(rule, before, after, reading, now_s)
            if before is None and after is not None and len(self._known) >= STANDING_MOST:
                self.left_out += 1
            elif after is not before:
                await self._write(before, after, version)

    def _of_this_node(
        self, rule: Rule, before: Alert | None, after: Alert | None, reading: Reading, now_s: float
    ) -> Alert | None:
        """Return what becomes of an alert by a reading that others may not have: `before` where it is not heeded."""
        key = reading.key
        if not breaks(rule, reading.value):
            is_own = before is not None and self._seen_s.get(key) == before.seen_s
            if before is not None and not is_own and now_s - before.seen_s < SILENT_S:
                return before
            if after is None or after.state == "resolved":
                self._seen_s.pop(key, None)
            return after
        if before is None or (after is not None and now_s - before.seen_s >= SEEN_EVERY_S):
            self._seen_s[key] = now_s
            return None if after is None else msgspec.structs.replace(after, seen_s=now_s)
        return after

    async def _write(self, before: Alert | None, after: Alert | None, version: int) -> None:
        """Write what became of an alert, and who is told of it; StaleVersion when another process did."""
        alert = after or before
        if alert is None:
            return
        stands = after is not None and after.state != "resolved"
        value = msgspec.json.encode(alert)
        indexed = {"org": _index(alert.org)}
        row = Write(
            collection="alerts",
            tenant=PLATFORM,
            id=_index(alert.key),
            value=value if stands else None,
            indexed=indexed if stands else {},
            expected=version,
        )
        writes = [row]
        if alert.state == "resolved":
            past = f"{TIMES - 1 - int(alert.resolved_s * 1_000_000):014x}{row.id}"
            writes.append(
                Write(collection="alerts_past", tenant=PLATFORM, id=past, value=value, indexed=indexed)
            )
        has_changed = before is None or before.state != alert.state
        if has_changed and alert.state != "pending":
            writes += self._webhooks.writes(_message(alert, self._clock.wall_s()))
        versions = await self._records.transact(writes)
        if stands:
            self._known[alert.key] = (alert, versions[0])
        else:
            self._known.pop(alert.key, None)
        self.fired += has_changed and alert.state == "firing"

    async def trim(self) -> int:
        """Forget what was resolved `PAST_S` ago, a page of it; returns how many."""
        before_s = self._clock.wall_s() - PAST_S
        rows = await self._records.scan(
            "alerts_past", PLATFORM, after=f"{TIMES - 1 - int(before_s * 1_000_000):014x}~", limit=100
        )
        if rows:
            gone = [Write(collection="alerts_past", tenant=PLATFORM, id=row.id, value=None) for row in rows]
            await self._records.transact(gone)
        return len(rows)


def _index(text: str) -> str:
    """Return an id or index value of fixed size: names together may be longer than one admits."""
    return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def _message(alert: Alert, at_s: float) -> Message:
    word = alert.severity if alert.state == "firing" else alert.state
    see = f" · {alert.runbook}" if alert.runbook and alert.state == "firing" else ""
    return Message(
        type=f"alert.{alert.state}",
        org=alert.org,
        at_s=at_s,
        text=f"[{word}] {alert.text}{see}",
        data=msgspec.Raw(msgspec.json.encode(alert)),
    )
