"""The error tree, ordered by what the caller can do about it.

    PenstockError
    ├── Rejected              the request must change before it can succeed; never retried
    │   ├── Invalid             400  a field is wrong
    │   ├── TooLarge            413  the bytes exceed a bound
    │   ├── Unauthenticated     401  no usable key
    │   ├── Forbidden           403  the key may not do this
    │   ├── NotFound            404  no such thing (or not yours: the two look the same)
    │   ├── OverLimit           429  a rate or concurrency limit; `retry_after_s` says when there is room
    │   ├── OverBudget          429  money ran out; waiting seconds will not help
    │   └── PolicyRefused       403  a rule of the tenant forbids it
    ├── Unavailable           the same request may succeed later; retryable within the deadline
    │   ├── TimedOut            504  a timer ran out
    │   ├── Overloaded          503  a bound of ours is full, or we are draining
    │   ├── Upstream            502  a dependency failed or spoke nonsense
    │   └── Cancelled           499  the caller went away
    ├── Conflict              409  somebody else was first
    │   ├── IdempotencyConflict same key with another body, or still in flight
    │   └── StaleVersion        the row changed since it was read
    └── Broken                500  an invariant does not hold; the message ends "This is a bug."

Promise: an error's text never contains a secret; `field`, `value`, `limit` and `remedy` are filled whenever they
are known, so that a dialect can render them without parsing prose. A class's docstring is its default message.
"""

from __future__ import annotations

from typing import ClassVar


class PenstockError(Exception):
    """Something went wrong in Penstock."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        field: str = "",
        value: object = None,
        limit: object = None,
        remedy: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """Build the error.

        `code` refines the class's machine-readable code. `field` is the dotted path of the input at fault, `value`
        what it held, `limit` the bound it met, `remedy` one sentence on what to do, `retry_after_s` seconds.
        """
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.reason = code or type(self).code
        self.field = field
        self.value = value
        self.limit = limit
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    def __str__(self) -> str:
        """One line for people: message, figures, remedy."""
        parts = [self.message]
        if self.field:
            parts.append(f"field: {self.field}")
        if self.value is not None:
            parts.append(f"value: {self.value}")
        if self.limit is not None:
            parts.append(f"limit: {self.limit}")
        if self.remedy:
            parts.append(self.remedy)
        return " · ".join(parts)


class Rejected(PenstockError):
    """The request cannot be served as it stands."""

    code, status, exit_code = "rejected", 400, 2


class Invalid(Rejected):
    """The request is malformed."""

    code = "invalid_request"


class TooLarge(Rejected):
    """The request is larger than this server accepts."""

    code, status = "request_too_large", 413


class Unauthenticated(Rejected):
    """No valid API key was given. Send it as `Authorization: Bearer <key>`."""

    code, status, exit_code = "invalid_api_key", 401, 3


class Forbidden(Rejected):
    """This key is not allowed to do that."""

    code, status, exit_code = "forbidden", 403, 3


class NotFound(Rejected):
    """There is no such thing here."""

    code, status, exit_code = "not_found", 404, 4


class OverLimit(Rejected):
    """A rate limit is reached. Wait for `retry-after` seconds."""

    code, status, exit_code = "rate_limit_exceeded", 429, 5


class OverBudget(Rejected):
    """The budget has no room for this request. Raise the budget or wait for its next window."""

    code, status, exit_code = "insufficient_quota", 429, 5


class PolicyRefused(Rejected):
    """A rule of your organisation forbids this request."""

    code, status, exit_code = "policy_refused", 403, 3


class Unavailable(PenstockError):
    """The request could not be served just now."""

    code, status, exit_code = "unavailable", 503, 6


class TimedOut(Unavailable):
    """A timer ran out before the answer was complete."""

    code, status = "timeout", 504


class Overloaded(Unavailable):
    """The server is at a bound. Retry after the given seconds."""

    code = "overloaded"


class Upstream(Unavailable):
    """A dependency failed."""

    code, status = "upstream_error", 502


class Cancelled(Unavailable):
    """The caller went away before the answer was complete."""

    code, status = "cancelled", 499


class Conflict(PenstockError):
    """Somebody else was first."""

    code, status, exit_code = "conflict", 409, 7


class IdempotencyConflict(Conflict):
    """This Idempotency-Key was used with another body or is still in flight."""

    code = "idempotency_conflict"


class StaleVersion(Conflict):
    """The record changed since it was read. Read it again and repeat the change."""

    code = "stale_version"


class Broken(PenstockError):
    """An invariant does not hold. This is a bug."""

    code, exit_code = "internal_error", 70

    def __init__(self, message: str = "", **facts: object) -> None:
        """State the invariant that failed; the closing sentence is added."""
        text = message or "An invariant does not hold."
        super().__init__(text if text.endswith("This is a bug.") else f"{text} This is a bug.")
        self.facts = facts
