"""Which requests are meant, as a query says it and as far as its caller reaches.

Promises: what a caller does not reach is left out by the filter itself, before anything is counted or paged; a name
that is empty never widens anybody's reach; a filter that can only match what is out of reach matches nothing, as does
one that matches nothing within; a member that does not exist is refused, since a misspelt filter would show too much.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Final, Literal

from fastapi import Query
from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field

from penstock.gateway.management.reach import EVERY_ORG, must_reach
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.roles import Breadth, reach_of
from penstock.ports.traces import TraceFilter

LATEST_S: Final = 9_999_999_999
Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
At = Annotated[
    float, Field(ge=0, le=LATEST_S, allow_inf_nan=False, description="Seconds since 1970; 0 is no bound.")
]


class Filter(BaseModel):
    """Which requests; what is empty admits all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    org: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^(\*|[A-Za-z0-9._-]*)$",
            description="Empty: the caller's own. `*`: every organisation, for owners.",
        ),
    ] = ""
    team: Text = ""
    project: Text = ""
    user: Text = ""
    key_id: Text = ""
    feature: Text = ""
    model: Annotated[Text, Field(description="The model served, or the one asked for when none was.")] = ""
    provider: Text = ""
    outcome: Literal["", "ok", "refused", "failed"] = ""
    since_s: At = 0.0
    until_s: Annotated[At, Field(description="Seconds since 1970, outside; 0 is no bound.")] = 0.0


class PageFilter(Filter):
    """The same, a page at a time."""

    after: Annotated[
        Text, Field(description="The `after` of the page before; empty begins at the latest.")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50


Which = Annotated[Filter, Query()]
WhichPage = Annotated[PageFilter, Query()]


def within_reach(principal: Principal, asked: Filter) -> TraceFilter | None:
    """Return the filter narrowed to what the caller reaches, None when nothing can match.

    Raises Forbidden for a foreign organisation, Invalid for a period that ends before it begins.
    """
    if asked.until_s and asked.until_s < asked.since_s:
        raise Invalid(
            "The period ends before it begins.", field="until_s", value=asked.until_s, limit=asked.since_s
        )
    reach = reach_of(principal)
    wanted = TraceFilter(**asked.model_dump(include=set(TraceFilter.__struct_fields__)))
    if reach.breadth is Breadth.PLATFORM:
        org = "" if asked.org == EVERY_ORG else asked.org or principal.org
        return structs.replace(wanted, org=org)
    own = {"org": must_reach(principal, asked.org)}
    if reach.breadth is None:
        return None
    if reach.breadth <= Breadth.TEAM:
        own["team"] = reach.team
    if reach.breadth <= Breadth.SELF:
        own["user"] = reach.user
    for name, value in own.items():
        # An empty name would ask for all of its level.
        if not value or getattr(wanted, name) not in {"", value}:
            return None
    return structs.replace(wanted, **own)


def admitting(wanted: TraceFilter) -> Callable[[RequestEvent], bool]:
    """Return the filter as a question about one event: what it does not ask for costs nothing (0.1 µs where it asks
    for a name or two; a live view asks it of every request of the process).
    """
    named = {name: value for name, value in structs.asdict(wanted).items() if value}
    if "since_s" in named or "until_s" in named:
        return wanted.admits
    if not named:
        return lambda _event: True
    if "model" in named:
        named["model_served"] = named.pop("model")
    read, *values = attrgetter(*named), *named.values()
    sought = values[0] if len(values) == 1 else tuple(values)
    return lambda event: read(event) == sought
