"""Canaries: what every one of them did beside its control, how near it is to being taken out, and what became of it.

Promises: figures are those of all nodes together; evidence is told with the bound that convicts, so that nobody has to
know the share of `alpha` that a metric has; a canary that cannot be judged says why not; a live view is sent what
changed, and however many look on, the stores are read once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal

from pydantic import BaseModel

from penstock.gateway.management.live import WAIT_S, EventStream, Source, View, frame
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.sight import Picture
from penstock.gateway.management.standing import still_may
from penstock.gateway.rollout_arms import Figures
from penstock.gateway.rollout_trials import TrialDoc
from penstock.gateway.rollouts import Canaries, Seen
from penstock.kernel.errors import NotFound
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import RouteSettings, TargetSettings
from penstock.mechanisms.roles import Action
from penstock.mechanisms.sequential import SHARES, merged

ROUTES: Final = Routes("canaries")
State = Literal["on trial", "beginning", "alike", "all", "off", "rolled back", "promoted"]
"""Judged now; judged from the next look on; has no back end of its own, so that nobody can tell whose call it was; has
all traffic, or none; taken out; given all traffic after its steps.
"""


class CanaryArm(BaseModel):
    """One side's calls: times are means in milliseconds, of the good ones; `score` (0 to 1) is that of `scores`."""

    calls: int
    failed: int
    first_token_ms: float
    latency_ms: float
    cost_nanos: int
    scores: int
    score: float


class CanaryEvidence(BaseModel):
    """What speaks against a canary by one metric: 1 is nothing, `bound` convicts it."""

    metric: Literal["errors", "first_token", "latency", "quality"]
    evidence: float
    bound: float


class CanaryView(BaseModel):
    """A route's canary. `labels` are back ends of its own, `began_s` is when its step began (wall time, 0: not yet)."""

    route: str
    state: State
    percent: float
    labels: list[str]
    production: list[str]
    began_s: float
    control: CanaryArm
    newcomer: CanaryArm
    evidence: list[CanaryEvidence]
    why: str


class CanariesView(BaseModel):
    """Every canary of the routes in force, and how they are judged (see the settings `rollouts`)."""

    canaries: list[CanaryView]
    rollback: bool
    alpha: float
    advance: bool
    steps: list[float]
    hold_s: float
    least_calls: int


@ROUTES.add("GET", "/routing/canaries", needs=Action.READ_ROUTES, refuses=(404,))
async def list_canaries(api: Api) -> CanariesView:
    """Show every canary with what both sides did and the evidence against it."""
    return await _shown(api)


@ROUTES.add(
    "GET",
    "/routing/canaries/live",
    needs=Action.READ_ROUTES,
    refuses=(404, 429),
    response_class=EventStream,
    status_code=200,
    responses={200: {"description": "Events `canaries` (CanariesView), when something changed."}},
)
async def watch_canaries(by: By, api: Api) -> EventStream:
    """Show every canary each time something about one changed, at most once a second."""
    _judge(api)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Source]:
        yield _Changing(api)

    return EventStream(
        View(
            who=by.principal,
            seats=api.sight.seats,
            clock=api.clock,
            opened=opened,
            still_may=lambda: still_may(api, by, Action.READ_ROUTES),
            draining=lambda: api.status().draining,
        )
    )


class _Changing:
    """The canaries each time they changed, as the source of a live view."""

    ended = False

    def __init__(self, api: Management) -> None:
        self._api = api
        self._sent = b""

    async def next(self, within_s: float) -> list[bytes]:
        """Return the canaries if something about them is new."""
        if self._sent:
            await asyncio.sleep(within_s)
        sight = self._api.sight
        shown = await sight.shown.get("canaries", lambda each: each.every_s, self._api.clock, self._drawn)
        if shown.data == self._sent:
            return []
        self._sent = shown.data
        return [frame("canaries", shown.data)]

    def last(self) -> list[bytes]:
        """Return nothing: what changed last was sent."""
        return []

    async def _drawn(self) -> Picture:
        data = (await _shown(self._api)).model_dump_json().encode()
        return Picture(data, data, 0.9 * WAIT_S)


async def _shown(api: Management) -> CanariesView:
    judge, settings = _judge(api), api.settings.rollouts
    routes = () if api.routing is None else api.routing.versions.document.routes
    return CanariesView(
        canaries=[await _view(judge, settings, route) for route in routes if route.canary.targets],
        rollback=settings.rollback,
        alpha=settings.alpha,
        advance=settings.advance,
        steps=list(settings.steps),
        hold_s=settings.hold_s,
        least_calls=settings.least_calls,
    )


async def _view(judge: Canaries, settings: RolloutSettings, route: RouteSettings) -> CanaryView:
    production, labels = _labels(route.targets), _labels(route.canary.targets)
    own = [label for label in labels if label not in production]
    trial = await judge.trial(route.model)
    if trial is not None and set(trial.labels) != set(own):
        trial = None  # of another canary that this route had
    nothing = Seen(control=Figures(), newcomer=Figures(), evidence=merged(()))
    seen = nothing if trial is None or trial.outcome else await judge.seen(trial.id)
    return CanaryView(
        route=route.model,
        state=_state(route, own, trial),
        percent=route.canary.percent,
        labels=own or labels,
        production=production,
        began_s=trial.step_s if trial is not None else 0.0,
        control=_arm(seen.control),
        newcomer=_arm(seen.newcomer),
        evidence=[
            CanaryEvidence.model_validate(
                {"metric": name, "evidence": seen.evidence[name], "bound": 1.0 / (settings.alpha * share)}
            )
            for name, share in SHARES.items()
        ],
        why=trial.why if trial is not None else "",
    )


def _state(route: RouteSettings, own: list[str], trial: TrialDoc | None) -> State:
    percent = route.canary.percent
    if trial is not None and trial.outcome == "rolled back" and not percent:
        return "rolled back"
    if trial is not None and trial.outcome == "promoted" and percent >= 100:
        return "promoted"
    if not own:
        return "alike"
    if not 0 < percent < 100:
        return "all" if percent else "off"
    return "beginning" if trial is None or trial.outcome else "on trial"


def _labels(targets: tuple[TargetSettings, ...]) -> list[str]:
    return [f"{target.provider}/{target.model}" for target in targets]


def _arm(figures: Figures) -> CanaryArm:
    answered = max(figures.calls - figures.failed, 1)
    return CanaryArm(
        calls=figures.calls,
        failed=figures.failed,
        first_token_ms=figures.first_token_ms / answered,
        latency_ms=figures.latency_ms / answered,
        cost_nanos=figures.cost_nanos,
        scores=figures.scores,
        score=figures.score_sum / max(figures.scores, 1),
    )


def _judge(api: Management) -> Canaries:
    if api.canaries is None:
        raise NotFound("Canaries are not judged here.", code="canaries_off")
    return api.canaries
