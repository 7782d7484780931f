"""JSON that is still arriving: the value so far, where its writer is, and the words of one string as they come.

    stream = JsonStream(field="/answer")
    for piece in pieces:
        show(stream.feed(piece))        # text of /answer, decoded: escapes and surrogate pairs cross borders
        stream.value                    # {"sources": [1, 2], "answer": "The cap"}

Promises: any cutting of a text into pieces gives the same value, the same field text and the same refusal as the whole;
work is linear in the text, whatever the pieces; depth, length and tokens are bounded; what is shown never has to be
taken back (a number shows once it is complete, a name with its value; a chosen field that comes twice is refused).
A piece within a string costs about 1 µs.
"""

from __future__ import annotations

import json
import re
from typing import Final

from msgspec import UNSET

from penstock.dialects.strict_json import MAX_DEPTH
from penstock.kernel.errors import Upstream

MAX_CHARS: Final = 4 * 1024 * 1024
"""Longest text read, in characters."""
MAX_TOKEN: Final = 1024
"""Longest number, in characters."""

_SPACE: Final = re.compile(r"[ \t\n\r]+")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]+')
_BARE: Final = re.compile(r"[-+.0-9A-Za-z]+")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z")
_LITERALS: Final = {"true": True, "false": False, "null": None}
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_ESCAPE: Final = re.compile(
    r'\\(?:(["\\/bfnrt])|(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))'
)
# The beginning of an escape, or of the second half of a pair, at the end of what has come.
_UNFINISHED: Final = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?))?\Z"
)
_LONE: Final = re.compile("[\ud800-\udfff]")

# What may come next.
_VALUE, _FIRST_VALUE, _KEY, _FIRST_KEY, _COLON, _AFTER, _END = range(7)
_WANTED: Final = (
    "a value",
    "a value or ]",
    "a name",
    "a name or }",
    "a colon",
    "a comma or a bracket",
    "its end",
)


class JsonStream:
    """Reads one JSON value from pieces of text. `field` is the JSON pointer (RFC 6901) of a string to hand on."""

    __slots__ = (
        "_bare", "_chars", "_escape", "_expect", "_field", "_field_seen", "_in_key", "_in_string", "_max_chars",
        "_nest", "_path", "_root", "_streaming", "_string",
    )  # fmt: skip

    def __init__(self, field: str | None = None, *, max_chars: int = MAX_CHARS) -> None:
        """Start before the first character. Raises `ValueError` for a field that is no JSON pointer."""
        if field and not field.startswith("/"):
            raise ValueError(f"A JSON pointer starts with a slash: {field}")
        self._field = field
        self._field_seen = False
        self._max_chars = max_chars
        self._chars = 0
        self._expect = _VALUE
        self._root: object = UNSET
        self._nest: list[dict[str, object] | list[object]] = []
        self._path: list[str | int] = []
        self._string: list[str] = []
        self._in_string = False
        self._in_key = False
        self._streaming = False
        self._escape = ""
        self._bare = ""

    @property
    def complete(self) -> bool:
        """Whether the value is whole: only white space may follow."""
        return self._expect == _END

    @property
    def value(self) -> object:
        """The value so far, an open string included; `UNSET` before anything is known. It goes on growing: look at it,
        do not change it.
        """
        if self._in_string and not self._in_key:
            self._string = ["".join(self._string)]
            self._put(self._string[0])
        return self._root

    @property
    def path(self) -> str:
        """The JSON pointer of what is being written, or was last."""
        return "".join(["/" + str(step).replace("~", "~0").replace("/", "~1") for step in self._path])

    def feed(self, piece: str) -> str:
        """Take the next piece; return what it adds to the chosen field. Raises `Upstream` (``malformed_json``,
        ``json_too_deep``, ``json_too_long``), after which the stream is of no use.
        """
        self._chars += len(piece)
        if self._chars > self._max_chars:
            raise Upstream("The JSON is too long.", code="json_too_long", limit=self._max_chars)
        said: list[str] = []
        piece, self._escape = self._escape + piece, ""
        at = 0
        while at < len(piece):
            if self._in_string:
                at = self._inside(piece, at, said)
            elif self._bare:
                at = self._bare_on(piece, at)
            else:
                at = self._outside(piece, at)
        return "".join(said)

    def close(self) -> None:
        """Say that the text has ended. Raises `Upstream` unless the value is whole."""
        if self._bare:
            self._end_bare()
        if self._expect != _END or self._in_string:
            raise self._malformed("it ends before its value is whole")

    # -------------------------------------------------------------------------------------------- strings

    def _inside(self, piece: str, at: int, said: list[str]) -> int:
        plain = _PLAIN.match(piece, at)
        if plain is not None:
            text, at = plain.group(), plain.end()
        elif piece[at] == '"':
            self._end_string()
            return at + 1
        elif piece[at] == "\\":
            text, at = self._unescape(piece, at)
        else:
            raise self._malformed("a string holds a control character")
        self._string.append(text)
        if self._streaming:
            said.append(text)
        return at

    def _unescape(self, piece: str, at: int) -> tuple[str, int]:
        if _UNFINISHED.match(piece, at):
            self._escape = piece[at:]
            return "", len(piece)
        escape = _ESCAPE.match(piece, at)
        if escape is None:
            raise self._malformed("a string holds an unknown escape")
        short, pair, code = escape.groups()
        if short:
            return _SHORT[short], escape.end()
        if pair:
            high, low = int(pair[1:5], 16) - 0xD800, int(pair[7:], 16) - 0xDC00
            return chr(0x10000 + (high << 10) + low), escape.end()
        return _LONE.sub("\ufffd", chr(int(code, 16))), escape.end()

    def _begin_string(self) -> None:
        self._in_key = self._expect in (_KEY, _FIRST_KEY)
        if not self._in_key:
            self._need_value()
            if self._field is not None and self._field == self.path:
                if self._field_seen:
                    raise self._malformed(f"{self._field} comes twice, and its text was handed on")
                self._field_seen = self._streaming = True
        self._in_string, self._string = True, []

    def _end_string(self) -> None:
        self._in_string = self._streaming = False
        text = "".join(self._string)
        if self._in_key:
            self._path[-1] = text
            self._expect = _COLON
        else:
            self._end_value(text)

    # -------------------------------------------------------------------------------- numbers and literals

    def _bare_on(self, piece: str, at: int) -> int:
        more = _BARE.match(piece, at)
        if more is None:
            if not self._bare:
                raise self._unexpected(piece[at])
            self._end_bare()
            return at
        self._bare += more.group()
        if len(self._bare) > MAX_TOKEN:
            raise self._malformed("a number is too long")
        return more.end()

    def _end_bare(self) -> None:
        token, self._bare = self._bare, ""
        if token in _LITERALS:
            self._end_value(_LITERALS[token])
        elif _NUMBER.match(token):
            self._end_value(json.loads(token))
        else:
            raise self._malformed(f"it holds an unknown word, {token[:40]}")

    # ------------------------------------------------------------------------------------------- structure

    def _outside(self, piece: str, at: int) -> int:
        space = _SPACE.match(piece, at)
        if space is not None:
            return space.end()
        char = piece[at]
        if char == '"':
            self._begin_string()
        elif char in "{[":
            self._open({} if char == "{" else [])
        elif char in "}]":
            self._close(char)
        elif char == ",":
            self._comma()
        elif char == ":":
            self._need(char, _COLON)
            self._expect = _VALUE
        else:
            self._need_value()
            return self._bare_on(piece, at)
        return at + 1

    def _open(self, container: dict[str, object] | list[object]) -> None:
        self._need_value()
        if len(self._nest) == MAX_DEPTH:
            raise Upstream("The JSON nests too deep.", code="json_too_deep", field=self.path, limit=MAX_DEPTH)
        self._put(container)
        self._nest.append(container)
        self._path.append("" if isinstance(container, dict) else 0)
        self._expect = _FIRST_KEY if isinstance(container, dict) else _FIRST_VALUE

    def _close(self, char: str) -> None:
        inside = self._nest[-1] if self._nest else None
        first, kind = (_FIRST_KEY, dict) if char == "}" else (_FIRST_VALUE, list)
        if not isinstance(inside, kind) or self._expect not in (first, _AFTER):
            raise self._unexpected(char)
        self._nest.pop()
        self._path.pop()
        self._expect = _AFTER if self._nest else _END

    def _comma(self) -> None:
        self._need(",", _AFTER)
        step = self._path[-1]
        if isinstance(step, int):
            self._path[-1] = step + 1
            self._expect = _VALUE
        else:
            self._expect = _KEY

    def _end_value(self, value: object) -> None:
        self._put(value)
        self._expect = _AFTER if self._nest else _END

    def _put(self, value: object) -> None:
        if not self._nest:
            self._root = value
            return
        inside, step = self._nest[-1], self._path[-1]
        if isinstance(inside, dict):
            inside[str(step)] = value
        elif step == len(inside):
            inside.append(value)
        else:
            inside[-1] = value

    # --------------------------------------------------------------------------------------------- refusals

    def _need_value(self) -> None:
        if self._expect not in (_VALUE, _FIRST_VALUE):
            raise self._malformed(f"it has a value in place of {_WANTED[self._expect]}")

    def _need(self, char: str, expect: int) -> None:
        if self._expect != expect:
            raise self._unexpected(char)

    def _unexpected(self, char: str) -> Upstream:
        return self._malformed(f"it has {char!r} in place of {_WANTED[self._expect]}")

    def _malformed(self, what: str) -> Upstream:
        return Upstream(f"The text is not JSON: {what}.", code="malformed_json", field=self.path)
