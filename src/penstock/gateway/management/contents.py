"""Contents: what each team lets be known of them, reading what was kept of one request, and having it forgotten.

Promises: a content is shown to whoever reaches the one who asked, after it was written down who reads it; one that is
out of reach, was never kept or was forgotten looks the same; what was forgotten is read by nobody any more, and takes
nothing from the audit of requests or the ledger.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, Field

from penstock.gateway.contents import ContentCare
from penstock.gateway.management.bodies import Body
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Id, Org, must_hold, must_reach
from penstock.kernel.errors import Invalid, NotFound
from penstock.mechanisms.changes import Told
from penstock.mechanisms.contents.rules import DEFAULT, Mode
from penstock.mechanisms.contents.store import ContentStore, not_kept
from penstock.mechanisms.roles import Action, Breadth, reach_of

ROUTES: Final = Routes("contents")
OrgName = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")]
TeamName = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")]


class ContentRule(BaseModel):
    """What a team lets be known of its contents: `none`, keyed `hash`es, or all of it (`full`); team "" is every team
    without a rule of its own.
    """

    team: str
    mode: Mode


class ContentRules(BaseModel):
    """An organisation's rules; `most` is the most that is known of anybody here, `default` counts without a rule."""

    org: str
    most: Mode
    default: Mode
    rules: list[ContentRule]


class RuleBody(Body):
    """The rule of a team, or with "" of every team of the organisation that has none."""

    org: OrgName = ""
    team: TeamName = ""
    mode: Mode


class ContentView(BaseModel):
    """What was asked and answered, as text in the dialect `face`; an answer that never came is empty."""

    request_id: str
    org: str
    team: str
    user: str
    face: str
    prompt: str
    answer: str


class ForgetBody(Body):
    """Whose contents to forget: a `user`'s, or `everything` of the organisation; one of them."""

    org: OrgName = ""
    user: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    everything: bool = False


class Forgotten(BaseModel):
    """How many keys are gone, and with each what it had sealed: one a person and day."""

    keys: int


@ROUTES.add("GET", "/contents/rules", needs=Action.READ_CONTENT_RULES, refuses=[404])
async def rules(by: By, api: Api, org: Org = "") -> ContentRules:
    """Tell what an organisation's teams let be known of their contents; within a team, that team's."""
    own, care = must_reach(by.principal, org), _contents(api)
    reach = reach_of(by.principal)
    shown = [
        ContentRule(team=team, mode=mode)
        for team, mode in care.rules.of(own)
        if reach.breadth is not Breadth.TEAM or team in ("", reach.team)
    ]
    return ContentRules(org=own, most=care.most, default=DEFAULT, rules=shown)


@ROUTES.add("PUT", "/contents/rules", needs=Action.WRITE_CONTENT_RULES, refuses=[404])
async def decide(body: RuleBody, by: By, api: Api) -> ContentRule:
    """Decide what a team lets be known of its contents; felt at once here, within seconds on every node."""
    own = must_reach(by.principal, body.org)
    must_hold(by.principal, own, body.team)
    await _contents(api).rules.put(own, body.team, body.mode, by=by.author())
    return ContentRule(team=body.team, mode=body.mode)


@ROUTES.add("GET", "/requests/{request_id}/content", needs=Action.READ_PAYLOADS, refuses=[404])
async def read(request_id: Id, by: By, api: Api, org: Org = "") -> ContentView:
    """Show what was asked and answered in one request, where it was kept; whoever reads is written down first."""
    own = must_reach(by.principal, org)
    kept = await _store(api).read(own, request_id)
    if not reach_of(by.principal).holds(own, kept.team, kept.user):
        raise not_kept(request_id)
    told = Told(action="content.read", subject=request_id, org=own, team=kept.team)
    await api.changes.tell(by.author(), told, api.clock.wall_s())
    return ContentView(
        request_id=request_id,
        org=own,
        team=kept.team,
        user=kept.user,
        face=kept.face,
        prompt=kept.prompt.decode(errors="replace"),
        answer=kept.answer.decode(errors="replace"),
    )


@ROUTES.add("POST", "/contents/forget", needs=Action.FORGET_CONTENTS, refuses=[404])
async def forget(body: ForgetBody, by: By, api: Api) -> Forgotten:
    """Make contents unreadable for ever, for everybody: the keys that sealed them are deleted."""
    own, store = must_reach(by.principal, body.org), _store(api)
    if (body.user is None) is not body.everything:
        raise Invalid("Name a user, or everything: one of them.", field="user", value=body.user)
    told = Told(action="content.forget", subject=body.user or own, org=own)
    await api.changes.tell(by.author(), told, api.clock.wall_s())
    return Forgotten(keys=await store.forget(own, user=body.user))


def _contents(api: Management) -> ContentCare:
    if api.contents is None:
        raise NotFound(
            "Nothing is known of contents here.",
            code="contents_off",
            field="contents.most",
            remedy="Set it to hash or full.",
        )
    return api.contents


def _store(api: Management) -> ContentStore:
    store = _contents(api).store
    if store is None:
        raise NotFound(
            "No contents are kept here.",
            code="contents_off",
            field="contents.most",
            remedy="Set it to full.",
        )
    return store
