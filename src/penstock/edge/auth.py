"""From an `Authorization` header to a `Principal`.

Promises: the scheme is `Bearer` (RFC 6750 §2.1); a known key costs one keyed digest and no await; an unknown one is
looked up once and its refusal remembered briefly; the token appears in no error, log or trace.
"""

from __future__ import annotations

from penstock.edge.routes import Policy
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Unauthenticated
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.request import Request

ADMIN_ROLES = frozenset({"admin", "owner"})
ANYONE = Principal(key_id="", org="", team="", project="", user="", role="anyone")


class Authenticator:
    """Decides who is calling and whether the route's policy admits them."""

    __slots__ = ("_tenancy",)

    def __init__(self, tenancy: Tenancy) -> None:
        """Look keys up in `tenancy`."""
        self._tenancy = tenancy

    async def principal(self, request: Request, policy: Policy) -> Principal:
        """Return the caller, or raise Unauthenticated / Forbidden."""
        if policy is Policy.PUBLIC:
            return ANYONE
        token = bearer(request)
        principal = self._tenancy.known(token) or await self._tenancy.principal(token)
        if policy is Policy.ADMIN and principal.role not in ADMIN_ROLES:
            raise Forbidden(
                "This needs a key with the role admin or owner.", field="role", value=principal.role
            )
        return principal


def bearer(request: Request) -> bytes:
    """Return the token of `Authorization: Bearer …`, or raise Unauthenticated."""
    value = request.header(b"authorization")
    if value is None:
        raise Unauthenticated(code="missing_api_key")
    if value[:7].lower() != b"bearer ":
        raise Unauthenticated("The Authorization header must be `Bearer <key>`.", code="missing_api_key")
    return value[7:].strip()
