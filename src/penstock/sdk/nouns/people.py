"""People, their sessions, and what everybody changed."""

from __future__ import annotations

from penstock.sdk.calls import Calls, inside
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


class PeopleCalls(Calls):
    """Those who sign in."""

    async def list(self, org: str = "") -> tuple[PersonView, ...]:
        """Return everybody of an organisation within reach."""
        return await self._rows("/people", tuple[PersonView, ...], lambda person: person.id, {"org": org})

    async def invite(self, request: InviteRequest) -> Invited:
        """Invite somebody; the token of their one-time link is shown only here."""
        return await self._ask("POST", "/people", Invited, body=request)

    async def change(self, person_id: str, change: PersonChange) -> PersonView:
        """Change somebody's role, team or name; what is not given stays."""
        return await self._ask("PATCH", inside("people", person_id), PersonView, body=change)

    async def link(self, person_id: str) -> Invited:
        """Make a new one-time link; an older one stops working."""
        return await self._ask("POST", inside("people", person_id, "link"), Invited)

    async def disable(self, person_id: str) -> PersonView:
        """Shut somebody out; their sessions end."""
        return await self._ask("POST", inside("people", person_id, "disable"), PersonView)

    async def enable(self, person_id: str) -> PersonView:
        """Let somebody in again."""
        return await self._ask("POST", inside("people", person_id, "enable"), PersonView)

    async def sessions(self, person_id: str) -> tuple[SessionView, ...]:
        """Return somebody's living sessions."""
        return await self._ask("GET", inside("people", person_id, "sessions"), tuple[SessionView, ...])

    async def end_sessions(self, person_id: str) -> PersonView:
        """End every session of somebody."""
        return await self._ask("DELETE", inside("people", person_id, "sessions"), PersonView)


class SessionCalls(Calls):
    """Signing in and out. `client.under(made.token)` then acts for whoever signed in."""

    async def sign_in(self, given: SignIn) -> SessionMade:
        """Sign in with a password. Raises Unauthenticated."""
        return await self._ask("POST", "/sessions", SessionMade, body=given)

    async def accept(self, given: LinkSignIn) -> SessionMade:
        """Use a one-time link, set a password, and be signed in."""
        return await self._ask("POST", "/sessions/link", SessionMade, body=given)

    async def oidc(self) -> OidcView:
        """Return whether people can sign in through an OpenID provider, and what it is called."""
        return await self._ask("GET", "/sessions/oidc", OidcView)

    async def begin_oidc(self, redirect_uri: str) -> OidcStarted:
        """Return where to send the browser, and what to keep until it comes back to `redirect_uri`."""
        return await self._ask("POST", "/sessions/oidc", OidcStarted, body={"redirect_uri": redirect_uri})

    async def finish_oidc(self, given: OidcSignIn) -> SessionMade:
        """Sign in with what came back from the OpenID provider."""
        return await self._ask("POST", "/sessions/oidc/code", SessionMade, body=given)

    async def list(self) -> tuple[SessionView, ...]:
        """Return one's own living sessions."""
        return await self._ask("GET", "/sessions", tuple[SessionView, ...])

    async def sign_out(self) -> None:
        """End the session whose token this client holds."""
        await self._tell("DELETE", "/sessions/current")

    async def end(self, session_id: str) -> None:
        """End one of one's own sessions."""
        await self._tell("DELETE", inside("sessions", session_id))


class ChangeCalls(Calls):
    """Who changed what."""

    async def list(
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
        query = {"org": org, "actor": actor, "subject": subject, "action": action, "after": after}
        return await self._ask("GET", "/changes", tuple[ChangeView, ...], query={**query, "limit": limit})

    async def verify(self, *, org: str = "", head: str = "") -> SealView:
        """Return whether an organisation's changes are as they were made; `head` is one that was noted once."""
        return await self._ask("GET", "/changes/seals", SealView, query={"org": org, "head": head})
