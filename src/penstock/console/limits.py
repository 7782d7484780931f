"""Limits and budgets as pages show and ask for them: the fields of a form, and how full a budget is. Pure.

Promises: what a form was filled from comes back from it unchanged, to the nano-dollar; a mistake the platform finds
is led back to the field it was typed into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.console import formats
from penstock.console.inputs import Reading, said, typed_dollars
from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import PenstockError
from penstock.sdk.replies import Budget

WINDOWS: Final = {"day": "a day", "month": "a month", "total": "in all"}
"""The windows of a budget (UTC), as people say them."""
STANDARD_WARNINGS: Final = (50, 80, 100)
_WRONG_CAP: Final = re.compile(r"(user_)?caps\.(\d{1,3})\.(limit_nanos|warn_percent|hard)")
_PARTS: Final = {"limit_nanos": "dollars", "warn_percent": "warn", "hard": "hard"}


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a budget is. Percentages are of its limit; `eta_s` is when it is used up at this pace, 0 unknown."""

    budget: Budget
    percent: float
    posted_percent: float
    eta_s: float

    @property
    def window(self) -> str:
        """The window in words."""
        return WINDOWS.get(self.budget.window, self.budget.window)

    @property
    def used_nanos(self) -> int:
        """What is spent or held."""
        return self.budget.posted_nanos + self.budget.held_nanos


def fills(budgets: Iterable[Budget], etas: Mapping[str, float]) -> dict[str, list[Fill]]:
    """Return how full budgets are, by the path they are of, the fullest first; `etas` are seconds by account."""
    by_path: dict[str, list[Fill]] = {}
    for budget in budgets:
        used = budget.posted_nanos + budget.held_nanos
        fill = Fill(
            budget,
            percent=_percent(used, budget.limit_nanos),
            posted_percent=_percent(budget.posted_nanos, budget.limit_nanos),
            eta_s=etas.get(budget.account, 0.0),
        )
        by_path.setdefault(budget.account.rpartition("@")[0], []).append(fill)
    for found in by_path.values():
        found.sort(key=lambda fill: -fill.percent)
    return by_path


def rate_words(rate: Rate) -> tuple[str, ...]:
    """Return limits in words; nothing where there are none."""
    per = " in any minute" if rate.window else "/min"
    return tuple(
        text
        for number, text in (
            (rate.requests_per_minute, f"{formats.short(rate.requests_per_minute)} requests{per}"),
            (rate.tokens_per_minute, f"{formats.short(rate.tokens_per_minute)} tokens{per}"),
            (rate.concurrency, f"{formats.short(rate.concurrency)} at once"),
        )
        if number
    )


def cap_words(caps: Iterable[Cap]) -> tuple[str, ...]:
    """Return budgets in words."""
    return tuple(
        f"{formats.money(cap.limit_nanos)} {WINDOWS.get(cap.window, cap.window)}{'' if cap.hard else ', warns only'}"
        for cap in caps
    )


# --- forms ------------------------------------------------------------------------------------------------------------


def typed_limits(rate: Rate, caps: Iterable[Cap], prefix: str = "") -> dict[str, str]:
    """Return the fields that hold these limits; their names begin with `prefix`."""
    typed = {
        "requests_per_minute": typed_count(rate.requests_per_minute),
        "tokens_per_minute": typed_count(rate.tokens_per_minute),
        "concurrency": typed_count(rate.concurrency),
        "window": "yes" if rate.window else "",
    }
    for window in WINDOWS:
        typed |= {
            f"{window}_dollars": "",
            f"{window}_hard": "hard",
            f"{window}_warn": _typed_percents(STANDARD_WARNINGS),
        }
    for cap in caps:
        typed |= {
            f"{cap.window}_dollars": typed_dollars(cap.limit_nanos),
            f"{cap.window}_hard": "hard" if cap.hard else "soft",
            f"{cap.window}_warn": _typed_percents(cap.warn_percent),
        }
    return {prefix + name: text for name, text in typed.items()}


def read_rate(reading: Reading, prefix: str = "") -> Rate:
    """Return the rate limits of a form."""
    return Rate(
        requests_per_minute=reading.count(f"{prefix}requests_per_minute"),
        tokens_per_minute=reading.count(f"{prefix}tokens_per_minute"),
        concurrency=reading.count(f"{prefix}concurrency"),
        window=reading.choice(f"{prefix}window", ("", "yes"), "") == "yes",
    )


def read_caps(reading: Reading, prefix: str = "") -> tuple[Cap, ...]:
    """Return the budgets of a form: one for each window that has an amount."""
    caps: list[Cap] = []
    for window in WINDOWS:
        nanos = reading.dollars(f"{prefix}{window}_dollars")
        hard = reading.choice(f"{prefix}{window}_hard", ("hard", "soft"), "hard") == "hard"
        warn = reading.percents(f"{prefix}{window}_warn")
        if nanos is not None:
            caps.append(Cap(window=window, limit_nanos=nanos, warn_percent=warn, hard=hard))
    return tuple(caps)


def typed_count(number: int) -> str:
    """Return a number as a field holds it; nothing for none."""
    return str(number) if number else ""


def place_problem(
    problem: PenstockError,
    fields: Iterable[str],
    caps: tuple[Cap, ...] = (),
    user_caps: tuple[Cap, ...] = (),
) -> dict[str, str]:
    """Return the field that the platform found wrong with what it said of it; nothing when that is no field here."""
    name = problem.field.removeprefix("rate.")
    if name.startswith("user_rate."):
        name = name.replace("user_rate.", "user_", 1)
    if name == "max_request_nanos":
        name = "max_request_dollars"
    if name == "expires_in_s":
        name = "expires"
    found = _WRONG_CAP.fullmatch(name)
    if found:
        prefix, position, part = found.groups()
        given = user_caps if prefix else caps
        if int(position) < len(given):
            name = f"{prefix or ''}{given[int(position)].window}_{_PARTS[part]}"
    return {name: said(problem)} if name in set(fields) else {}


def _typed_percents(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0
