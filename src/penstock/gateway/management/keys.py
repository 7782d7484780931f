"""Keys: made, changed, rotated and revoked by whoever reaches their owner, never with more rights than they have.

Promises: a developer makes keys for itself, a team-admin for its team, an admin for its organisation; only an owner
touches the keys of admins and owners; whatever is written, the key's rights are within the writer's; a key that was
changed or revoked meanwhile is not overwritten; every write is audited with it.
"""

from __future__ import annotations

import msgspec

from penstock.edge.caller import Caller
from penstock.gateway.management.bodies import caps_of
from penstock.gateway.management.key_models import KeyBody, KeyPatch, KeyView, MadeKey, RotateBody
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes, must_may
from penstock.gateway.management.reach import (
    After,
    Id,
    Limit,
    Org,
    breadth_of,
    must_hold,
    must_reach,
    page,
)
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Invalid, NotFound
from penstock.mechanisms.roles import Action, Breadth, reach_of
from penstock.mechanisms.tenancy import KeyDoc

ROUTES = Routes("keys")
MAXIMA = ("max_input_tokens", "max_output_tokens", "max_request_nanos")


@ROUTES.add("POST", "/keys", needs=Action.WRITE_KEYS, besides=[Action.WRITE_ADMIN_KEYS], status_code=201)
async def create_key(body: KeyBody, by: By, api: Api) -> MadeKey:
    """Make a key."""
    must_hold(by.principal, body.org, body.team, body.user)
    doc = _doc(body, api.clock.wall_s())
    _must_write(by, doc)
    made, token = await api.tenancy.create_key(doc, by=by.author())
    return MadeKey(key=key_view(made), token=token)


@ROUTES.add("GET", "/keys", needs=Action.READ_KEYS)
async def list_keys(by: By, api: Api, org: Org = "", after: After = "", limit: Limit = 100) -> list[KeyView]:
    """List the keys of an organisation that the caller reaches, in order of their ids."""
    own = must_reach(by.principal, org)
    return [key_view(doc) for doc in await keys_in_reach(api, by.principal, own, after, limit)]


@ROUTES.add("GET", "/keys/{key_id}", needs=Action.READ_KEYS)
async def read_key(key_id: Id, by: By, api: Api) -> KeyView:
    """Show one key."""
    return key_view(await own_key(api, by.principal, key_id))


@ROUTES.add("PATCH", "/keys/{key_id}", needs=Action.WRITE_KEYS, besides=[Action.WRITE_ADMIN_KEYS])
async def change_key(key_id: Id, body: KeyPatch, by: By, api: Api) -> KeyView:
    """Change a key's name, models and limits; in force everywhere within a second."""
    before = await own_key(api, by.principal, key_id)
    if not body.model_fields_set:
        raise Invalid("There is nothing to change.", field="body", remedy="Give at least one member.")
    after = _changed(before, body)
    _must_write(by, after)
    await api.tenancy.change_key(after, by=by.author(), seen=before)
    return key_view(after)


@ROUTES.add("DELETE", "/keys/{key_id}", needs=Action.WRITE_KEYS, besides=[Action.WRITE_ADMIN_KEYS])
async def revoke_key(key_id: Id, by: By, api: Api) -> KeyView:
    """Revoke a key now, on every node within a second."""
    doc = await own_key(api, by.principal, key_id)
    _must_command(by, doc)
    return key_view(await api.tenancy.revoke_key(key_id, by=by.author()))


@ROUTES.add(
    "POST",
    "/keys/{key_id}/rotate",
    needs=Action.WRITE_KEYS,
    besides=[Action.WRITE_ADMIN_KEYS],
    status_code=201,
)
async def rotate_key(key_id: Id, body: RotateBody, by: By, api: Api) -> MadeKey:
    """Make a key with the same rights; the old one goes on for a while."""
    old = await own_key(api, by.principal, key_id)
    _must_write(by, old)
    made, token = await api.tenancy.rotate_key(key_id, overlap_s=body.overlap_s, by=by.author())
    return MadeKey(key=key_view(made), token=token)


async def own_key(api: Management, principal: Principal, key_id: str) -> KeyDoc:
    """Return a key of the caller's reach, or raise NotFound (the same for absent and foreign)."""
    doc = await api.tenancy.key(key_id)
    if doc is None or not reach_of(principal).holds(doc.org, doc.team, doc.user):
        raise NotFound("There is no such key.", field="key", value=key_id)
    return doc


async def keys_in_reach(
    api: Management, principal: Principal, org: str, after: str, limit: int
) -> list[KeyDoc]:
    """Return a page of an organisation's keys that the caller reaches."""
    reach = reach_of(principal)
    return await page(
        lambda last, most: api.tenancy.keys(org, last, most),
        lambda doc: reach.holds(doc.org, doc.team, doc.user),
        lambda doc: doc.id,
        after,
        limit,
    )


def _must_command(by: Caller, doc: KeyDoc) -> None:
    """Only an owner writes what belongs to admins and owners."""
    if doc.role != "caller":
        must_may(by, Action.WRITE_ADMIN_KEYS)


def _must_write(by: Caller, doc: KeyDoc) -> None:
    """Raise Forbidden, naming the member, unless every right of `doc` is within the caller's own."""
    _must_command(by, doc)
    own, breadth = by.principal, breadth_of(by.principal)
    excess = _excess(own, doc)
    if breadth is Breadth.SELF and doc.end_users:
        # Such a key speaks for any user, past its maker's own limits.
        excess = ("end_users", doc.end_users, False)
    if breadth < Breadth.ORGANISATION and doc.tier != own.tier:
        excess = ("tier", doc.tier, own.tier)
    if excess is not None:
        field, value, limit = excess
        raise Forbidden(
            "A key may not have more rights than whoever writes it.", field=field, value=value, limit=limit
        )


def _excess(own: Principal, doc: KeyDoc) -> tuple[str, object, object] | None:
    """Return the first limit of the caller's own that a key would not have: its name, the key's, the caller's."""
    if own.models and not (doc.models and set(doc.models) <= set(own.models)):
        return "models", ", ".join(doc.models) or "every model", ", ".join(own.models)
    for name in MAXIMA:
        mine, theirs = getattr(own, name), getattr(doc, name)
        if mine and not 0 < theirs <= mine:
            return name, theirs, mine
    return None


def _doc(body: KeyBody, now_s: float) -> KeyDoc:
    return KeyDoc(
        id="",
        mac="",
        org=body.org,
        team=body.team,
        project=body.project,
        user=body.user,
        name=body.name,
        role=body.role,
        tier=body.tier,
        models=tuple(body.models),
        rate=body.rate.rate(),
        caps=caps_of(body.caps),
        max_input_tokens=body.max_input_tokens,
        max_output_tokens=body.max_output_tokens,
        max_request_nanos=body.max_request_nanos,
        end_users=body.end_users,
        expires_s=now_s + body.expires_in_s if body.expires_in_s else 0.0,
    )


def _changed(doc: KeyDoc, body: KeyPatch) -> KeyDoc:
    given: dict[str, object] = {name: getattr(body, name) for name in body.model_fields_set}
    if "models" in given:
        given["models"] = tuple(body.models)
    if "rate" in given:
        given["rate"] = body.rate.rate()
    if "caps" in given:
        given["caps"] = caps_of(body.caps)
    return msgspec.structs.replace(doc, **given)


def key_view(doc: KeyDoc) -> KeyView:
    """Return a key as it is shown."""
    shown = msgspec.to_builtins(doc)
    del shown["mac"]
    return KeyView.model_validate(shown)
