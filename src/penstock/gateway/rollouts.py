"""Canaries are judged here, by what the audit says of them, and taken out of their routes when they are worse.

    audit pipe ──▶ arms of this node ──(each look)──▶ a row of evidence per node ──▶ one node judges ──▶ switch
                                                                                       (lease)      └──▶ told

Promises
1. Each node judges nothing but its own calls; the evidence of all is multiplied (`sequential.merged`), so that a canary
   with little traffic on each of many nodes is judged by all of it, and a good one is taken out with a chance of at
   most `alpha` on the whole platform, restarts included: evidence outlives the node that gathered it.
2. One node acts at a time, by a lease. What it decided and could not do it tries again at the next look. That a trial
   has ended is written with the change of its route, or neither is; so is that its notice is owed, which outlives the
   node that would have given it (`gateway/rollout_trials`).
3. From evidence to action there are at most three looks: the node's own, and the judge's.
4. Too little evidence takes nothing out and advances nothing; so does doubt (`DOUBT`) advance nothing.
5. One whose breaker opened, and stayed so for `PROBES` probes in a row, is taken out whatever the evidence, while
   production's is closed: it gets no calls any more that could be any.
6. A newcomer that comes again after its trial ended is tried anew.
7. Hearing an event neither blocks nor raises; memory is bounded; what was not heard is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from penstock.gateway.rollout_arms import Arms, Figures, Newcomer, newcomers
from penstock.gateway.rollout_trials import (
    EVIDENCE,
    PLATFORM,
    TRIALS,
    Notices,
    RollbackEvent,
    TrialDoc,
    kept,
    row_id,
)
from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.kernel.events import RequestEvent
from penstock.kernel.ids import new_id
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import RouteSettings
from penstock.mechanisms.breaker import Breaker
from penstock.mechanisms.sequential import Finding, Side, finding_in, merged
from penstock.ports.records import Records, Row, Write
from penstock.ports.state import State

LEASE: Final = "*|canaries"
LEASE_S: Final = 30.0
LOOK_S: Final = 8.0
DOUBT: Final = 10.0
"""Evidence from which a canary is not given more traffic; a good one is ever in such doubt with a chance of 1 in 10."""
NODES_MOST: Final = 100
"""Rows of evidence of one trial: nodes, and nodes restarted, that are listened to."""

_log = logging.getLogger("penstock.rollouts")


PROBES: Final = 2
"""Failed probes in a row, on any node, of a canary that is out of order: five calls and these have failed by then."""


class Switch(Protocol):
    """Who can change the routes of the whole platform (`mechanisms/canary_switch`)."""

    async def rollback(self, route: str, why: str, also: Sequence[Write] = (), /) -> None:
        """Give all traffic of a route back to production; the rows `also` are written with that, or neither is."""
        ...

    async def advance(self, route: str, percent: float, why: str = "", also: Sequence[Write] = (), /) -> None:
        """Give the canary of a route so many per cent of its traffic, likewise."""
        ...


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one node, or all, saw of a trial: control, newcomer, evidence by metric, failed probes of the newcomer."""

    control: Figures
    newcomer: Figures
    evidence: dict[str, float]
    probes_failed: int = 0


class Canaries:
    """Every canary of the platform, as one node knows them. A listener of the audit pipe; `run` it."""

    def __init__(
        self,
        settings: RolloutSettings,
        records: Records,
        state: State,
        clock: Clock,
        switch: Switch,
        *,
        routes: Callable[[], Iterable[RouteSettings]],
        breaker: Callable[[str], Breaker],
        told: Callable[[RollbackEvent], None],
    ) -> None:
        """Judge the canaries of `routes` as they are at each look, act through `switch`, and say so to `told`; look at
        back ends' breakers by `breaker`.
        """
        self._settings = settings
        self._records = records
        self._state = state
        self._clock = clock
        self._switch = switch
        self._routes = routes
        self._breaker = breaker
        self._notices = Notices(records, told)
        self._node = new_id("node_")
        self._newcomers: dict[str, Newcomer] = {}
        self._arms: dict[str, Arms] = {}
        self.heard = 0
        """Requests that were evidence."""
        self.scored = 0
        """Scores that were evidence."""
        self.strays = 0
        """Scores that were none: of requests without a canary, or from before its trial."""
        self.rolled_back = 0
        self.advanced = 0
        self.failures = 0
        """Looks that a store or the switch made fail."""

    # ------------------------------------------------------------------------------------------------ hearing

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear what the audit says."""
        if not self._arms:
            return
        for event in events:
            arms = self._arms.get(event.model)
            if arms is None or not event.calls:
                continue
            side = self._newcomers[event.model].side(event)
            if arms.hear(side, event):
                self.heard += 1

    def score(self, event: RequestEvent, score: float) -> None:
        """Take how good the answer of a request was, 0 to 1; whoever tells of it does so once, to one node. A request
        of a time before this node gathered evidence is none: it had no control beside it.
        """
        arms = self._arms.get(event.model)
        if arms is None or event.at_s < arms.began_s or not arms.answered(event):
            self.strays += 1
            return
        arms.score(self._newcomers[event.model].side(event), score)
        self.scored += 1

    # ------------------------------------------------------------------------------------------------ looking

    async def run(self) -> None:
        """Look every `LOOK_S` seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Tell what this node saw and, where it is this node's turn, judge."""
        self._newcomers = newcomers(self._routes())
        self._arms = {route: arms for route, arms in self._arms.items() if route in self._newcomers}
        is_judge, owed = False, ()
        try:
            owed = await self._notices.owed()
            if self._newcomers or owed:
                is_judge = await self._state.claim(LEASE, self._node, LEASE_S) is not None
        except PenstockError as error:
            self._failed("lease", error)
        if is_judge:
            await self._settle(owed)
        for newcomer in tuple(self._newcomers.values()):
            try:
                await self._look_at(newcomer, is_judge=is_judge)
            except (PenstockError, msgspec.MsgspecError) as error:
                self._failed(newcomer.route, error)

    async def _settle(self, owed: Sequence[Row]) -> None:
        """Give the notices that are owed: whoever rolled back may have died before it could."""
        for row in owed:
            try:
                await self._notices.settle(row)
            except (PenstockError, msgspec.MsgspecError) as error:
                self._failed("notice", error)

    async def _look_at(self, newcomer: Newcomer, *, is_judge: bool) -> None:
        doc, version = await self._trial(newcomer.route)
        if doc is None or doc.outcome or frozenset(doc.labels) != newcomer.labels:
            if is_judge:
                await self._begin(newcomer, doc, version)
            return
        arms = self._arms.get(newcomer.route)
        if arms is None or arms.trial_id != doc.id:
            arms = self._arms[newcomer.route] = self._fresh(doc)
        arms.trial.look()
        await self._tell(arms, self._probes_failed(newcomer))
        if is_judge:
            await self._judge(newcomer, doc, version, await self.seen(doc.id))

    async def _begin(self, newcomer: Newcomer, before: TrialDoc | None, version: int) -> None:
        """Begin a trial: from its next look on every node gathers evidence for it."""
        doc = TrialDoc(
            id=new_id("trial_"),
            route=newcomer.route,
            labels=tuple(sorted(newcomer.labels)),
            percent=newcomer.percent,
            step_s=self._clock.wall_s(),
        )
        await self._keep(doc, version)
        self._arms[newcomer.route] = self._fresh(doc)
        if before is not None:
            await self._forget(before)

    def _fresh(self, doc: TrialDoc) -> Arms:
        settings = self._settings
        return Arms(doc.id, settings.alpha, settings.latency_tolerance, began_s=self._clock.wall_s())

    async def _judge(self, newcomer: Newcomer, doc: TrialDoc, version: int, seen: Seen) -> None:
        calls = (seen.control.calls, seen.newcomer.calls)
        finding = finding_in(seen.evidence, self._settings.alpha)
        if finding is None and seen.probes_failed >= PROBES:
            finding = Finding("breaker", seen.probes_failed, PROBES)
        if finding is not None and self._settings.rollback:
            await self._roll_back(doc, version, seen, finding)
        elif newcomer.percent != doc.percent:
            step = msgspec.structs.replace(
                doc, percent=newcomer.percent, step_s=self._clock.wall_s(), calls=calls
            )
            await self._keep(step, version)
        elif finding is None and self._may_advance(doc, seen):
            await self._advance(doc, version)

    async def _roll_back(self, doc: TrialDoc, version: int, seen: Seen, finding: Finding) -> None:
        why = explained(finding, seen)
        event = RollbackEvent(
            route=doc.route,
            trial=doc.id,
            labels=doc.labels,
            metric=finding.metric,
            evidence=finding.evidence,
            bound=finding.bound,
            why=why,
            at_s=self._clock.wall_s(),
        )
        ended = msgspec.structs.replace(doc, outcome="rolled back", why=why, owed=event)
        await self._switch.rollback(doc.route, why, [kept(ended, version)])
        self.rolled_back += 1
        self._notices.give(ended)
        await self._close(doc)

    def _may_advance(self, doc: TrialDoc, seen: Seen) -> bool:
        settings = self._settings
        least = settings.least_calls
        return (
            settings.advance
            and max(settings.steps, default=0.0) > doc.percent
            and self._clock.wall_s() - doc.step_s >= settings.hold_s
            and seen.control.calls - doc.calls[Side.CONTROL] >= least
            and seen.newcomer.calls - doc.calls[Side.NEWCOMER] >= least
            and max(seen.evidence.values()) < DOUBT
        )

    async def _advance(self, doc: TrialDoc, version: int) -> None:
        percent = min(step for step in self._settings.steps if step > doc.percent)
        if percent < 100:
            await self._switch.advance(doc.route, percent)
            self.advanced += 1
            return
        why = f"not worse in {len(self._settings.steps)} steps"
        ended = msgspec.structs.replace(doc, outcome="promoted", why=why)
        await self._switch.advance(doc.route, percent, "", [kept(ended, version)])
        self.advanced += 1
        await self._close(doc)

    # ------------------------------------------------------------------------------------------------ rows

    async def seen(self, trial_id: str) -> Seen:
        """Return what all nodes saw of a trial."""
        rows = await self._records.scan(EVIDENCE, PLATFORM, after=f"{trial_id}|", limit=NODES_MOST)
        control, newcomer = Figures(), Figures()
        evidences: list[dict[str, float]] = []
        probes_failed = 0
        for row in rows:
            if row.id.startswith(f"{trial_id}|"):
                told = msgspec.json.decode(row.value, type=Seen)
                control.add(told.control)
                newcomer.add(told.newcomer)
                evidences.append(told.evidence)
                probes_failed = max(probes_failed, told.probes_failed)
        return Seen(
            control=control, newcomer=newcomer, evidence=merged(evidences), probes_failed=probes_failed
        )

    def _probes_failed(self, newcomer: Newcomer) -> int:
        """Return how many probes in a row every back end of a newcomer failed here, 0 while its control is ill too."""
        if all(self._breaker(label).state != "closed" for label in newcomer.control):
            return 0
        return min(self._breaker(label).probes_failed for label in newcomer.labels)

    async def _tell(self, arms: Arms, probes_failed: int) -> None:
        control, newcomer = arms.figures
        seen = Seen(
            control=control, newcomer=newcomer, evidence=arms.trial.evidence, probes_failed=probes_failed
        )
        row_id = f"{arms.trial_id}|{self._node}"
        value = msgspec.json.encode(seen)
        await self._records.transact([Write(collection=EVIDENCE, tenant=PLATFORM, id=row_id, value=value)])

    async def trial(self, route: str) -> TrialDoc | None:
        """Return the latest trial that a route's canary had, under way or ended."""
        return (await self._trial(route))[0]

    async def _trial(self, route: str) -> tuple[TrialDoc | None, int]:
        row = await self._records.get(TRIALS, PLATFORM, row_id(route))
        if row is None:
            return None, 0
        return msgspec.json.decode(row.value, type=TrialDoc), row.version

    async def _keep(self, doc: TrialDoc, version: int) -> None:
        """Keep a trial as it is now. Raises StaleVersion when another node was first."""
        await self._records.transact([kept(doc, version)])

    async def _close(self, doc: TrialDoc) -> None:
        """Forget the evidence of a trial that has ended."""
        self._arms.pop(doc.route, None)
        await self._forget(doc)

    async def _forget(self, doc: TrialDoc) -> None:
        rows = await self._records.scan(EVIDENCE, PLATFORM, after=f"{doc.id}|", limit=NODES_MOST)
        writes = [
            Write(collection=EVIDENCE, tenant=PLATFORM, id=row.id, value=None)
            for row in rows
            if row.id.startswith(f"{doc.id}|")
        ]
        if writes:
            await self._records.transact(writes)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        _log.warning("canaries, %s: %s", what, error)


def explained(finding: Finding, seen: Seen) -> str:
    """Return for people what convicted a canary."""
    return (
        f"{finding.metric}: canary {_figure(finding.metric, seen.newcomer)}, production "
        f"{_figure(finding.metric, seen.control)}; evidence {finding.evidence:.4g}, bound {finding.bound:.4g}"
    )


def _figure(metric: str, figures: Figures) -> str:
    answered = max(figures.calls - figures.failed, 1)
    if metric in {"errors", "breaker"}:
        return f"{figures.failed} of {figures.calls} failed"
    if metric == "quality":
        return f"{figures.score_sum / max(figures.scores, 1):.3f} of {figures.scores} scores"
    total_ms = figures.first_token_ms if metric == "first_token" else figures.latency_ms
    return f"{total_ms / answered:.0f} ms in the mean of {answered}"
