"""Rules by tenant: a list of tables of the settings → what holds for whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from penstock.gateway.privacy import Tenant
from penstock.kernel.errors import Invalid


class Row(Protocol):
    """A table that says whom it is for; "" stands for each that has no table of its own."""

    @property
    def org(self) -> str:
        """Return the organisation."""
        ...

    @property
    def team(self) -> str:
        """Return the team."""
        ...


S = TypeVar("S", bound=Row)
R = TypeVar("R")


def by_tenant(name: str, rows: tuple[S, ...], made: Callable[[str, S], R]) -> dict[Tenant, R]:
    """Return what `made` makes of each table of the list `name` (it is told where the table is). Raises Invalid for a
    tenant with two, and what `made` raises.
    """
    rules: dict[Tenant, R] = {}
    for place, row in enumerate(rows):
        if (row.org, row.team) in rules or (row.team and not row.org):
            raise Invalid(
                "Rules are for each tenant once, and a team has an organisation.",
                field=f"{name}[{place}]", value=f"{row.org}/{row.team}",
            )  # fmt: skip
        rules[row.org, row.team] = made(f"{name}[{place}]", row)
    return rules
