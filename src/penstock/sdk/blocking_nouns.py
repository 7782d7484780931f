"""The nouns and streams of the client without `async`; see `sdk/blocking.py`.

Promises: those of `sdk/nouns` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

from typing import TypeVar, Unpack

from penstock.sdk.answers import Answer, Chunk, TokenUsage
from penstock.sdk.background import Background, BlockingCalls, BlockingStream
from penstock.sdk.nouns.chat import ChatCalls, ChatStream, Messages, ModelCalls
from penstock.sdk.nouns.keys import KeyCalls
from penstock.sdk.nouns.money import BudgetCalls, LedgerCalls, PriceCalls, ScopeCalls, UsageCalls
from penstock.sdk.nouns.people import ChangeCalls, PeopleCalls, SessionCalls
from penstock.sdk.nouns.sight import CostCalls, OverviewCalls, RequestCalls, SettingCalls
from penstock.sdk.people import (
    ChangeView,
    Invited,
    InviteRequest,
    LinkSignIn,
    OidcSignIn,
    OidcStarted,
    OidcView,
    PersonChange,
    PersonView,
    SessionMade,
    SessionView,
    SignIn,
)
from penstock.sdk.replies import (
    Budget,
    Key,
    KeyChange,
    KeyRequest,
    LedgerReport,
    MadeKey,
    Model,
    ModelPrice,
    ScopeLimits,
    ScopeRequest,
    Usage,
)
from penstock.sdk.requests import Costs, Filter, Overview, RequestDetail, RequestPage, RequestView, Settings
from penstock.sdk.streams import Live

T = TypeVar("T")


class BlockingLive(BlockingStream[T]):
    """What happens, as it happens. It has no end of its own; it ends when the server drains."""

    def __init__(self, background: Background, stream: Live[T]) -> None:
        """Read `stream`."""
        super().__init__(background, stream)
        self._source = stream

    @property
    def skipped(self) -> int:
        """How many the server left out, because more came than it tells."""
        return self._source.skipped


class BlockingChatStream(BlockingStream[Chunk]):
    """An answer as it is written. What headers tell is here once it is entered; `usage` when the last chunk came."""

    def __init__(self, background: Background, stream: ChatStream) -> None:
        """Read `stream`."""
        super().__init__(background, stream)
        self._source = stream

    @property
    def request_id(self) -> str:
        """The request's id, which `requests.get` takes."""
        return self._source.request_id

    @property
    def route(self) -> str:
        """The back end that answers."""
        return self._source.route

    @property
    def cost_nanos(self) -> int | None:
        """What it cost, if its headers told; else `requests.get(request_id)` does after its end."""
        return self._source.cost_nanos

    @property
    def usage(self) -> TokenUsage | None:
        """The tokens, once the chunk came that tells them."""
        return self._source.usage


class BlockingChatCalls(BlockingCalls[ChatCalls]):
    """Ask a model."""

    def create(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = 610.0,
        **parameters: object,
    ) -> Answer:
        """Return the whole answer. `feature` tags the request for the cost explorer; `parameters` are OpenAI's."""
        work = self._calls.create(
            model=model,
            messages=messages,
            feature=feature,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            timeout_s=timeout_s,
            **parameters,
        )
        return self._run(work)

    def stream(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = 610.0,
        **parameters: object,
    ) -> BlockingChatStream:
        """Return the answer as it is written, to be entered, read and left: ``with``. Usage is asked for."""
        stream = self._calls.stream(
            model=model,
            messages=messages,
            feature=feature,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            timeout_s=timeout_s,
            **parameters,
        )
        return BlockingChatStream(self._background, stream)


class BlockingModelCalls(BlockingCalls[ModelCalls]):
    """The models that this key may use."""

    def list(self) -> tuple[Model, ...]:
        """Return them."""
        return self._run(self._calls.list())


class BlockingKeyCalls(BlockingCalls[KeyCalls]):
    """The keys within reach."""

    def create(self, request: KeyRequest) -> MadeKey:
        """Make a key; its token is shown only here."""
        return self._run(self._calls.create(request))

    def list(self, org: str = "") -> tuple[Key, ...]:
        """Return every key of an organisation ("" is the caller's own)."""
        return self._run(self._calls.list(org))

    def get(self, key_id: str) -> Key:
        """Return one key. Raises NotFound."""
        return self._run(self._calls.get(key_id))

    def change(self, key_id: str, change: KeyChange) -> Key:
        """Change a key; what is not given stays. Raises StaleVersion when somebody else changed it meanwhile."""
        return self._run(self._calls.change(key_id, change))

    def revoke(self, key_id: str) -> Key:
        """Revoke a key now, everywhere within a second."""
        return self._run(self._calls.revoke(key_id))

    def rotate(self, key_id: str, *, overlap_s: int = 3600) -> MadeKey:
        """Make a key with the same rights; the old one goes on for `overlap_s` seconds."""
        return self._run(self._calls.rotate(key_id, overlap_s=overlap_s))


class BlockingScopeCalls(BlockingCalls[ScopeCalls]):
    """The limits of organisations, teams, projects and users."""

    def put(self, request: ScopeRequest) -> ScopeLimits:
        """Set the limits of one level, replacing what was set there."""
        return self._run(self._calls.put(request))

    def list(self, level: str, org: str = "") -> tuple[ScopeLimits, ...]:
        """Return every configured scope of one level."""
        return self._run(self._calls.list(level, org))

    def get(
        self,
        level: str,
        *,
        org: str = "",
        team: str = "",
        project: str = "",
        user: str = "",
    ) -> ScopeLimits:
        """Return the limits of one scope. Raises NotFound where none are set."""
        work = self._calls.get(
            level,
            org=org,
            team=team,
            project=project,
            user=user,
        )
        return self._run(work)


class BlockingBudgetCalls(BlockingCalls[BudgetCalls]):
    """Budgets and what they have left."""

    def list(self, org: str = "") -> tuple[Budget, ...]:
        """Return every budget of an organisation."""
        return self._run(self._calls.list(org))


class BlockingUsageCalls(BlockingCalls[UsageCalls]):
    """What accounts were charged."""

    def list(self, org: str = "", prefix: str = "") -> tuple[Usage, ...]:
        """Return the accounts of an organisation whose names go on with `prefix` after ``org:NAME``.

        All of them is asked for in two parts, ``@`` its own and ``/`` those below it, so that an organisation whose
        name begins alike never fills a page.
        """
        return self._run(self._calls.list(org, prefix))


class BlockingPriceCalls(BlockingCalls[PriceCalls]):
    """What a token costs here, today."""

    def list(self, provider: str = "", model: str = "") -> tuple[ModelPrice, ...]:
        """Return the prices in force; `model` is any part of a name."""
        return self._run(self._calls.list(provider, model))


class BlockingLedgerCalls(BlockingCalls[LedgerCalls]):
    """The books."""

    def verify(self) -> LedgerReport:
        """Have the server walk its whole ledger: hash chains, conservation, balances."""
        return self._run(self._calls.verify())


class BlockingPeopleCalls(BlockingCalls[PeopleCalls]):
    """Those who sign in."""

    def list(self, org: str = "") -> tuple[PersonView, ...]:
        """Return everybody of an organisation within reach."""
        return self._run(self._calls.list(org))

    def invite(self, request: InviteRequest) -> Invited:
        """Invite somebody; the token of their one-time link is shown only here."""
        return self._run(self._calls.invite(request))

    def change(self, person_id: str, change: PersonChange) -> PersonView:
        """Change somebody's role, team or name; what is not given stays."""
        return self._run(self._calls.change(person_id, change))

    def link(self, person_id: str) -> Invited:
        """Make a new one-time link; an older one stops working."""
        return self._run(self._calls.link(person_id))

    def disable(self, person_id: str) -> PersonView:
        """Shut somebody out; their sessions end."""
        return self._run(self._calls.disable(person_id))

    def enable(self, person_id: str) -> PersonView:
        """Let somebody in again."""
        return self._run(self._calls.enable(person_id))

    def sessions(self, person_id: str) -> tuple[SessionView, ...]:
        """Return somebody's living sessions."""
        return self._run(self._calls.sessions(person_id))

    def end_sessions(self, person_id: str) -> PersonView:
        """End every session of somebody."""
        return self._run(self._calls.end_sessions(person_id))


class BlockingSessionCalls(BlockingCalls[SessionCalls]):
    """Signing in and out. `client.under(made.token)` then acts for whoever signed in."""

    def sign_in(self, given: SignIn) -> SessionMade:
        """Sign in with a password. Raises Unauthenticated."""
        return self._run(self._calls.sign_in(given))

    def accept(self, given: LinkSignIn) -> SessionMade:
        """Use a one-time link, set a password, and be signed in."""
        return self._run(self._calls.accept(given))

    def oidc(self) -> OidcView:
        """Return whether people can sign in through an OpenID provider, and what it is called."""
        return self._run(self._calls.oidc())

    def begin_oidc(self, redirect_uri: str) -> OidcStarted:
        """Return where to send the browser, and what to keep until it comes back to `redirect_uri`."""
        return self._run(self._calls.begin_oidc(redirect_uri))

    def finish_oidc(self, given: OidcSignIn) -> SessionMade:
        """Sign in with what came back from the OpenID provider."""
        return self._run(self._calls.finish_oidc(given))

    def list(self) -> tuple[SessionView, ...]:
        """Return one's own living sessions."""
        return self._run(self._calls.list())

    def sign_out(self) -> None:
        """End the session whose token this client holds."""
        return self._run(self._calls.sign_out())

    def end(self, session_id: str) -> None:
        """End one of one's own sessions."""
        return self._run(self._calls.end(session_id))


class BlockingChangeCalls(BlockingCalls[ChangeCalls]):
    """Who changed what."""

    def list(
        self,
        *,
        org: str = "",
        actor: str = "",
        subject: str = "",
        action: str = "",
        after: str = "",
        limit: int = 100,
    ) -> tuple[ChangeView, ...]:
        """Return a page of changes, the latest first; `after` is the last id of the page before."""
        work = self._calls.list(
            org=org,
            actor=actor,
            subject=subject,
            action=action,
            after=after,
            limit=limit,
        )
        return self._run(work)


class BlockingRequestCalls(BlockingCalls[RequestCalls]):
    """Requests, one by one."""

    def list(self, *, after: str = "", limit: int = 50, **which: Unpack[Filter]) -> RequestPage:
        """Return a page of at most `limit` (<= 200) requests, the latest first; its `after` asks for the next."""
        return self._run(self._calls.list(after=after, limit=limit, **which))

    def get(self, request_id: str) -> RequestDetail:
        """Return a request with its spans. Raises NotFound."""
        return self._run(self._calls.get(request_id))

    def live(self, **which: Unpack[Filter]) -> BlockingLive[RequestView]:
        """Return requests as they end, at most 20 a second (`skipped` counts the rest): ``with``."""
        return BlockingLive(self._background, self._calls.live(**which))


class BlockingCostCalls(BlockingCalls[CostCalls]):
    """What requests cost together."""

    def get(self, *by: str, **which: Unpack[Filter]) -> Costs:
        """Return sums by one or two of hour, day, org, team, project, user, key_id, feature, model, provider, outcome.

        Without a period: the last 30 days, or 48 hours when `by` has hour.
        """
        return self._run(self._calls.get(*by, **which))


class BlockingOverviewCalls(BlockingCalls[OverviewCalls]):
    """How things are now."""

    def get(self, org: str = "") -> Overview:
        """Return spending, what breaks first, latency, errors and the latest requests."""
        return self._run(self._calls.get(org))

    def live(self, org: str = "") -> BlockingLive[Overview]:
        """Return the overview each time it changes, at most twice a second: ``with``."""
        return BlockingLive(self._background, self._calls.live(org))


class BlockingSettingCalls(BlockingCalls[SettingCalls]):
    """How the platform is set."""

    def get(self) -> Settings:
        """Return every setting in force; secrets are three stars."""
        return self._run(self._calls.get())
