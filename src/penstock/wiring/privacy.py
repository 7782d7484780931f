"""Opens what looks into requests for a tenant's sake: redaction and guards, as far as the settings name any.

Promise: a deployment without rules opens nothing, and compiles no pattern.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from penstock.gateway.pipeline import Inspection
from penstock.gateway.privacy import GuardCare, PrivacyCare
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import (
    GuardSettings,
    PrivacySettings,
    RecogniserSettings,
    Settings,
)
from penstock.mechanisms.guards import Decision, Guards, Post, TopicGuard
from penstock.mechanisms.overrides import REFUSE_AT, OverrideGuard
from penstock.mechanisms.redaction.policy import Action, RedactionPolicy, Tally, faults
from penstock.mechanisms.redaction.redactor import Recogniser, Redactor
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.wiring import adapters
from penstock.wiring.tenants import by_tenant

_log = logging.getLogger("penstock.privacy")


async def open_privacy(settings: Settings, clock: Clock, opening: AsyncExitStack) -> tuple[Inspection, ...]:
    """Return the inspections that the settings ask for; `opening` closes them. Raises Invalid with every mistake."""
    opened: list[Inspection] = []
    if settings.guards:
        opened.append(GuardCare(by_tenant("guards", settings.guards, _guards)))
    if settings.privacy:
        scanner = Scanner()
        redactor = Redactor(
            scanner, clock, Tally(clock), _told, await _recogniser(settings.recogniser, opening)
        )
        opening.push_async_callback(redactor.late.close)
        made = partial(_policy, redactor.known)
        opened.append(PrivacyCare(redactor, scanner, by_tenant("privacy", settings.privacy, made)))
    return tuple(opened)


async def _recogniser(settings: RecogniserSettings, opening: AsyncExitStack) -> Recogniser | None:
    """Start the second engine where one is asked for. Raises Invalid, Unavailable."""
    if settings.engine == "none":
        return None
    engine = adapters.adapter("recognisers.presidio", "PresidioRecogniser")(
        settings.languages, settings.models
    )
    opening.push_async_callback(engine.close)
    await engine.start()
    _log.info("personal data: %s", engine.status)
    return engine


def _policy(known: frozenset[str], field: str, row: PrivacySettings) -> RedactionPolicy:
    policy = RedactionPolicy(
        requests={entity: Action(treatment) for entity, treatment in row.requests.items()},
        answers={entity: Action(treatment) for entity, treatment in row.answers.items()},
        languages=row.languages,
        budget_ms=row.budget_ms,
        past_budget=row.past_budget,
    )
    wrong = faults(policy, known)
    if wrong:
        raise Invalid("; ".join(wrong), field=field, value=len(wrong))
    return policy


def _guards(field: str, row: GuardSettings) -> Guards:
    posts: list[Post] = []
    try:
        if row.never or row.only:
            decision = Decision.REFUSE if row.topics == "refuse" else Decision.FLAG
            posts.append(_post(row, TopicGuard(never=row.never, only=row.only, otherwise=decision)))
        if row.overrides == "refuse":
            posts.append(_post(row, OverrideGuard(refuse_at=REFUSE_AT)))
        elif row.overrides == "flag":
            posts.append(_post(row, OverrideGuard()))
    except ValueError as error:
        raise Invalid(str(error), field=field) from None
    if not posts:
        raise Invalid("This guards nothing.", field=field, remedy="Give `never`, `only` or `overrides`.")
    return Guards(posts)


def _post(row: GuardSettings, guard: TopicGuard | OverrideGuard) -> Post:
    return Post(guard=guard, timeout_ms=row.timeout_ms, on_failure=row.on_failure)


def _told(request_id: str, counts: Mapping[str, int]) -> None:
    """Log what a late scan found, by entity: no value is in it."""
    if counts:
        _log.warning("request %s went on unscanned and held %s", request_id, ", ".join(sorted(counts)))
