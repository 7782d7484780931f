"""The rules both ledgers share: the bounds of what they take, and the refusals they give.

Promise: one breach, one error, with the field, the value, the limit and the remedy, whichever engine keeps the books.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kernel.errors import Conflict, Invalid, NotFound, OverBudget, Overloaded
from penstock.ports.ledger import NO_LIMIT, Hold, Posting

MAX_NANOS = 1 << 62  # of an account: 4.6 billion dollars; more is refused, so that 64 bits never overflow
MAX_AMOUNT_NANOS = 1 << 53  # of one operation: nine million dollars, and exact in JSON everywhere
MAX_LINES = 32
MAX_NAME = 512
MAX_PENDING = 100_000  # operations of one process at once; each is a request in flight
MAX_TIMEOUT_S = 31 * 86_400
MAX_SEQUENCE = 1_000_000


def over_budget(account: str, amount_nanos: int, room_nanos: int) -> OverBudget:
    """The refusal that names the account, the amount asked and the room there is."""
    return OverBudget(
        f"The budget of {account} has no room for this request.",
        field=account,
        value=amount_nanos,
        limit=max(0, room_nanos),
        remedy="Raise the budget or wait for its next window.",
    )


def already_settled(operation: str) -> Conflict:
    """The refusal of a second settlement, or of a hold after the settlement."""
    return Conflict(
        "The operation is settled; an operation settles exactly once.",
        code="already_settled",
        field="operation",
        value=operation,
        remedy="Begin a new operation.",
    )


def hold_differs(operation: str, amount_nanos: int, first_nanos: int) -> Conflict:
    """The refusal of a repeated hold that asks for something else than the first did."""
    return Conflict(
        "The operation already has a hold with this sequence and another amount.",
        code="hold_differs",
        field="amount_nanos",
        value=amount_nanos,
        limit=first_nanos,
        remedy=f"Repeat {operation} with the same amount, or top it up with the next sequence.",
    )


def lines_differ(operation: str) -> Conflict:
    """The refusal of a top-up on other accounts than the operation was opened on."""
    return Conflict(
        "A top-up must name the accounts that the operation was opened with.",
        code="lines_differ",
        field="lines",
        value=operation,
        remedy="Keep the lines of the first hold for its top-ups.",
    )


def too_many_pending() -> Overloaded:
    """The refusal of one operation more than may be pending."""
    return Overloaded("Too many operations are pending.", limit=MAX_PENDING, retry_after_s=1)


def unknown_operation(operation: str) -> NotFound:
    """The refusal of an operation that was never held."""
    return NotFound("No such operation was ever held.", field="operation", value=operation)


def check_hold(hold: Hold, limits: Sequence[int]) -> None:
    """Raise Invalid unless every field of `hold` is inside its bounds; `limits` are those of its lines."""
    if not 0 <= hold.amount_nanos <= MAX_AMOUNT_NANOS:
        raise Invalid(
            "The amount is out of bounds.",
            field="amount_nanos",
            value=hold.amount_nanos,
            limit=MAX_AMOUNT_NANOS,
        )
    if not 0 < len(hold.operation) <= MAX_NAME:
        raise Invalid("The operation's name is out of bounds.", field="operation", limit=MAX_NAME)
    if (
        not 0 <= hold.sequence <= MAX_SEQUENCE
        or not 0 < hold.timeout_s <= MAX_TIMEOUT_S
        or len(hold.facts) > MAX_NAME
    ):
        raise Invalid(
            "The hold's sequence, timeout or facts are out of bounds.",
            field="timeout_s",
            value=hold.timeout_s,
        )
    if not (hold.operation.isascii() and hold.facts.isascii()):
        check_text(hold.operation + hold.facts)
    if len(limits) > MAX_LINES or (limits and not NO_LIMIT <= min(limits) <= max(limits) <= MAX_NANOS):
        raise Invalid(
            "The lines are too many, or a limit is out of bounds.",
            field="lines",
            value=len(limits),
            limit=MAX_LINES,
        )


def check_posting(posting: Posting) -> None:
    """Raise Invalid unless the amount is in bounds and both sides, accounts and vendor, are equal."""
    if not 0 <= posting.amount_nanos <= MAX_AMOUNT_NANOS:
        raise Invalid(
            "The amount is out of bounds.",
            field="amount_nanos",
            value=posting.amount_nanos,
            limit=MAX_AMOUNT_NANOS,
        )
    if posting.attempts:
        cost_nanos = sum([attempt.cost_nanos for attempt in posting.attempts])
        if cost_nanos != posting.amount_nanos:
            raise Invalid(
                "The amount is not the sum over the attempts.",
                field="amount_nanos",
                value=posting.amount_nanos,
                limit=cost_nanos,
            )


def check_text(text: str) -> None:
    """Raise Invalid for half a surrogate pair, which no store can write down."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("The text holds half a character.", field="text", value=ascii(text[:64])) from error


def check_account(name: str) -> None:
    """Raise Invalid for a name that no account can have."""
    if not 0 < len(name) <= MAX_NAME:
        raise Invalid("An account's name is out of bounds.", field="lines", value=name[:64], limit=MAX_NAME)
    check_text(name)
