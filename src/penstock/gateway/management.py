"""The management API: keys, scopes, budgets, usage, prices and the ledger's own verdict.

Promises: every route is below ``/api/v1`` and needs the role admin or owner (the edge checks it before this file
runs); an admin sees and changes only its own organisation, an owner all; a member that a caller may not set is
refused, never ignored; errors are the same JSON as everywhere; a token is shown once, in the reply that made it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from penstock.dialects.openai_errors import render_error, retry_headers
from penstock.gateway import management_models as models
from penstock.kernel.clock import Clock
from penstock.kernel.context import Cap, Principal, Rate
from penstock.kernel.errors import Broken, Forbidden, Invalid, NotFound, PenstockError
from penstock.mechanisms.limits import account_name
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.scopes import scope_paths
from penstock.mechanisms.tenancy import KeyDoc, ScopeDoc, Tenancy
from penstock.ports.ledger import Balance, Ledger

LEVEL_INDEX = {"org": 0, "team": 1, "project": 2, "user": 3, "key": 4}


def caller(request: Request) -> Principal:
    """Return the principal the edge admitted."""
    return request.state.principal


Caller = Annotated[Principal, Depends(caller)]
After = Annotated[str, Query(max_length=512)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Org = Annotated[str, Query(max_length=64)]


class Management:
    """Everything the routes need."""

    def __init__(self, tenancy: Tenancy, ledger: Ledger, prices: PriceBook, clock: Clock) -> None:
        """Manage what these hold."""
        self.tenancy = tenancy
        self.ledger = ledger
        self.prices = prices
        self.clock = clock

    def today(self) -> datetime:
        """Return the current UTC time."""
        return datetime.fromtimestamp(self.clock.wall_s(), UTC)

    async def own_key(self, principal: Principal, key_id: str) -> KeyDoc:
        """Return a key of the caller's reach, or raise NotFound (the same for absent and foreign)."""
        doc = await self.tenancy.key(key_id)
        if doc is None or not reaches(principal, doc.org):
            raise NotFound("There is no such key.", field="key", value=key_id)
        return doc


def reaches(principal: Principal, org: str) -> bool:
    """Tell whether a principal may manage an organisation."""
    return principal.role == "owner" or principal.org == org


def must_reach(principal: Principal, org: str) -> str:
    """Return the organisation to act on ("" is the caller's own), or raise Forbidden."""
    wanted = org or principal.org
    if not reaches(principal, wanted):
        raise Forbidden(
            "This key manages another organisation.", field="org", value=wanted, limit=principal.org
        )
    return wanted


def application(management: Management) -> FastAPI:
    """Build the ASGI application."""
    app = FastAPI(
        title="Penstock management",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.add_exception_handler(PenstockError, _render)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render)
    _key_routes(app, management)
    _scope_routes(app, management)
    _money_routes(app, management)
    _price_routes(app, management)
    return app


def _key_routes(app: FastAPI, management: Management) -> None:
    @app.post("/api/v1/keys", status_code=201)
    async def create_key(body: models.KeyBody, principal: Caller) -> models.MadeKey:
        """Make a key."""
        must_reach(principal, body.org)
        if body.role != "caller" and principal.role != "owner":
            raise Forbidden("Only an owner makes admins and owners.", field="role", value=body.role)
        doc, token = await management.tenancy.create_key(_key_doc(body, management.clock.wall_s()))
        return models.MadeKey(key=_key_view(doc), token=token)

    @app.get("/api/v1/keys")
    async def list_keys(
        principal: Caller, org: Org = "", after: After = "", limit: Limit = 100
    ) -> list[models.KeyView]:
        """List an organisation's keys."""
        docs = await management.tenancy.keys(must_reach(principal, org), after, limit)
        return [_key_view(doc) for doc in docs]

    @app.get("/api/v1/keys/{key_id}")
    async def read_key(key_id: str, principal: Caller) -> models.KeyView:
        """Show one key."""
        return _key_view(await management.own_key(principal, key_id))

    @app.delete("/api/v1/keys/{key_id}")
    async def revoke_key(key_id: str, principal: Caller) -> models.KeyView:
        """Revoke a key now, on every node within a second."""
        doc = await management.own_key(principal, key_id)
        if doc.role == "owner" and principal.role != "owner":
            raise Forbidden("Only an owner revokes an owner's key.", field="role", value=doc.role)
        return _key_view(await management.tenancy.revoke_key(key_id))

    @app.post("/api/v1/keys/{key_id}/rotate", status_code=201)
    async def rotate_key(key_id: str, body: models.RotateBody, principal: Caller) -> models.MadeKey:
        """Make a key with the same rights; the old one goes on for a while."""
        old = await management.own_key(principal, key_id)
        if old.role != "caller" and principal.role != "owner":
            raise Forbidden(
                "Only an owner rotates the keys of admins and owners.", field="role", value=old.role
            )
        doc, token = await management.tenancy.rotate_key(key_id, overlap_s=body.overlap_s)
        return models.MadeKey(key=_key_view(doc), token=token)


def _scope_routes(app: FastAPI, management: Management) -> None:
    @app.put("/api/v1/scopes")
    async def put_scope(body: models.ScopeBody, principal: Caller) -> models.ScopeView:
        """Set the limits and budgets of an organisation, team, project or user."""
        org = must_reach(principal, body.org)
        path = scope_paths(org, body.team, body.project, body.user, "")[LEVEL_INDEX[body.level]][1]
        doc = ScopeDoc(
            path=path,
            level=body.level,
            name=body.name,
            rate=_rate(body.rate),
            caps=_caps(body.caps),
            user_rate=_rate(body.user_rate),
            user_caps=_caps(body.user_caps),
        )
        await management.tenancy.put_scope(org, doc)
        return _scope_view(doc)

    @app.get("/api/v1/scopes")
    async def list_scopes(
        principal: Caller, level: str, org: Org = "", after: After = "", limit: Limit = 100
    ) -> list[models.ScopeView]:
        """List the configured scopes of one level."""
        if level not in LEVEL_INDEX or level == "key":
            raise Invalid(
                "There is no such level.", field="level", value=level, limit="org, team, project, user"
            )
        docs = await management.tenancy.scopes(must_reach(principal, org), level, after, limit)
        return [_scope_view(doc) for doc in docs]


def _money_routes(app: FastAPI, management: Management) -> None:
    @app.get("/api/v1/usage")
    async def usage(
        principal: Caller, org: Org = "", prefix: After = "", after: After = "", limit: Limit = 1000
    ) -> list[models.UsageRow]:
        """List what the accounts of an organisation were charged, by account name; `prefix` begins with / or @."""
        root = f"org:{must_reach(principal, org)}"
        if prefix and prefix[0] not in "/@":
            raise Invalid("A prefix begins with / or @.", field="prefix", value=prefix[:80])
        # What follows the name is a slash or an at sign, in this order: "org:a" must not see "org:a-team".
        starts = [f"{root}{prefix}"] if prefix else [f"{root}/", f"{root}@"]
        own: list[Balance] = []
        for start in starts:
            if len(own) < limit:
                own.extend(await management.ledger.balance(prefix=start, after=after, limit=limit - len(own)))
        return [
            models.UsageRow(
                account=b.account, posted_nanos=b.posted_nanos, held_nanos=b.held_nanos, requests=b.postings
            )
            for b in own
        ]

    @app.get("/api/v1/budgets")
    async def budgets(principal: Caller, org: Org = "") -> list[models.BudgetRow]:
        """List every budget of an organisation with what is left of it."""
        return await _budgets(management, must_reach(principal, org))

    @app.get("/api/v1/ledger/verify")
    async def verify(principal: Caller) -> models.LedgerView:
        """Walk the whole ledger. Owners only: it tells the platform's totals."""
        if principal.role != "owner":
            raise Forbidden("Only an owner verifies the ledger.", field="role", value=principal.role)
        verdict = await management.ledger.verify()
        return models.LedgerView(whole=not verdict.problems, **msgspec.to_builtins(verdict))


def _price_routes(app: FastAPI, management: Management) -> None:
    @app.get("/api/v1/prices")
    async def prices(
        provider: str = "", model: str = "", after: After = "", limit: Limit = 1000
    ) -> list[models.PriceRow]:
        """List the prices in force today, in order of ``provider/model``."""
        rows = [
            p
            for p in management.prices.rows(management.today().date())
            if (not provider or p.provider == provider) and model in p.model
        ]
        rows.sort(key=lambda p: f"{p.provider}/{p.model}")
        page = [p for p in rows if f"{p.provider}/{p.model}" > after][:limit]
        return [
            models.PriceRow(
                provider=p.provider,
                model=p.model,
                version=p.version,
                input=p.rates.input,
                cached_input=p.rates.cached_input,
                output=p.rates.output,
                free=p.free,
                context_window=p.context_window,
                max_output_tokens=p.max_output_tokens,
            )
            for p in page
        ]


async def _budgets(management: Management, org: str) -> list[models.BudgetRow]:
    """Collect the caps of every configured scope and key (at most 1,000 of each), with their balances."""
    capped: list[tuple[str, str, Cap]] = []
    for level in ("org", "team", "project", "user"):
        capped.extend(
            (level, doc.path, cap)
            for doc in await management.tenancy.scopes(org, level, limit=1000)
            for cap in doc.caps
        )
    capped.extend(
        ("key", f"org:{org}/key:{doc.id}", cap)
        for doc in await management.tenancy.keys(org, limit=1000)
        for cap in doc.caps
    )
    today = management.today()
    names = [account_name(path, cap.window, today) for _, path, cap in capped]
    balances = (
        {each.account: each for each in await management.ledger.balance(accounts=names)} if names else {}
    )
    return [
        _budget_row(level, cap, balances[name]) for (level, _, cap), name in zip(capped, names, strict=True)
    ]


def _budget_row(level: str, cap: Cap, balance: Balance) -> models.BudgetRow:
    used = balance.posted_nanos + balance.held_nanos
    return models.BudgetRow(
        account=balance.account,
        level=level,
        window=cap.window,
        limit_nanos=cap.limit_nanos,
        posted_nanos=balance.posted_nanos,
        held_nanos=balance.held_nanos,
        hard=cap.hard,
        room_nanos=max(cap.limit_nanos - used, 0),
    )


def _key_doc(body: models.KeyBody, now_s: float) -> KeyDoc:
    return KeyDoc(
        id="",
        mac="",
        org=body.org,
        team=body.team,
        project=body.project,
        user=body.user,
        name=body.name,
        role=body.role,
        tier=body.tier,
        models=tuple(body.models),
        rate=_rate(body.rate),
        caps=_caps(body.caps),
        max_input_tokens=body.max_input_tokens,
        max_output_tokens=body.max_output_tokens,
        max_request_nanos=body.max_request_nanos,
        end_users=body.end_users,
        expires_s=now_s + body.expires_in_s if body.expires_in_s else 0.0,
    )


def _key_view(doc: KeyDoc) -> models.KeyView:
    shown = msgspec.to_builtins(doc)
    del shown["mac"]
    return models.KeyView.model_validate(shown)


def _scope_view(doc: ScopeDoc) -> models.ScopeView:
    return models.ScopeView.model_validate(msgspec.to_builtins(doc))


def _rate(body: models.RateBody) -> Rate:
    return Rate(**body.model_dump())


def _caps(bodies: list[models.CapBody]) -> tuple[Cap, ...]:
    windows = [body.window for body in bodies]
    if len(set(windows)) != len(windows):
        raise Invalid("A window may have one budget.", field="caps.window", value=", ".join(windows))
    return tuple(
        Cap(window=b.window, limit_nanos=b.limit_nanos, warn_percent=tuple(b.warn_percent), hard=b.hard)
        for b in bodies
    )


async def _render(_request: Request, error: Exception) -> Response:
    """Render our own errors as they are; what else went wrong is told without its message, which may quote a secret."""
    return _told(error if isinstance(error, PenstockError) else Broken("A request could not be handled."))


async def _render_http(_request: Request, error: Exception) -> Response:
    """Render the framework's own refusals, of unknown paths and methods, in the house's form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = _told(NotFound("There is nothing at this path.", field="path"))
    if status != NotFound.status:
        answer = _told(
            Invalid("This method is not served at this path.", code="method_not_allowed", field="method")
        )
    answer.status_code = status
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def _told(error: PenstockError) -> Response:
    status, body = render_error(error)
    lines = [line.partition(b": ") for line in retry_headers(error).split(b"\r\n") if line]
    return Response(
        body,
        status,
        headers={name.decode(): value.decode() for name, _, value in lines},
        media_type="application/json",
    )


async def _render_validation(_request: Request, error: Exception) -> Response:
    """Report every mistake of the body at once, in the house's form."""
    found: list[dict[str, Any]] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    first = found[0] if found else {}
    where = [".".join(str(part) for part in each["loc"] if part != "body") for each in found]
    told = "; ".join(f"{path}: {each['msg']}" for path, each in zip(where, found, strict=True))
    invalid = Invalid(
        f"The request has mistakes: {told}.",
        field=where[0] if where else "body",
        value=str(first.get("input", ""))[:80],
        remedy="See /api/v1/openapi.json.",
    )
    return _told(invalid)
