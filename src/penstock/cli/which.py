"""Which requests are meant, as options: the same ones wherever requests are looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import Invalid
from penstock.sdk.requests import Filter

UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(r"([0-9]{1,7})([smhdw])", re.ASCII)
_AT: Final = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?)?", re.ASCII)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:
    """Which requests are meant; what is not given admits all."""

    org: Annotated[
        str, Parameter(help="Organisation; your key's own by default, '*' each.", show_default=False)
    ] = ""
    team: Annotated[str, Parameter(help="Only of this team.", show_default=False)] = ""
    project: Annotated[str, Parameter(help="Only of this project.", show_default=False)] = ""
    user: Annotated[str, Parameter(help="Only of this user.", show_default=False)] = ""
    key: Annotated[str, Parameter(help="Only under the key of this id.", show_default=False)] = ""
    feature: Annotated[str, Parameter(help="Only tagged with this feature.", show_default=False)] = ""
    model: Annotated[str, Parameter(help="Only served by this model.", show_default=False)] = ""
    provider: Annotated[str, Parameter(help="Only served by this provider.", show_default=False)] = ""
    outcome: Annotated[
        Literal["ok", "refused", "failed"] | None,
        Parameter(help="Only with this outcome.", show_default=False),
    ] = None

    def filter(self, since_s: float = 0.0, until_s: float = 0.0) -> Filter:
        """Return them as the client says it, within a period (0 is no bound)."""
        return Filter(
            org=self.org,
            team=self.team,
            project=self.project,
            user=self.user,
            key_id=self.key,
            feature=self.feature,
            model=self.model,
            provider=self.provider,
            outcome=self.outcome or "",
            since_s=since_s,
            until_s=until_s,
        )


ALL: Final = Which()


def moment(option: str, text: str, clock: Clock | None = None) -> float:
    """Return a time as seconds since 1970, "" as 0: `90m` ago (s, m, h, d, w), or a UTC date, with a time or without.

    Raises Invalid naming the option.
    """
    if not text:
        return 0.0
    if ago := _AGO.fullmatch(text):
        return max((clock or SystemClock()).wall_s() - int(ago[1]) * UNITS_S[ago[2]], 1.0)
    try:
        if not _AT.fullmatch(text):
            raise ValueError
        at = datetime.fromisoformat(f"{text}-01" if len(text) == len("2026-11") else text)
    except ValueError:
        raise Invalid(
            "This is no time.",
            field=f"--{option}",
            value=text,
            remedy="Say how long ago (90m, 24h, 7d) or when (2026-11-20, 2026-11-20T08:30, UTC).",
        ) from None
    return at.replace(tzinfo=UTC).timestamp()


def calendar(option: str, text: str) -> tuple[float, float]:
    """Return the first second of a UTC day or month and the first after it, "" as no bounds. Raises Invalid."""
    if text and len(text) not in (len("2026-11"), len("2026-11-20")):
        raise Invalid(
            "This is no day.",
            field=f"--{option}",
            value=text,
            remedy="Say 2026-11-20, or 2026-11 for a month.",
        )
    since_s = moment(option, text)
    if not text:
        return 0.0, 0.0
    if len(text) == len("2026-11-20"):
        return since_s, since_s + UNITS_S["d"]
    first = datetime.fromtimestamp(since_s, UTC)
    after = datetime(first.year + first.month // 12, first.month % 12 + 1, 1, tzinfo=UTC)
    return since_s, after.timestamp()
