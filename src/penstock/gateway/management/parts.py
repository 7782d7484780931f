"""What the routes of the management API work with, as one value that wiring fills.

Promise: a route reaches nothing that is not named here; what a deployment does not have (no traces kept, no OpenID
provider) is None, and its routes say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from penstock.edge.identity import Begun, Identity
from penstock.gateway.contents import ContentCare
from penstock.gateway.management.oversight_part import OversightPart
from penstock.gateway.management.routing_part import RoutingPart
from penstock.gateway.management.sight import Sight
from penstock.gateway.rollouts import Canaries
from penstock.gateway.semantic import SemanticCache
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.answer_cache import AnswerCache
from penstock.mechanisms.changes import Changes
from penstock.mechanisms.feedback import Feedback
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.people import People
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.prompt_savings import PromptSavings
from penstock.mechanisms.recent import Recent
from penstock.mechanisms.sessions import Sessions
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import Ledger
from penstock.ports.traces import Traces
from penstock.sdk.replies import Status


class OidcDoor(Protocol):
    """Sign-in through an OpenID provider (OpenID Connect Core 1.0, authorization code with PKCE)."""

    @property
    def name(self) -> str:
        """What the button says."""
        ...

    async def begin(self, redirect_uri: str) -> Begun:
        """Return where to send the browser; Invalid for an address that is not the console's, Unavailable."""
        ...

    async def finish(self, *, code: str, state: str, kept: str, redirect_uri: str) -> Identity:
        """Return who came back; Unauthenticated unless all of it belongs to one `begin`, Unavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """Everything the routes use. `status` and `dropped` are asked anew each time; the latter counts what was let go."""

    clock: Clock
    settings: Settings
    tenancy: Tenancy
    people: People
    sessions: Sessions
    changes: Changes
    ledger: Ledger
    headroom: Headroom
    prices: PriceBook
    feedback: Feedback
    status: Callable[[], Status]
    dropped: Callable[[], dict[str, int]]
    settings_file: str = ""
    traces: Traces | None = None
    recent: Recent | None = None
    oidc: OidcDoor | None = None
    sight: Sight = field(default_factory=Sight)
    routing: RoutingPart | None = None
    canaries: Canaries | None = None
    answers: AnswerCache | None = None
    semantic: SemanticCache | None = None
    prompt_savings: PromptSavings = field(default_factory=PromptSavings)
    oversight: OversightPart | None = None
    contents: ContentCare | None = None

    def today(self) -> datetime:
        """Return the current UTC time."""
        return datetime.fromtimestamp(self.clock.wall_s(), UTC)


def management_of(request: Request) -> Management:
    """Return what the application was built over."""
    return request.app.state.management


Api = Annotated[Management, Depends(management_of)]
