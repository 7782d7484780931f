"""What one caller's request must fit into: every rate limit and every budget on its tenancy path, worked out once.

Promises: a `Plan` is computed once per caller and UTC day and then only read; budget windows change at the UTC edge
of day and month; one request needs one `state` call for all its limits and one `ledger` hold for all its budgets,
however many levels set any. Users first seen get their limits before their first request, not after.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, Scope
from penstock.ports.ledger import NO_LIMIT, Line
from penstock.ports.state import Ask, Kind

DAY_S = 86_400
MINUTE_S = 60
SLOT_LEASE_S = 900
REMEMBERED_PLANS = 100_000
REMEMBERED_MODELS = 100
"""Limited models that one caller's plan remembers; all are forgotten when there is one more."""


class Plan:
    """The limits of one caller on one day, and of one model where that is limited. `asks` are the fixed ones;
    `token_asks` (key, kind, limit, name) take the request's own size. `request_limits` and `token_limits` are the
    limits of both by their place among all asks of a request.
    """

    __slots__ = ("_of_models", "asks", "day", "lines", "names", "principal", "request_limits", "slots", "token_asks",
                 "token_limits")  # fmt: skip

    def __init__(self, principal: Principal, day: int, model: Scope | None = None) -> None:
        """Work out the plan of `principal` for the `day`-th day since 1970 (UTC), and for the `model` it asks for."""
        self.principal = principal
        self.day = day
        self._of_models: dict[str, tuple[Scope, Plan]] = {}
        self.lines = _lines(principal, day)
        asks: list[Ask] = []
        names: list[str] = []
        tokens: list[tuple[str, Kind, int, str]] = []
        for scope in principal.scopes if model is None else (*principal.scopes, model):
            stem = f"{principal.org}|{scope.path}"
            kind: Kind = "window" if scope.rate.window else "bucket"
            # A name of its own: for as long as some callers' plans are older than a change, neither empties the other.
            counted = "|window" if scope.rate.window else ""
            if scope.rate.requests_per_minute:
                asks.append(Ask(f"{stem}|rpm{counted}", kind, scope.rate.requests_per_minute, MINUTE_S))
                names.append(f"{scope.level} requests per minute")
            if scope.rate.concurrency:
                asks.append(Ask(f"{stem}|slots", "slots", scope.rate.concurrency, SLOT_LEASE_S))
                names.append(f"{scope.level} requests at one time")
            if scope.rate.tokens_per_minute:
                name = f"{scope.level} tokens per minute"
                tokens.append((f"{stem}|tpm{counted}", kind, scope.rate.tokens_per_minute, name))
        self.asks = tuple(asks)
        self.token_asks = tuple(tokens)
        self.slots = tuple(ask for ask in asks if ask.kind == "slots")
        self.request_limits = {index: ask.limit for index, ask in enumerate(asks) if ask.kind != "slots"}
        self.token_limits = {index: limit for index, (_, _, limit, _) in enumerate(tokens, len(asks))}
        self.names = (*names, *(name for _, _, _, name in tokens))

    def of_model(self, model: Scope) -> Plan:
        """Return this plan with the limits of a model besides; worked out again when those change."""
        seen, plan = self._of_models.get(model.path, (None, self))
        if seen != model:
            if len(self._of_models) >= REMEMBERED_MODELS:
                self._of_models.clear()
            plan = Plan(self.principal, self.day, model)
            self._of_models[model.path] = model, plan
        return plan

    def asks_for(self, tokens: int) -> tuple[Ask, ...]:
        """Return every ask of a request of `tokens` (input bound plus answer granted)."""
        if not self.token_asks:
            return self.asks
        # A prompt bounded by its bytes may seem larger than a whole minute's limit: it then takes all of that minute.
        asks = list(self.asks)
        for key, kind, limit, _ in self.token_asks:
            amount = tokens if tokens < limit else limit  # noqa: FURB136 - on the hot path a call of min() counts
            asks.append(Ask(key, kind, limit, MINUTE_S, amount))
        return tuple(asks)

    def refund(self, unused: int, asked: int = 0) -> tuple[Ask, ...]:
        """Return what a finished request gives back: its slots, and the `unused` of the tokens it asked for.

        A bucket smaller than what was `asked` took only its limit, so it gets only what is unused of that. A window
        gets nothing: it counts what was asked for, so that no minute ever has more.
        """
        back = list(self.slots)
        for key, kind, limit, _ in self.token_asks:
            if kind == "window":
                continue
            tokens = unused if asked <= limit else unused - (asked - limit)
            if tokens > 0:
                back.append(Ask(key, kind, limit, MINUTE_S, tokens))
        return tuple(back)


class Plans:
    """Remembers the plan of each caller seen today, one per key and user; bounded."""

    __slots__ = ("_clock", "_latest", "_plans")

    def __init__(self, clock: Clock) -> None:
        """Take days from `clock`'s wall time."""
        self._clock = clock
        self._plans: OrderedDict[int, Plan] = OrderedDict()
        self._latest: dict[tuple[str, str], int] = {}

    def of(self, principal: Principal, model: Scope | None = None) -> Plan:
        """Return the plan of `principal` for today, with the limits of a `model` besides where it has any."""
        day = int(self._clock.wall_s()) // DAY_S
        plan = self._plans.get(id(principal))
        # The plan keeps its principal alive, so an equal id is the same object for as long as the plan is here.
        if plan is None or plan.day != day:
            plan = self._remember(principal, day)
        return plan if model is None else plan.of_model(model)

    def room_in_s(self, account: str) -> float | None:
        """Return in how many seconds at the latest a full budget has room again; None where its window never ends."""
        ends = window_end(account)
        return None if ends is None else max(0.0, ends.timestamp() - self._clock.wall_s())

    def seen(self) -> tuple[Plan, ...]:
        """Return the plans remembered, for whoever watches budgets."""
        return tuple(self._plans.values())

    def _remember(self, principal: Principal, day: int) -> Plan:
        """Make a plan; a key that was changed and read again is a new principal, and its old plan is forgotten."""
        plans, caller, now = self._plans, (principal.key_id, principal.user), id(principal)
        before = self._latest.get(caller, now)
        if before != now:
            plans.pop(before, None)
        plan = plans[now] = Plan(principal, day)
        self._latest[caller] = now
        if len(plans) > REMEMBERED_PLANS:
            _, oldest = plans.popitem(last=False)
            self._latest.pop((oldest.principal.key_id, oldest.principal.user), None)
        return plan


def _lines(principal: Principal, day: int) -> tuple[Line, ...]:
    """Return the accounts of a request: one per level and day (attribution, with the daily cap if any), plus one per
    monthly or total cap. A soft cap is counted in its account and refuses nothing.
    """
    date = datetime.fromtimestamp(day * DAY_S, UTC)
    lines: list[Line] = []
    for scope in principal.scopes:
        caps = {cap.window: cap.limit_nanos if cap.hard else NO_LIMIT for cap in scope.caps}
        lines.append(Line(f"{scope.path}@{date:%Y-%m-%d}", caps.pop("day", NO_LIMIT)))
        lines.extend(Line(account_name(scope.path, window, date), limit) for window, limit in caps.items())
    return tuple(lines)


def account_name(path: str, window: str, at: datetime) -> str:
    """Return the ledger account of a scope in the window ("day", "month" or "total") that holds `at` (UTC)."""
    if window == "total":
        return f"{path}@total"
    return f"{path}@{at:%Y-%m}" if window == "month" else f"{path}@{at:%Y-%m-%d}"


def window_end(account: str) -> datetime | None:
    """Return when the window of an account of `account_name` ends (UTC); None for one that never does."""
    day = account.rpartition("@")[2]
    try:
        if len(day) == len("2026-11"):
            first = datetime.strptime(day, "%Y-%m").replace(tzinfo=UTC)
            return (first + timedelta(days=31)).replace(day=1)
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        return None
