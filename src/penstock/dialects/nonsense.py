"""What a vendor sent that is no answer, as the error its caller gets: an `Upstream`, ``malformed_reply``."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.kernel.errors import Invalid, Upstream

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not JSON of its shape."""


def no_reply(what: str, error: Exception) -> Upstream:
    """Build the error of a whole reply that is not `what`."""
    return _malformed(f"The provider's reply is not {what}", error)


def no_event(error: Exception) -> Upstream:
    """Build the error of an event of a stream that says nothing a stream of its kind can say."""
    return _malformed("An event of the provider's stream is malformed", error)


def _malformed(message: str, error: Exception) -> Upstream:
    if isinstance(error, Invalid):
        return Upstream(
            f"{message}: {error.message}", code="malformed_reply", field=error.field, value=error.value
        )
    return Upstream(f"{message}.", code="malformed_reply", value=str(error))
