"""The nouns of the client without `async`; see `sdk/blocking.py`.

Promises: those of `sdk/nouns` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

from typing import Unpack

from penstock.sdk.background import BlockingCalls
from penstock.sdk.contents import Content, ContentDecision, ContentRule, ContentRules, Forgetting, Forgotten
from penstock.sdk.nouns.cache import CacheCalls
from penstock.sdk.nouns.chat import ModelCalls
from penstock.sdk.nouns.contents import ContentCalls
from penstock.sdk.nouns.keys import KeyCalls
from penstock.sdk.nouns.money import BudgetCalls, LedgerCalls, PriceCalls, ScopeCalls, UsageCalls
from penstock.sdk.nouns.oversight import AlertCalls, AuditCalls, InvoiceCalls
from penstock.sdk.nouns.people import ChangeCalls, PeopleCalls, SessionCalls
from penstock.sdk.nouns.sight import CostCalls, SettingCalls
from penstock.sdk.oversight import (
    AlertRule,
    Alerts,
    AuditAnswer,
    AuditLake,
    AuditQuery,
    CostForecast,
    Deliveries,
    Invoice,
    Reconciled,
    Tried,
)
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
    SealView,
    SessionMade,
    SessionView,
    SignIn,
)
from penstock.sdk.replies import (
    Budget,
    CacheFigures,
    Key,
    KeyChange,
    KeyRequest,
    LedgerReport,
    MadeKey,
    Model,
    ModelPrice,
    PromptCacheRow,
    Purge,
    Purged,
    ScopeLimits,
    ScopeRequest,
    Usage,
)
from penstock.sdk.requests import Costs, Filter, Settings


class BlockingCacheCalls(BlockingCalls[CacheCalls]):
    """Answers that are kept."""

    def status(self, org: str = "") -> CacheFigures:
        """Return how the cache serves an organisation. Raises NotFound where no answers are kept."""
        return self._run(self._calls.status(org))

    def prompts(self, org: str = "") -> tuple[PromptCacheRow, ...]:
        """Return what vendors' own caches of prompts saved an organisation, the most first."""
        return self._run(self._calls.prompts(org))

    def purge(self, request: Purge) -> Purged:
        """Forget answers, on every node within a second. Raises NotFound where no answers are kept."""
        return self._run(self._calls.purge(request))


class BlockingModelCalls(BlockingCalls[ModelCalls]):
    """The models that this key may use."""

    def list(self) -> tuple[Model, ...]:
        """Return them."""
        return self._run(self._calls.list())


class BlockingContentCalls(BlockingCalls[ContentCalls]):
    """Prompts and answers, as far as their teams let them be known."""

    def rules(self, org: str = "") -> ContentRules:
        """Return what an organisation's teams let be known. Raises NotFound where nothing is known of any."""
        return self._run(self._calls.rules(org))

    def decide(self, request: ContentDecision) -> ContentRule:
        """Decide what a team lets be known, on every node within seconds."""
        return self._run(self._calls.decide(request))

    def read(self, request_id: str, org: str = "") -> Content:
        """Return what was kept of a request; that you read it is written down. Raises NotFound."""
        return self._run(self._calls.read(request_id, org))

    def forget(self, request: Forgetting) -> Forgotten:
        """Make contents unreadable for ever, for everybody. Raises NotFound where none are kept."""
        return self._run(self._calls.forget(request))


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


class BlockingAuditCalls(BlockingCalls[AuditCalls]):
    """The audit of requests, in SQL."""

    def about(self, org: str = "") -> AuditLake:
        """Return whether records are kept, and from when to when."""
        return self._run(self._calls.about(org))

    def query(self, request: AuditQuery) -> AuditAnswer:
        """Answer one SELECT about the table `audit`. Raises Invalid, NotFound where there is no lake, Overloaded."""
        return self._run(self._calls.query(request))


class BlockingAlertCalls(BlockingCalls[AlertCalls]):
    """Alerts."""

    def list(self, org: str = "") -> Alerts:
        """Return what stands and the latest of what was resolved; owners who name no one get all."""
        return self._run(self._calls.list(org))

    def rules(self) -> tuple[AlertRule, ...]:
        """Return every rule as it is in force."""
        return self._run(self._calls.rules())

    def deliveries(self, org: str = "") -> Deliveries:
        """Return who is told of an organisation, and the latest messages; owners who name no one see everybody."""
        return self._run(self._calls.deliveries(org))

    def test(self, org: str = "") -> Tried:
        """Send a message to everybody who is told of an organisation."""
        return self._run(self._calls.test(org))


class BlockingInvoiceCalls(BlockingCalls[InvoiceCalls]):
    """Invoices of vendors."""

    def reconcile(self, request: Invoice) -> Reconciled:
        """Compare an invoice with what was settled on its days. Raises Invalid naming the line that is none."""
        return self._run(self._calls.reconcile(request))


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

    def verify(self, *, org: str = "", head: str = "") -> SealView:
        """Return whether an organisation's changes are as they were made; `head` is one that was noted once."""
        return self._run(self._calls.verify(org=org, head=head))


class BlockingCostCalls(BlockingCalls[CostCalls]):
    """What requests cost together."""

    def get(self, *by: str, **which: Unpack[Filter]) -> Costs:
        """Return sums by one or two of hour, day, org, team, project, user, key_id, feature, model, provider, outcome.

        Without a period: the last 30 days, or 48 hours when `by` has hour.
        """
        return self._run(self._calls.get(*by, **which))

    def chargeback(self, since: str, until: str, org: str = "") -> str:
        """Return a CSV of what each team, project, user and model cost on the UTC days `since` to `until`
        (``YYYY-MM-DD``), both included.
        """
        return self._run(self._calls.chargeback(since, until, org))

    def forecast(self, org: str = "") -> CostForecast:
        """Return what an organisation's day and month come to."""
        return self._run(self._calls.forecast(org))


class BlockingSettingCalls(BlockingCalls[SettingCalls]):
    """How the platform is set."""

    def get(self) -> Settings:
        """Return every setting in force; secrets are three stars."""
        return self._run(self._calls.get())
