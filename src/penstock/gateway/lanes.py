"""How urgent a call to a model in this machine is, whose it is, and which models can what.

Promise: `x-priority` is `query` or `ingest`, anything else is refused before anything is spent; without it whoever
waits for nobody (`x-penstock-priority: low`, a line of a batch file) is `ingest`, and everybody else `query`; a key of
the tier `batch` is `ingest` whatever it says.
"""

from __future__ import annotations

from typing import Final, cast

from penstock.gateway.places import priority_in
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Invalid
from penstock.mechanisms.priorities import Priority
from penstock.ports.encoder import Lane
from penstock.ports.providers import ChatProvider, KnowsItsModels

HEADER: Final = b"x-priority"
_LANES: Final[dict[bytes, Lane]] = {b"query": "query", b"ingest": "ingest"}


def lane_of(context: RequestContext) -> Lane:
    """Return the lane a request goes in. Raises Invalid."""
    said = context.header(HEADER)
    lane: Lane = "query"
    if said is not None:
        named = _LANES.get(said.strip().lower())
        if named is None:
            raise Invalid(
                "There is no such priority.",
                code="invalid_header",
                field=HEADER.decode(),
                value=said[:64].decode("ascii", "replace"),
                limit="query, ingest",
                remedy="Send query for what somebody waits for, ingest for what runs in the background.",
            )
        lane = named
    elif priority_in(context) is Priority.LOW:
        lane = "ingest"
    return "ingest" if context.principal.tier == "batch" else lane


def tenant_of(principal: Principal) -> str:
    """Return among whom the machine is shared fairly, and who may be served what it computed before: a team."""
    return f"{principal.org}/{principal.team}"


def is_able(provider: ChatProvider, model: str, ability: str) -> bool:
    """Tell whether a model can do what its provider has the verb for."""
    if not hasattr(provider, ability):
        return False
    return not hasattr(provider, "able") or cast("KnowsItsModels", provider).able(model, ability)
