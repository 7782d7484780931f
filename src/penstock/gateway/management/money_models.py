"""Money as it is shown: what was spent, what is left, what things cost, what the ledger says of itself.

Promise: amounts are integer nano-dollars.
"""

from __future__ import annotations

from pydantic import BaseModel


class UsageRow(BaseModel):
    """What one account was charged. `held_nanos` is reserved by requests under way."""

    account: str
    posted_nanos: int
    held_nanos: int
    requests: int


class BudgetRow(BaseModel):
    """A budget now. `room_nanos` is what a request may still cost."""

    account: str
    level: str
    window: str
    limit_nanos: int
    posted_nanos: int
    held_nanos: int
    room_nanos: int
    hard: bool


class LedgerView(BaseModel):
    """The ledger's verdict on itself."""

    whole: bool
    entries: int
    operations: int
    pending: int
    posted_nanos: int
    held_nanos: int
    heads: dict[str, str]
    problems: list[str]


class PriceRow(BaseModel):
    """A price in force today, in nano-dollars per million tokens; `org` is whose it is, "" everybody's."""

    provider: str
    model: str
    org: str
    version: str
    input: int
    cached_input: int
    output: int
    context_window: int
    max_output_tokens: int
    free: bool
