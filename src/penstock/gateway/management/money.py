"""Money: what was spent, what is left of the budgets, what models cost, and the ledger's own verdict.

Promises: a caller sees the accounts inside its reach and no others, each page as full as there are such; amounts are
those of the ledger, to the nano-dollar; nothing here is written.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Annotated, Final

import msgspec
from fastapi import Query

from penstock.gateway.management.keys import keys_in_reach
from penstock.gateway.management.money_models import BudgetRow, LedgerView, PriceRow, UsageRow
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import After, Limit, Org, breadth_of, must_reach
from penstock.gateway.management.scopes import LEVELS, scopes_in_reach
from penstock.kernel.context import Cap, Principal
from penstock.kernel.errors import Invalid
from penstock.mechanisms.limits import account_name
from penstock.mechanisms.prices import Price
from penstock.mechanisms.roles import Action, Breadth
from penstock.ports.ledger import Balance

ROUTES = Routes("money")
ROWS_MOST: Final = 1_000
Part = Annotated[str, Query(max_length=256)]


@ROUTES.add("GET", "/usage", needs=Action.READ_USAGE)
async def usage(
    by: By, api: Api, org: Org = "", prefix: After = "", after: After = "", limit: Limit = 1000
) -> list[UsageRow]:
    """List what the accounts of an organisation were charged, by account name; `prefix` begins with / or @."""
    own = must_reach(by.principal, org)
    if prefix and prefix[0] not in "/@":
        raise Invalid("A prefix begins with / or @.", field="prefix", value=prefix[:80])
    rows: list[Balance] = []
    for start in _narrowed(await _starts(api, by.principal, own), f"org:{own}{prefix}"):
        if len(rows) < limit:
            rows += await api.ledger.balance(prefix=start, after=after, limit=limit - len(rows))
    return [
        UsageRow(account=b.account, posted_nanos=b.posted_nanos, held_nanos=b.held_nanos, requests=b.postings)
        for b in rows
    ]


@ROUTES.add("GET", "/budgets", needs=Action.READ_USAGE)
async def budgets(by: By, api: Api, org: Org = "") -> list[BudgetRow]:
    """List the budgets of an organisation that the caller reaches, with what is left of each."""
    return await budgets_in_reach(api, by.principal, must_reach(by.principal, org))


@ROUTES.add("GET", "/ledger/verify", needs=Action.VERIFY_LEDGER)
async def verify(api: Api) -> LedgerView:
    """Walk the whole ledger. Owners only: it tells the platform's totals."""
    verdict = await api.ledger.verify()
    return LedgerView(whole=not verdict.problems, **msgspec.to_builtins(verdict))


@ROUTES.add("GET", "/prices", needs=Action.READ_PRICES)
async def prices(
    by: By, api: Api, provider: Part = "", model: Part = "", after: After = "", limit: Limit = 1000
) -> list[PriceRow]:
    """List the prices in force today, in order of ``provider/model``; `model` is any part of a name. A price of one
    organisation alone stands under ``provider/model org``, and nobody of another sees it.
    """
    everywhere = breadth_of(by.principal) is Breadth.PLATFORM
    found = [
        (f"{price.provider}/{price.model} {price.org}".rstrip(), price)
        for price in api.prices.rows(api.today().date())
        if (not provider or price.provider == provider)
        and model in price.model
        and (everywhere or price.org in ("", by.principal.org))
    ]
    found.sort(key=itemgetter(0))
    return [_price_row(price) for name, price in found if name > after][:limit]


async def budgets_in_reach(api: Management, principal: Principal, org: str) -> list[BudgetRow]:
    """Return the caps of the configured scopes and keys a caller reaches (at most 1,000 of each), with balances."""
    capped: list[tuple[str, str, Cap]] = []
    for level in LEVELS:
        scopes = await scopes_in_reach(api, principal, org, level, "", ROWS_MOST)
        capped += [(level, doc.path, cap) for doc in scopes for cap in doc.caps]
    keys = await keys_in_reach(api, principal, org, "", ROWS_MOST)
    capped += [("key", f"org:{org}/key:{doc.id}", cap) for doc in keys for cap in doc.caps]
    if not capped:
        return []
    today = api.today()
    names = [account_name(path, cap.window, today) for _, path, cap in capped]
    balances = {each.account: each for each in await api.ledger.balance(accounts=names)}
    return [
        _budget_row(level, cap, balances[name]) for (level, _, cap), name in zip(capped, names, strict=True)
    ]


async def _starts(api: Management, principal: Principal, org: str) -> list[str]:
    """Return how the names of the accounts in reach begin, in order; none begins another (1,000 keys at most).

    What follows a name is a slash or an at sign, in this order: "org:a" must not see "org:a-team".
    """
    root, breadth = f"org:{org}", breadth_of(principal)
    if breadth >= Breadth.ORGANISATION:
        return [f"{root}/", f"{root}@"]
    keys = await keys_in_reach(api, principal, org, "", ROWS_MOST)
    starts = [f"{root}/key:{doc.id}@" for doc in keys]
    starts.append(f"{root}/user:{principal.user}@")
    if breadth is Breadth.TEAM:
        starts += [f"{root}/team:{principal.team}/", f"{root}/team:{principal.team}@"]
    return sorted(starts)


def _narrowed(starts: list[str], wanted: str) -> list[str]:
    """Return what `starts` and `wanted` both begin."""
    return [
        max(start, wanted, key=len)
        for start in starts
        if start.startswith(wanted) or wanted.startswith(start)
    ]


def _budget_row(level: str, cap: Cap, balance: Balance) -> BudgetRow:
    used = balance.posted_nanos + balance.held_nanos
    return BudgetRow(
        account=balance.account,
        level=level,
        window=cap.window,
        limit_nanos=cap.limit_nanos,
        posted_nanos=balance.posted_nanos,
        held_nanos=balance.held_nanos,
        hard=cap.hard,
        room_nanos=max(cap.limit_nanos - used, 0),
    )


def _price_row(price: Price) -> PriceRow:
    return PriceRow(
        provider=price.provider,
        model=price.model,
        org=price.org,
        version=price.version,
        input=price.rates.input,
        cached_input=price.rates.cached_input,
        output=price.rates.output,
        free=price.free,
        context_window=price.context_window,
        max_output_tokens=price.max_output_tokens,
    )
