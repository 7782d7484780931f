"""Markdown by markdown-it-py (CommonMark and tables): what it says, without its marks; HTML within it as HTML.

Front matter between two lines of ``---`` is kept as a part of its own; its ``title:`` is the document's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from penstock.adapters.parsers.html import from_html
from penstock.adapters.parsers.reading import Reading, clean
from penstock.adapters.parsers.text import decoded
from penstock.ports.parsers import Block, BlockKind

_FRONT: Final = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_CHARS: Final = 20_000
_TITLE: Final = re.compile(r"^title:[ \t]*[\"']?(.*?)[\"']?[ \t]*$", re.MULTILINE)
_ENDS: Final[dict[str, BlockKind]] = {
    "paragraph_close": "paragraph",
    "bullet_list_close": "list",
    "ordered_list_close": "list",
    "table_close": "table",
}
_LISTS: Final = frozenset({"bullet_list", "ordered_list"})


def read_markdown(content: bytes, charset: str) -> Reading:
    """Read Markdown. Raises Unreadable for what is no text."""
    text, omitted = decoded(content, charset)
    text = clean(text)
    front = _FRONT.match(text, 0, _FRONT_CHARS)
    page = _Page()
    page.read(MarkdownIt("commonmark").enable("table").parse(text[front.end() :] if front else text))
    blocks = [Block(text=front[1], kind="code"), *page.blocks] if front else page.blocks
    named = _TITLE.search(front[1]) if front else None
    heads = (block.text for block in page.blocks if block.level == 1)
    return Reading(blocks=blocks, title=named[1] if named else next(heads, ""), omitted=omitted)


class _Page:
    """Gathers blocks from tokens in reading order."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._said: list[str] = []
        self._lists: list[int] = []
        """The lists around, each with the number of its next item; 0 for one without numbers."""
        self._within = 0
        """How many lists and tables are around: what is in one belongs together."""
        self._level = 0
        self._in_row = False

    def read(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._take(token)
        self._end("paragraph")

    def _take(self, token: Token) -> None:
        if token.type in {"fence", "code_block"}:
            self._code(token.content)
        elif token.type == "html_block":
            self._html(token.content)
        elif token.type == "inline":
            self._said.append(plain(token.children or ()))
        elif token.nesting > 0:
            self._open(token)
        elif token.nesting < 0:
            self._close(token)

    def _open(self, token: Token) -> None:
        noun = token.type.removesuffix("_open")
        if noun in _LISTS:
            self._lists.append(int(token.attrs.get("start", 1)) if noun == "ordered_list" else 0)
            self._within += 1
        elif noun == "table":
            self._within += 1
        elif noun == "list_item":
            self._item()
        elif noun == "tr":
            self._in_row = False
            self._said.append("\n")
        elif noun in {"td", "th"}:
            self._said.append(" | " if self._in_row else "")
            self._in_row = True
        elif noun == "heading" and not self._within:
            self._level = int(token.tag[1:])

    def _item(self) -> None:
        number = self._lists[-1]
        self._lists[-1] += number > 0
        mark = f"{number}. " if number else "- "
        self._said.append("\n" + "  " * (len(self._lists) - 1) + mark)

    def _close(self, token: Token) -> None:
        noun = token.type.removesuffix("_close")
        if noun in _LISTS:
            self._lists.pop()
        self._within -= noun in _LISTS or noun == "table"
        if self._within:
            self._said.append("\n" + "  " * len(self._lists) if noun in {"paragraph", "heading"} else "")
        elif noun == "heading":
            self._end("heading")
        elif kind := _ENDS.get(token.type):
            self._end(kind)

    def _code(self, text: str) -> None:
        if self._within:
            self._said.append("\n" + text)
        else:
            self.blocks.append(Block(text=text.strip("\n"), kind="code"))

    def _html(self, text: str) -> None:
        blocks = from_html(text).blocks
        if self._within:
            self._said += [f"\n{block.text}" for block in blocks]
        else:
            self.blocks += blocks

    def _end(self, kind: BlockKind) -> None:
        lines = "".join(self._said).split("\n")
        self._said.clear()
        text = "\n".join(line.rstrip() for line in lines if line.strip())
        level, self._level = self._level, 0
        if text:
            self.blocks.append(Block(text=text, kind=kind, level=level))


def plain(tokens: Sequence[Token]) -> str:
    """Return what a reader sees of a line: a link's text, an image's description, breaks as line ends."""
    said: list[str] = []
    for token in tokens:
        if token.type in {"softbreak", "hardbreak"}:
            said.append("\n")
        elif token.type in {"text", "code_inline", "text_special", "image"}:
            said.append(token.content)
    return "".join(said)
