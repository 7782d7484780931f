"""Forms of keys: made, changed, rotated. A new key's token is on the one page that answers the form, and nowhere else.

Promises: a form that came back wrong holds everything that was typed, with each mistake at its field; only what was
changed is sent; what somebody else changed meanwhile is not overwritten unseen.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from penstock.console.inputs import FORM_ERRORS, Reading, fingerprint, must_be_seen, typed_dollars
from penstock.console.limits import WINDOWS, place_problem, read_caps, read_rate, typed_count, typed_limits
from penstock.console.pages.keys import OVERLAPS, must_write, show
from penstock.console.roles import fixed_for
from penstock.console.visits import Page, Visit
from penstock.kernel.context import Rate
from penstock.kernel.errors import Invalid, PenstockError
from penstock.sdk.replies import Key, KeyChange, KeyRequest, MadeKey

MODEL: Final = "local/extractive"
"""The model of the first call of a key that may use every model: it needs no account anywhere."""
MODELS_SHOWN: Final = 100
DAY_S: Final = 86_400
EXPIRES: Final = (
    ("0", "never"),
    (str(DAY_S), "in a day"),
    (str(7 * DAY_S), "in 7 days"),
    (str(30 * DAY_S), "in 30 days"),
    (str(90 * DAY_S), "in 90 days"),
    (str(365 * DAY_S), "in a year"),
)
ROLES: Final = (
    ("caller", "caller: uses models"),
    ("admin", "admin: manages its organisation"),
    ("owner", "owner: manages everything"),
)
OWNERS: Final = ("org", "team", "user")
FIELDS: Final = ("name", *OWNERS, "project", "role", "tier", "models", "expires", "end_users", "max_input_tokens",
                 "max_output_tokens", "max_request_dollars", *typed_limits(Rate(), ()))  # fmt: skip


async def blank(visit: Visit) -> Response:
    """Show the form of a new key."""
    me = visit.me
    org = visit.query("org") or me.org
    names = {"org": org, "team": me.team or "default", "project": "default", "user": me.user or "default"}
    more = {"role": "caller", "tier": "standard", "expires": "0", "models": "", "name": ""}
    return await _form(visit, typed_limits(Rate(), ()) | names | more)


async def make(visit: Visit) -> Response:
    """Make a key, and show its token this once."""
    form = await visit.form()
    reading = Reading(form)
    request = _request(reading)
    if reading.wrong:
        return await _form(visit, form, wrong=reading.wrong)
    try:
        made = await visit.client.keys.create(request)
    except FORM_ERRORS as problem:
        return await _form(visit, form, wrong=place_problem(problem, FIELDS, request.caps), problem=problem)
    return _made(visit, made)


async def edit(visit: Visit) -> Response:
    """Show the form of a key."""
    key = await visit.client.keys.get(visit.request.path_params["id"])
    must_write(visit, key)
    return await _form(visit, _typed(key), key=key)


async def change(visit: Visit) -> Response:
    """Change a key: what was changed in the form, and no more."""
    key = await visit.client.keys.get(visit.request.path_params["id"])
    form = await visit.form()
    reading = Reading(form)
    wanted = _change(reading, key)
    if reading.wrong:
        return await _form(visit, form, key=key, wrong=reading.wrong)
    if wanted == KeyChange():
        return visit.go(f"/keys/{key.id}", notice="Nothing was changed.")
    try:
        must_be_seen(form, fingerprint(key))
        await visit.client.keys.change(key.id, wanted)
    except FORM_ERRORS as problem:
        caps = wanted.caps if isinstance(wanted.caps, tuple) else ()
        wrong = place_problem(problem, FIELDS, caps)
        return await _form(visit, form, key=key, wrong=wrong, problem=problem)
    return visit.go(f"/keys/{key.id}", notice="The key is changed, everywhere within a second.")


async def rotate(visit: Visit) -> Response:
    """Make a key's successor, and show its token this once."""
    key = await visit.client.keys.get(visit.request.path_params["id"])
    reading = Reading(await visit.form())
    overlap = reading.choice("overlap", [value for value, _ in OVERLAPS], "3600")
    if reading.wrong:
        return await show(
            visit, key, problem=Invalid("Choose how long the old key goes on.", field="overlap")
        )
    try:
        made = await visit.client.keys.rotate(key.id, overlap_s=int(overlap))
    except FORM_ERRORS as problem:
        return await show(visit, key, problem=problem, opens="rotate")
    return _made(visit, made, old=key, old_ends_s=visit.console.clock.wall_s() + int(overlap))


def _request(reading: Reading) -> KeyRequest:
    """Return the key a form asks for."""
    return KeyRequest(
        name=reading.text("name"),
        org=reading.name("org"),
        team=reading.name("team"),
        project=reading.name("project"),
        user=reading.name("user"),
        role=reading.choice("role", [value for value, _ in ROLES], "caller"),
        tier=reading.name("tier") if "tier" in reading.form else "standard",
        models=reading.lines("models"),
        rate=read_rate(reading),
        caps=read_caps(reading),
        max_input_tokens=reading.count("max_input_tokens"),
        max_output_tokens=reading.count("max_output_tokens"),
        max_request_nanos=reading.dollars("max_request_dollars") or 0,
        expires_in_s=int(reading.choice("expires", [value for value, _ in EXPIRES], "0")),
        end_users=reading.form.get("end_users", "") == "yes",
    )


def _change(reading: Reading, key: Key) -> KeyChange:
    """Return what a form changes of a key."""
    wanted: dict[str, object] = {
        "name": reading.text("name"),
        "models": reading.lines("models"),
        "rate": read_rate(reading),
        "caps": read_caps(reading),
        "max_input_tokens": reading.count("max_input_tokens"),
        "max_output_tokens": reading.count("max_output_tokens"),
        "max_request_nanos": reading.dollars("max_request_dollars") or 0,
    }
    order = list(WINDOWS)
    now = msgspec.structs.replace(key, caps=tuple(sorted(key.caps, key=lambda cap: order.index(cap.window))))
    changed = {name: value for name, value in wanted.items() if value != getattr(now, name)}
    return msgspec.structs.replace(KeyChange(), **changed)


def _typed(key: Key) -> dict[str, str]:
    """Return the form that holds a key as it is."""
    return {
        "name": key.name,
        "models": "\n".join(key.models),
        "max_input_tokens": typed_count(key.max_input_tokens),
        "max_output_tokens": typed_count(key.max_output_tokens),
        "max_request_dollars": typed_dollars(key.max_request_nanos) if key.max_request_nanos else "",
        **typed_limits(key.rate, key.caps),
    }


async def _form(
    visit: Visit,
    typed: Mapping[str, str],
    *,
    key: Key | None = None,
    wrong: Mapping[str, str] | None = None,
    problem: PenstockError | None = None,
) -> Response:
    """Show the form of a key, a new one when there is none yet."""
    models = await _models(visit)
    return visit.render(
        "pages/key_form.html",
        status=problem.status if problem else 400 if wrong else 200,
        key=key,
        typed=typed,
        wrong=wrong or {},
        problem=problem,
        seen=fingerprint(key),
        fixed=fixed_for(visit.me.role),
        roles=ROLES if visit.may("write keys of admins and owners") else (),
        expires=EXPIRES,
        models=models[:MODELS_SHOWN],
        models_more=max(0, len(models) - MODELS_SHOWN),
    )


def _made(visit: Visit, made: MadeKey, *, old: Key | None = None, old_ends_s: float = 0.0) -> Response:
    """Show a new key's token, with the command that tries it; of a rotated key, when the old one ends."""
    return visit.render(
        "pages/key_made.html",
        status=201,
        key=made.key,
        token=made.token,
        curl=first_call(visit.origin, made),
        old=old,
        old_ends_s=old_ends_s,
    )


def first_call(origin: str, made: MadeKey) -> str:
    """Return the command that asks a model under a new key; whatever a model is called, it stays one word."""
    question = {"role": "user", "content": "The gate opens at nine. When does the gate open?"}
    body = {"model": made.key.models[0] if made.key.models else MODEL, "messages": [question]}
    return (
        f"curl {shlex.quote(f'{origin}/v1/chat/completions')} \\\n"
        f"  -H {shlex.quote(f'Authorization: Bearer {made.token}')} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body))}"
    )


async def _models(visit: Visit) -> tuple[str, ...]:
    """Return the models there are; none where they cannot be asked for."""
    try:
        return tuple(sorted(model.id for model in await visit.client.models.list()))
    except PenstockError:  # the list is a help: the form works without it
        return ()


PAGES: Final = (
    Page(path="/keys/new", serve=blank, needs="write keys"),
    Page(path="/keys/new", serve=make, needs="write keys", method="POST"),
    Page(path="/keys/{id}/edit", serve=edit, needs="write keys"),
    Page(path="/keys/{id}/edit", serve=change, needs="write keys", method="POST"),
    Page(path="/keys/{id}/rotate", serve=rotate, needs="write keys", method="POST"),
)
