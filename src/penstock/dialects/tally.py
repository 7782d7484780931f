"""The counters that the `codec.Facts` of every dialect keeps of a stream, and how usage is counted.

Promise: usage given twice: the last one counts and `usage_repeated` is set; a figure that went down sets
`usage_decreased`.
"""

from __future__ import annotations

from msgspec import Raw

from penstock.kernel.money import Usage


class Tally:
    """What a stream means to accounting so far."""

    __slots__ = (
        "deltas",
        "done",
        "error",
        "finish",
        "id",
        "malformed",
        "model",
        "text_bytes",
        "tool_calls",
        "usage",
        "usage_decreased",
        "usage_repeated",
    )

    def __init__(self) -> None:
        """Know nothing yet."""
        self.id = ""
        self.model = ""
        self.deltas = 0
        """Events that carried generated text; vendors put one token or a few into each."""
        self.text_bytes = 0
        self.tool_calls = 0
        self.usage: Usage | None = None
        self.usage_repeated = False
        self.usage_decreased = False
        self.finish = ""
        """The last finish reason seen."""
        self.done = False
        self.error = b""
        """The vendor's error as written."""
        self.malformed = 0

    def hear(self, words: str) -> None:
        """Count one event's generated text."""
        if words:
            self.deltas += 1
            self.text_bytes += len(words) if words.isascii() else len(words.encode())

    def count(self, usage: Usage) -> None:
        """Take usage that a vendor gives once."""
        if self.usage is not None:
            self.usage_repeated = True
        self.recount(usage)

    def recount(self, usage: Usage) -> None:
        """Take usage of a vendor that tells how far it is more than once."""
        before = self.usage
        if before is not None and (
            usage.input_tokens < before.input_tokens or usage.output_tokens < before.output_tokens
        ):
            self.usage_decreased = True
        self.usage = usage


def told(error: Raw) -> bytes:
    """Return a vendor's `error` member as written; b"" when there is none or it is null."""
    text = bytes(error)
    return b"" if text == b"null" else text
