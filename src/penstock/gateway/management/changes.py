"""The audit of admin writes: who changed what, from what, to what.

Promise: read only, newest first, secrets left out; an organisation's readers see what was changed in it, nobody else's.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query

from penstock.gateway.management.parts import Api
from penstock.gateway.management.people_models import ChangeView, SealView
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import After, Limit, Org, must_reach
from penstock.mechanisms.roles import Action

ROUTES = Routes("changes")
Word = Annotated[str, Query(max_length=200)]
Head = Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$", description="A head that was noted once.")]


@ROUTES.add("GET", "/changes", needs=Action.READ_CHANGES)
async def list_changes(
    by: By,
    api: Api,
    *,
    org: Org = "",
    actor: Word = "",
    subject: Word = "",
    action: Word = "",
    after: After = "",
    limit: Limit = 100,
) -> list[ChangeView]:
    """List the admin writes of an organisation, newest first; `actor` and `subject` are ids."""
    found = await api.changes.page(
        must_reach(by.principal, org), actor=actor, subject=subject, action=action, after=after, limit=limit
    )
    return [ChangeView.model_validate_json(msgspec.json.encode(change)) for change in found]


@ROUTES.add("GET", "/changes/seals", needs=Action.READ_CHANGES)
async def verify_changes(by: By, api: Api, org: Org = "", head: Head = "") -> SealView:
    """Hold the admin writes of an organisation to their seals."""
    own = must_reach(by.principal, org)
    found = await api.changes.seals.verify(own, head=head)
    return SealView(org=own, **msgspec.structs.asdict(found))
