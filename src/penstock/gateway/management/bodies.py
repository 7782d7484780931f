"""What the bodies of the management API are made of. Unknown members are refused, so nothing is smuggled past a reader.

Promise: identifiers are 1 to 64 of ``a-z A-Z 0-9 . _ -``; a label is one line without control
characters; amounts are integer nano-dollars; 0 is no limit.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Invalid

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Label = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
Model = Annotated[str, Field(min_length=1, max_length=256)]
Models = Annotated[list[Model], Field(max_length=200)]
Nanos = Annotated[int, Field(ge=0, le=9_000_000_000_000_000_000, strict=True)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
AtOneTime = Annotated[int, Field(ge=0, le=100_000, strict=True)]
"""As many as the state store counts: above that it refuses every request instead of limiting any."""
Flag = Annotated[bool, Field(strict=True)]


class Body(BaseModel):
    """A strict body: unknown members are refused, and neither text nor a truth value is taken for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RateBody(Body):
    """Limits of one scope; 0 is no limit. `window`: counted over any minute, exactly, not by a bucket that refills."""

    requests_per_minute: Count = 0
    tokens_per_minute: Count = 0
    concurrency: AtOneTime = 0
    window: Flag = False

    def rate(self) -> Rate:
        """Return the limits as the platform keeps them."""
        return Rate(**self.model_dump())


class CapBody(Body):
    """A budget: at most `limit_nanos` nano-dollars per window (UTC)."""

    window: Literal["day", "month", "total"]
    limit_nanos: Nanos
    warn_percent: Annotated[list[Annotated[int, Field(ge=1, le=100, strict=True)]], Field(max_length=10)] = [
        50,
        80,
        100,
    ]
    hard: Flag = True


Caps = Annotated[list[CapBody], Field(max_length=3)]


def caps_of(bodies: list[CapBody]) -> tuple[Cap, ...]:
    """Return the budgets as the platform keeps them; Invalid when a window has two."""
    windows = [body.window for body in bodies]
    if len(set(windows)) != len(windows):
        raise Invalid("A window may have one budget.", field="caps.window", value=", ".join(windows))
    return tuple(
        Cap(window=b.window, limit_nanos=b.limit_nanos, warn_percent=tuple(b.warn_percent), hard=b.hard)
        for b in bodies
    )
