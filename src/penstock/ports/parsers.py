"""From the bytes of a document to text in blocks: where its structure is, so that it can be cut there.

Promises
1. The text of every block is valid Unicode without NUL and without lone surrogates; blocks come in reading order.
2. A document that cannot be read is `Invalid` with a code (`unreadable`, `encrypted`, `too_large`, `no_text`,
   `unsupported_type`) and a remedy, never an exception of a library and never a half that is called whole: what was
   left out for a bound is told in `omitted`.
3. Memory, time, pages and characters are bounded whatever the bytes are; a parser that is lost takes nobody along.
4. The same bytes give the same blocks.

Errors: Invalid; Unavailable (the helper died or was too slow, and that was not the document's fault alone).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "page"]


class Block(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece that belongs together. `level` of a heading counts from 1; `page` from 1, 0 where there are none."""

    text: str
    kind: BlockKind = "paragraph"
    level: int = 0
    page: int = 0


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A document's text. `language` is ISO 639-1, "" when it cannot be told; `omitted` says what was left out."""

    blocks: tuple[Block, ...]
    title: str = ""
    language: str = ""
    omitted: tuple[str, ...] = ()


class Parser(Protocol):
    """Reads documents. See the promises above."""

    async def parse(self, content: bytes, media_type: str, name: str = "") -> Parsed:
        """Read one document. `media_type` as in RFC 9110 (parameters allowed); "" has it told from `name` and bytes."""
        ...

    async def close(self) -> None:
        """Let everything go."""
        ...
