"""From a token to a `Principal`: of `Authorization`, or where a vendor's SDK puts it when it asks for models.

    pen-…    a key            mechanisms/tenancy
    pens-…   a person         mechanisms/sessions
    eyJ…     a machine's JWT  edge/machines, when an issuer is configured

Promises: the scheme is `Bearer` (RFC 6750 §2.1), or the header is the one of Anthropic's (`x-api-key`) or Google's
(`x-goog-api-key`) SDKs; never the address, which is logged on its way; a token's start alone decides who is asked about
it; whoever is known costs one keyed digest and no await; the policy of the route is met or the request refused; the
token appears in no error, log or trace.
"""

from __future__ import annotations

from typing import Protocol

from penstock.edge.caller import ANYONE, Caller
from penstock.edge.routes import Policy
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Unauthenticated
from penstock.mechanisms.roles import Action, Role, may
from penstock.mechanisms.sessions import TOKEN_START as SESSION_START
from penstock.mechanisms.sessions import Sessions
from penstock.mechanisms.tenancy import TOKEN_START as KEY_START
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.request import Request

JWT_START = b"eyJ"
"""How the base64url of `{"` begins: every JWT's header does."""
_NEEDS = {
    Policy.CALLER: Action.USE_MODELS,
    Policy.METRICS: Action.READ_METRICS,
}
# The table of roles turned over once, so that the check of each request is one look-up.
_ADMITS = {
    policy: frozenset(str(each) for each in Role if may(each, action)) for policy, action in _NEEDS.items()
}
# Of the hot path by name: to look a member of an enumeration up, and to hash it, costs more than all the rest.
_CALLER, _PUBLIC, _DECLARED = Policy.CALLER, Policy.PUBLIC, Policy.DECLARED
_CALLERS = _ADMITS[_CALLER]
_SDK_HEADERS = (b"x-api-key", b"x-goog-api-key")
"""Where Anthropic's and Google's SDKs put a key."""


class Machines(Protocol):
    """Who knows the tokens of machines."""

    def known(self, token: bytes) -> Principal | None:
        """Return the caller if the token was verified before and still holds; None asks for `principal`."""
        ...

    async def principal(self, token: bytes) -> Principal:
        """Return the caller behind a token; raise Unauthenticated."""
        ...


class Authenticator:
    """Decides who is calling and whether the route's policy admits them."""

    __slots__ = ("_machines", "_sessions", "_tenancy")

    def __init__(
        self, tenancy: Tenancy, sessions: Sessions | None = None, machines: Machines | None = None
    ) -> None:
        """Look keys up in `tenancy`, people in `sessions`, machines in `machines`; None knows nobody."""
        self._tenancy = tenancy
        self._sessions = sessions
        self._machines = machines

    async def principal(self, request: Request, policy: Policy) -> Principal:
        """Return the caller, or raise Unauthenticated / Forbidden."""
        if policy is _PUBLIC or (policy is _DECLARED and request.header(b"authorization") is None):
            return ANYONE
        token = bearer(request) if policy is not _CALLER else model_token(request)
        if token[:4] == KEY_START:
            principal = self._tenancy.known(token) or await self._tenancy.principal(token)
        else:
            principal = await self._stranger(token)
        if policy is _CALLER and principal.role in _CALLERS:
            return principal
        if policy is not _DECLARED and principal.role not in _ADMITS[policy]:
            raise Forbidden(
                f"Your role may not {_NEEDS[policy]}.",
                field="role",
                value=principal.role,
                limit=", ".join(sorted(_ADMITS[policy])),
            )
        return principal

    def admitted(self, request: Request, policy: Policy) -> Principal | None:
        """Return who calls for a model, where its key is in memory and admits it; None asks for `principal`."""
        if policy is not _CALLER:
            return None
        token = model_token(request)
        principal = self._tenancy.known(token) if token[:4] == KEY_START else None
        return principal if principal is not None and principal.role in _CALLERS else None

    def known(self, request: Request) -> Principal | None:
        """Return who calls for models, if that is known without asking anybody; None for everybody else."""
        try:
            token = model_token(request)
        except Unauthenticated:
            return None
        if token[:4] == KEY_START:
            return self._tenancy.known(token)
        if self._sessions is not None and token.startswith(SESSION_START):
            visit = self._sessions.known(token)
            return None if visit is None else visit.principal
        if self._machines is not None and token.startswith(JWT_START):
            return self._machines.known(token)
        return None

    async def caller(self, request: Request, principal: Principal, request_id: str) -> Caller:
        """Return who acts, for an application behind the bridge; `principal` is what this admitted."""
        if principal is ANYONE:
            return Caller(principal=principal, request_id=request_id, peer=request.peer)
        token = bearer(request)
        if self._sessions is not None and token.startswith(SESSION_START):
            visit = self._sessions.known(token) or await self._sessions.visit(token)
            return Caller(
                principal=visit.principal,
                kind="person",
                name=visit.person.name,
                request_id=request_id,
                peer=request.peer,
                visit=visit,
                token=token,
            )
        is_key = token.startswith(KEY_START)
        return Caller(
            principal=principal,
            kind="key" if is_key else "machine",
            name=self._tenancy.key_name(principal.key_id) if is_key else principal.user,
            request_id=request_id,
            peer=request.peer,
        )

    async def _stranger(self, token: bytes) -> Principal:
        """Return the caller behind a token that is not a key's."""
        if self._sessions is not None and token.startswith(SESSION_START):
            visit = self._sessions.known(token) or await self._sessions.visit(token)
            return visit.principal
        if self._machines is not None and token.startswith(JWT_START):
            return self._machines.known(token) or await self._machines.principal(token)
        return await self._tenancy.principal(token)  # which says what a key looks like


def model_token(request: Request) -> bytes:
    """Return the token of a call for models, wherever its SDK puts it, or raise Unauthenticated."""
    value = request.header(b"authorization")
    if value is not None and value.startswith(b"Bearer "):  # as SDKs write it: nothing else is asked
        return value[7:].strip()
    if value is None:
        for name in _SDK_HEADERS:
            other = request.header(name)
            if other is not None:
                return other.strip()
    return _borne(value)


def bearer(request: Request) -> bytes:
    """Return the token of `Authorization: Bearer …`, or raise Unauthenticated."""
    return _borne(request.header(b"authorization"))


def _borne(value: bytes | None) -> bytes:
    if value is None:
        raise Unauthenticated(code="missing_api_key")
    if value[:7].lower() != b"bearer ":
        raise Unauthenticated("The Authorization header must be `Bearer <key>`.", code="missing_api_key")
    return value[7:].strip()
