"""Feedback: how good an answer was, said by whoever asked, or by whoever judges answers for them.

Promises: a request is scored by who made it, by the key it was made with, or by who reaches its maker; once; a request
out of reach looks absent. Every score is evidence about the canary that answered, where one did.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from penstock.gateway.management.bodies import Body
from penstock.gateway.management.parts import Api
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Id
from penstock.gateway.management.requests import found_event
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.roles import Action, reach_of

ROUTES: Final = Routes("feedback")
THUMBS: Final = {"up": 1.0, "down": 0.0}


class ScoreBody(Body):
    """How good an answer was: a `score` from 0 to 1, or a `thumb`; one of them."""

    score: Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)] | None = None
    thumb: Literal["up", "down"] | None = None


class Scored(BaseModel):
    """What is kept."""

    request_id: str
    score: float


@ROUTES.add("POST", "/requests/{request_id}/feedback", needs=Action.SCORE_ANSWERS)
async def score(request_id: Id, body: ScoreBody, by: By, api: Api) -> Scored:
    """Say how good the answer of a request was, once."""
    if (body.score is None) is (body.thumb is None):
        raise Invalid("Give a score or a thumb: one of them.", field="score", value=body.score)
    event = await found_event(api, request_id, lambda event: _may_score(by.principal, event))
    given = THUMBS[body.thumb] if body.thumb is not None else body.score or 0.0
    await api.feedback.give(event, given, by.principal.key_id)
    return Scored(request_id=request_id, score=given)


def _may_score(principal: Principal, event: RequestEvent) -> bool:
    is_own_key = bool(principal.key_id) and event.key_id == principal.key_id
    return is_own_key or reach_of(principal).holds(event.org, event.team, event.user)
