"""Programs: each top-level definition with the comments above it is a block; one that is long, its members.

By tree-sitter where the language has a grammar here; else (and for structured text: JSON, YAML, shell …) by lines that
begin at the margin after a blank one. Nothing is left out: the blocks are the whole file in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import tree_sitter_c
import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import tree_sitter_rust
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from penstock.adapters.parsers.reading import Reading, clean
from penstock.adapters.parsers.text import decoded
from penstock.ports.parsers import Block

GRAMMARS: Final[dict[str, Callable[[], object]]] = {
    "python": tree_sitter_python.language,
    "javascript": tree_sitter_javascript.language,
    "typescript": tree_sitter_typescript.language_typescript,
    "tsx": tree_sitter_typescript.language_tsx,
    "go": tree_sitter_go.language,
    "rust": tree_sitter_rust.language,
    "java": tree_sitter_java.language,
    "c": tree_sitter_c.language,
    "cpp": tree_sitter_cpp.language,
}
LONG_BYTES: Final = 2_000
"""A definition that is longer is divided into its members."""
DEPTH_MOST: Final = 4
_MARGIN: Final = re.compile(r"\n[ \t]*\n(?=[^\s})\]])")
_DEFINES: Final = re.compile(
    r"definition|declaration|_item|_specifier$|export_statement|namespace|^impl|^mod|^method|^function|^class"
)
_SMALL: Final = re.compile(
    r"import|use_declaration|package|include|extern_crate|^declaration$|lexical_declaration"
)
"""What stands in crowds of one line each, and belongs together."""


def read_code(content: bytes, charset: str, language: str) -> Reading:
    """Read a program in `language` (a key of `GRAMMARS`, or anything else). Raises Unreadable for what is no text."""
    text, omitted = decoded(content, charset)
    text = clean(text)
    grammar = GRAMMARS.get(language)
    parts = _definitions(text.encode(), grammar) if grammar is not None else _MARGIN.split(text)
    blocks = [Block(text=part.strip("\n"), kind="code") for part in parts]
    return Reading(blocks=blocks, omitted=omitted, prose=False)


def _definitions(source: bytes, grammar: Callable[[], object]) -> Iterator[str]:
    """Yield the source in parts, each from the start of a definition's line to the start of the next's."""
    root = Parser(Language(grammar())).parse(source).root_node
    starts = sorted({0, *(_line_start(source, at) for at in _begins(root, 0)), len(source)})
    for start, end in pairwise(starts):
        yield source[start:end].decode()


def _begins(node: Node, depth: int) -> Iterator[int]:
    """Yield where definitions begin among the children of a node, each with the comments right above it."""
    above: Node | None = None
    """The first of the comments above."""
    last_end, after_definition = -1, False
    for child in node.named_children:
        touches = child.start_point.row <= last_end + 1
        if "comment" in child.type or child.type in {"attribute_item", "decorator"}:
            above = above if above is not None and touches else child
            last_end = child.end_point.row
            continue
        defines = bool(_DEFINES.search(child.type)) and not _SMALL.search(child.type)
        if defines or after_definition:
            yield (above if above is not None and touches else child).start_byte
        if defines and child.end_byte - child.start_byte > LONG_BYTES and depth < DEPTH_MOST:
            yield from _begins(_body(child), depth + 1)
        above, last_end, after_definition = None, child.end_point.row, defines


def _body(node: Node) -> Node:
    """Return what holds a definition's members."""
    for _ in range(DEPTH_MOST):
        inner = node.child_by_field_name("definition") or node.child_by_field_name("declaration")
        if inner is None:
            break
        node = inner
    return node.child_by_field_name("body") or node


def _line_start(source: bytes, at: int) -> int:
    """Return the start of the line, if only blanks stand before `at` in it."""
    start = source.rfind(b"\n", 0, at) + 1
    return start if not source[start:at].strip() else at
