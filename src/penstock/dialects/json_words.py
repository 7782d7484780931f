"""The words of JSON as models write them: where a value begins, what closes a string, how a word is said in JSON.

Promises: pure functions over a text and a place in it; each looks a bounded way ahead and answers None where what has
come does not settle it yet, so that the answer is the same whatever pieces the text comes in; each says "this is JSON
already" of everything that is.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Final

MAX_HELD: Final = 4096
"""Most characters held back: white space past it is dropped; prose, a name or a comment past it is a problem."""
MAX_GAP: Final = 4000
"""Longest white space or comment looked across, in characters."""
LOOK: Final = 64
"""How far behind a quote it is decided whether it closes its string, white space and a comma not counted."""
MAX_WORD: Final = 1024
"""Longest number or literal, in characters."""

QUOTES: Final = {'"': '"', "'": "'", "“": "”", "\u2018": "\u2019"}
"""What closes a string, by what opened it."""
PLAIN: Final = {close: re.compile(rf'[^{close}"\\\x00-\x1f]+') for close in QUOTES.values()}
"""What a string holds without further thought, by what closes it."""
SPACE: Final = re.compile(r"\s+")
FOREIGN_SPACE: Final = re.compile(r"[^ \t\n\r]")
COMMENT: Final = re.compile(
    rf"//[^\n]{{0,{MAX_GAP}}}(?=\n)|\#[^\n]{{0,{MAX_GAP}}}(?=\n)|/\*.{{0,{MAX_GAP}}}?\*/", re.DOTALL
)
BARE: Final = re.compile(r"[\w+.$-]+")
NAME: Final = re.compile(rf"([\w$][\w$.-]{{0,60}})(?=\s{{0,{MAX_GAP}}}:)")
_NAME: Final = r"[\w$][\w$.-]{0,60}"
_MAYBE_NAME: Final = re.compile(rf"{_NAME}\s{{0,{MAX_GAP}}}\Z")

_BRACKET: Final = re.compile(r"[{\[]")
_WORD: Final = r"(?:true|false|null|True|False|None)"
_START: Final = re.compile(
    rf"""\{{\s{{0,{MAX_GAP}}}(?:["'“\u2018}},]|//|/\*|\#|{_NAME}\s{{0,9}}:)"""
    rf"""|\[\s{{0,{MAX_GAP}}}(?:["'“\u2018{{\[\],+.\-\d]|//|/\*|{_WORD}\s{{0,9}}[,\]])"""
)
_MAYBE_START: Final = re.compile(
    rf"(?:\{{\s{{0,{MAX_GAP}}}(?:{_NAME}\s{{0,9}}|/)?|\[\s{{0,{MAX_GAP}}}(?:[A-Za-z]{{1,5}}\s{{0,9}}|/)?)\Z"
)
_NO_BRACE: Final = re.compile(r'"[^"\\\n]{1,60}"\s{0,9}:')
_MAYBE_NO_BRACE: Final = re.compile(r'"[^"\\\n]{0,60}(?:"\s{0,9})?\Z')

_GAP: Final = re.compile(r"\s*(?:,\s*)?")
_ENDS_MEMBER: Final = re.compile(
    rf"""\s*(?:\}}|\]\s*[,\]}}]|//|/\*|\#|```|\+\s*["']|,\s*(?:[\}}"'“,]|{_NAME}\s*:|//|/\*|\#)"""
    r"""|(["'])[\w$ .-]{1,40}\1\s*:)"""
)
_ENDS_ITEM: Final = re.compile(
    rf"""\s*(?:\]|\}}\s*[,\]}}]|//|/\*|\#|```|\+\s*["']|,\s*(?:[\]"'“{{\[,+.\-\d]|{_WORD}\b|//|/\*|\#))|\s*\n\s*["'{{\[]"""
)
_ENDS_TEXT: Final = re.compile(r"(?:[\s\]},`]*|\s*,\s*[\w$-]{1,9})\Z")

_GOOD_ESCAPE: Final = re.compile(
    r'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})'
)
_UNFINISHED_ESCAPE: Final = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?))?\Z"
)
_LONE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_CONTROLS: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z")
_LOOSE_NUMBER: Final = re.compile(
    r"\+?(-?)(?:(0|[1-9][0-9]*(?:_[0-9]+)*)(?:\.([0-9]*))?|\.([0-9]+))([eE][-+]?[0-9]+)?\Z"
)
_DIGITS: Final = re.compile(r"[-+.\d_eE]+\Z")
_LITERALS: Final = ("true", "false", "null")
_FOREIGN: Final = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "NULL": "null",
    "undefined": "null", "NaN": "null", "nan": "null", "Infinity": "null", "-Infinity": "null",
}  # fmt: skip


def find_value(text: str, at: int, opens: str, within: int, *, final: bool) -> int | None:
    """Return where the first bracket of `opens` stands that plausibly begins a value and is no part of a sentence,
    `within` so many characters; -1 when there is none.
    """
    for bracket in _BRACKET.finditer(text, at, at + within):
        begins = bracket.start()
        if bracket.group() in opens:
            if _START.match(text, begins):
                return begins
            if _MAYBE_START.match(text, begins):
                return None if not final else begins if begins == at else -1
    return None if not final and len(text) - at < within else -1


def lacks_brace(text: str, *, final: bool) -> bool | None:
    """Tell whether `text` begins with a member, its opening brace having been put in the model's mouth."""
    if _NO_BRACE.match(text):
        return True
    return None if not final and _MAYBE_NO_BRACE.match(text) else False


def bare_name(text: str, at: int, *, final: bool) -> str | None:
    """Return the name without quotes at `at`; "" when there is none."""
    name = NAME.match(text, at)
    if name is not None:
        return name.group()
    return None if not final and _MAYBE_NAME.match(text, at) else ""


def closes_string(text: str, at: int, *, in_list: bool, final: bool) -> bool | None:
    """Tell whether the quote at `at` closes the string value of a member or of a list's item: it does if what follows
    can follow a value, and is a quote within the words if not (``"he said "no" to me"``).
    """
    gap = _GAP.match(text, at + 1)
    after = len(text) if gap is None else gap.end()
    if after - at > MAX_GAP:
        return True
    if after == len(text):
        return True if final else None
    ends = _ENDS_ITEM if in_list else _ENDS_MEMBER
    if ends.match(text, at + 1, after + LOOK):
        return True
    if not final:
        return None if len(text) < after + LOOK else False
    return _ENDS_TEXT.match(text, at + 1) is not None


def escape(text: str, at: int, *, final: bool) -> tuple[str, int] | None:
    """Return what the backslash at `at` and its letters are in JSON, and where they end."""
    good = _GOOD_ESCAPE.match(text, at)
    if good is not None:
        return good.group(), good.end()
    if _UNFINISHED_ESCAPE.match(text, at):
        return ("", len(text)) if final else None
    if _LONE_ESCAPE.match(text, at):
        return "\\ufffd", at + 6
    following = text[at + 1]
    if following == "'":
        return "'", at + 2
    return ("\\n", at + 2) if following == "\n" else ("\\\\", at + 1)


def control(char: str) -> str:
    """Return a control character as a JSON string says it."""
    return _CONTROLS.get(char) or f"\\u{ord(char):04x}"


def word(token: str) -> str | None:
    """Return a number or literal as JSON says it; None when it is neither."""
    if token in _LITERALS:
        return token
    if _NUMBER.match(token):
        return token if isfinite(float(token)) else None
    if token in _FOREIGN:
        return _FOREIGN[token]
    loose = _LOOSE_NUMBER.match(token)
    if loose is None:
        return None
    sign, whole, part, only_part, power = loose.groups()
    fraction = part or only_part
    return f"{sign}{(whole or '0').replace('_', '')}{'.' + fraction if fraction else ''}{power or ''}"


def unfinished_word(token: str) -> str | None:
    """Return the literal that a cut left the beginning of; "" for a number, which nobody can finish; None for words."""
    if _DIGITS.match(token):
        return ""
    literal = next((literal for literal in (*_LITERALS, *_FOREIGN) if literal.startswith(token)), None)
    return None if literal is None else _FOREIGN.get(literal, literal)
