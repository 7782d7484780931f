"""HTML by selectolax (Lexbor, the parser of the HTML standard): headings, paragraphs, lists, tables and code.

Scripts, styles, navigation, forms' controls and what is hidden are no text of the document and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from penstock.adapters.parsers.reading import Reading, clean, one_line
from penstock.adapters.parsers.text import decoded
from penstock.ports.parsers import Block, BlockKind

_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{2,40})", re.IGNORECASE)
_HEAD_BYTES: Final = 4_096
# fmt: off
_LEFT_OUT: Final = frozenset((
    "script", "style", "noscript", "template", "svg", "math", "nav", "iframe", "object", "canvas", "select", "button",
    "textarea", "head", "dialog",
))
_APART: Final = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html", "legend", "li", "main", "ol", "p",
    "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))
# fmt: on
"""Tags that begin and end a paragraph."""
_LEVELS: Final = {f"h{level}": level for level in range(1, 7)}
_CONTAINERS: Final[dict[str, BlockKind]] = {
    "ul": "list",
    "ol": "list",
    "dl": "list",
    "table": "table",
    "pre": "code",
}
INDENT: Final = "\x00"
"""Two blanks that are not folded; a clean text has none."""
_BLANKS: Final = re.compile(r"[ \t]*\n\s*|[ \t\u00a0]+")


def read_html(content: bytes, charset: str) -> Reading:
    """Read a page. Raises Unreadable for what is no text."""
    found = _CHARSET.search(content, 0, _HEAD_BYTES)
    text, omitted = decoded(content, charset or (found[1].decode("ascii", "replace") if found else ""))
    reading = from_html(clean(text))
    return Reading(blocks=reading.blocks, title=reading.title, omitted=omitted)


def from_html(text: str) -> Reading:
    """Read a page's clean text."""
    tree = LexborHTMLParser(text)
    title = tree.css_first("head > title")
    page = _Page()
    for entering, node in _walked(tree.root) if tree.root is not None else ():
        page.enter(node) if entering else page.leave(node)
    page.end()
    heads = (block.text for block in page.blocks if block.level == 1)
    return Reading(blocks=page.blocks, title=one_line(title.text()) if title else next(heads, ""))


def _walked(root: LexborNode) -> Iterator[tuple[bool, LexborNode]]:
    """Yield each node as it is entered (True) and left, however deep they lie; those left out are not entered."""
    node, path = root, list[LexborNode]()
    while True:
        if not _left_out(node):
            yield True, node
            if (child := node.child) is not None:
                path.append(node)
                node = child
                continue
            yield False, node
        while node.next is None:
            if not path:
                return
            node = path.pop()
            yield False, node
        node = node.next


def _left_out(node: LexborNode) -> bool:
    if node.tag in _LEFT_OUT:
        return True
    if not node.tag or node.tag.startswith("-"):
        return node.tag == "-comment"
    attributes = node.attrs
    return "hidden" in attributes or attributes.get("aria-hidden") == "true"


class _Page:
    """Gathers blocks from nodes in reading order."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._said: list[str] = []
        self._within: list[str] = []
        """The containers around; the outermost one decides what kind of block all of it is."""
        self._level = 0
        self._in_row = False

    def enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._say(node.text_content or "")
        elif tag == "br":
            self._said.append("\n")
        elif tag in _LEVELS and not self._within:
            self.end()
            self._level = _LEVELS[tag]
        elif tag in _CONTAINERS:
            self._open(tag)
        elif self._within:
            self._inside(tag)
        elif tag in _APART:
            self.end()

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if self._within and tag == self._within[-1]:
            self._within.pop()
            if not self._within:
                self.end(_CONTAINERS[tag])
        elif not self._within and (tag in _APART or tag in _LEVELS):
            self.end()

    def end(self, kind: BlockKind = "paragraph") -> None:
        """End the block under way."""
        text = "".join(self._said)
        self._said.clear()
        if kind != "code":
            lines = _BLANKS.sub(_blank, text).split("\n")
            text = "\n".join(line.strip() for line in lines if line.strip()).replace(INDENT, "  ")
        level, self._level = self._level, 0
        if text.strip():
            text = one_line(text) if level else text.strip("\n") if kind == "code" else text.strip()
            self.blocks.append(Block(text=text, kind="heading" if level else kind, level=level))

    def _open(self, tag: str) -> None:
        if not self._within:
            self.end()
        self._within.append(tag)

    def _inside(self, tag: str) -> None:
        """Keep the shape of a list or table."""
        if tag in {"li", "dt", "dd"}:
            depth = max(0, min(8, sum(each != "table" for each in self._within) - 1))
            self._said.append("\n" + INDENT * (depth + (tag == "dd")) + ("- " if tag == "li" else ""))
        elif tag == "tr":
            self._said.append("\n")
            self._in_row = False
        elif tag in {"td", "th"}:
            self._said.append(" | " if self._in_row else "")
            self._in_row = True
        elif tag in _APART or tag in _LEVELS:
            self._said.append(" ")

    def _say(self, text: str) -> None:
        if "pre" not in self._within:
            text = _BLANKS.sub(" ", text)
        self._said.append(text)


def _blank(match: re.Match[str]) -> str:
    return "\n" if "\n" in match[0] else " "
