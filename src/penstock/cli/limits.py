"""Limits and budgets as options, the same ones wherever they can be set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter

from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.money import parse_dollars


def nanos(option: str, text: str) -> int:
    """Return an option's amount, given in dollars, as nano-dollars. Raises Invalid naming the option."""
    try:
        amount = parse_dollars(text)
    except PenstockError as error:
        raise Invalid(error.message, field=f"--{option}", value=text, remedy=error.remedy) from None
    if amount < 0:
        raise Invalid("An amount cannot be negative.", field=f"--{option}", value=text, limit="0")
    return amount


def caps_of(*, soft: bool, **windows: str) -> tuple[Cap, ...]:
    """Return a budget for each option that has an amount; an option's name ends in its window."""
    return tuple(
        Cap(window=option.rpartition("-")[2], limit_nanos=nanos(option, text), hard=not soft)
        for option, text in windows.items()
        if text
    )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is limited; what is not given is not limited."""

    day: Annotated[str, Parameter(help="Dollars per day (UTC).", show_default=False)] = ""
    month: Annotated[str, Parameter(help="Dollars per calendar month (UTC).", show_default=False)] = ""
    total: Annotated[str, Parameter(help="Dollars in all.", show_default=False)] = ""
    soft: Annotated[
        bool, Parameter(help="Budgets only warn; they refuse nothing.", negative="", show_default=False)
    ] = False
    rpm: Annotated[int, Parameter(help="Requests per minute.", show_default=False)] = 0
    tpm: Annotated[int, Parameter(help="Tokens per minute.", show_default=False)] = 0
    concurrency: Annotated[int, Parameter(help="Requests at one time.", show_default=False)] = 0
    window: Annotated[
        bool,
        Parameter(
            help="Count over any minute, exactly; without it up to twice as many may pass in a minute.",
            negative="",
            show_default=False,
        ),
    ] = False

    def rate(self) -> Rate:
        """Return the rates."""
        return Rate(
            requests_per_minute=self.rpm,
            tokens_per_minute=self.tpm,
            concurrency=self.concurrency,
            window=self.window,
        )

    def caps(self) -> tuple[Cap, ...]:
        """Return the budgets. Raises Invalid for an amount that is none."""
        return caps_of(soft=self.soft, day=self.day, month=self.month, total=self.total)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UserLimits:
    """The same for each user first seen below a level, until that user gets limits of its own."""

    user_day: Annotated[str, Parameter(help="Dollars per day of each user.", show_default=False)] = ""
    user_month: Annotated[str, Parameter(help="Dollars per month of each user.", show_default=False)] = ""
    user_total: Annotated[str, Parameter(help="Dollars in all of each user.", show_default=False)] = ""
    user_rpm: Annotated[int, Parameter(help="Requests per minute of each user.", show_default=False)] = 0
    user_tpm: Annotated[int, Parameter(help="Tokens per minute of each user.", show_default=False)] = 0
    user_concurrency: Annotated[
        int, Parameter(help="Requests at one time of each user.", show_default=False)
    ] = 0
    user_window: Annotated[
        bool,
        Parameter(help="Count each user's over any minute, exactly.", negative="", show_default=False),
    ] = False

    def rate(self) -> Rate:
        """Return the rates."""
        return Rate(
            requests_per_minute=self.user_rpm,
            tokens_per_minute=self.user_tpm,
            concurrency=self.user_concurrency,
            window=self.user_window,
        )

    def caps(self) -> tuple[Cap, ...]:
        """Return the budgets. Raises Invalid for an amount that is none."""
        windows = {"user-day": self.user_day, "user-month": self.user_month, "user-total": self.user_total}
        return caps_of(soft=False, **windows)


NONE: Final = Limits()
NO_USER: Final = UserLimits()
