"""JSON as models write it, mended while it flows: pieces of an answer in, pieces of valid JSON out.

    mender = JsonMender()
    for piece in pieces:
        send(mender.feed(piece))
    send(mender.close())                # mender.repairs says what was done, mender.problem why it could not be

It drops prose, fence, thoughts, comments and needless commas; writes the quotes, names, literals and numbers of other
languages as JSON does; puts in the commas and closes the brackets that are missing.

Promises: what the client has gathered at the end is valid JSON, unless `problem` says otherwise; valid JSON passes byte
for byte (white space within bounds); any cutting into pieces gives the same text; what is held back is bounded: a comma
until what follows is known, a name until its value begins, a quote until it is known to close its string, prose until
a value begins; nothing is guessed: a word that is no JSON, a missing value, ``...`` are a `problem`, and from there
on the text passes as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from penstock.dialects import json_words as words
from penstock.dialects.json_words import BARE, MAX_GAP, MAX_HELD, MAX_WORD, QUOTES
from penstock.dialects.strict_json import MAX_DEPTH

_CLOSER: Final = {"{": "}", "[": "]"}
_JSON_SPACE: Final = re.compile(r"[ \t\n\r]+")
_THOUGHTS: Final = ("<think>", "<thinking>")
_END_OF_THOUGHTS: Final = re.compile(r"</think(?:ing)?>")


class JsonMender:
    """Mends one object or array. `opens` says which brackets may begin it, `prose_chars` how far from the start."""

    def __init__(self, opens: str = "{[", prose_chars: int = MAX_HELD) -> None:
        """Start before the first character."""
        self.repairs: list[str] = []
        """What was done, each kind once, in the order it was first needed."""
        self.problem = ""
        """Why the text cannot be mended; "" as long as it can."""
        self.began = self.ended = -1
        """Where in the input the value begins and ended; -1 before."""
        self.meant = False
        """A quoted name or a value was read, so that what begins there is JSON, well or badly written."""
        self._opens, self._prose_chars = opens, prose_chars
        self._text = ""
        self._at = 0
        self._consumed = 0
        """Characters of the input that came before `_text`."""
        self._out: list[str] = []
        self._pending = ""
        """What is written before the next value: a comma, white space, a name and its colon."""
        self._named = False
        """The pending text has a name, or the beginning of one."""
        self._nest: list[str] = []  # what closes everything open
        self._quote, self._quoted = '"', False
        """What closes the open string, and whether it holds such a quote that did not."""
        self._final = self._cut = False
        self._step: Callable[[], bool] = self._before

    def feed(self, piece: str) -> str:
        """Take the next piece of the answer; return what may go out."""
        self._text += piece
        while not self.problem and self._step():
            pass
        if self.problem:
            self._out += (self._pending, self._text[self._at :])
            self._pending, self._at = "", len(self._text)
        self._consumed += self._at
        self._text, self._at = self._text[self._at :], 0
        out = "".join(self._out)
        self._out.clear()
        return out

    def close(self, *, cut: bool = False) -> str:
        """Say that the answer has ended, `cut` off at a limit or not; return what closes the value."""
        self._final, self._cut = True, cut
        out = self.feed("")
        if self.problem or self.ended >= 0:
            return out
        if self.began < 0 or (self._step == self._string and self._quoted):
            self._wrong("no JSON begins here" if self.began < 0 else "a quote stands where none can")
            return out
        if self._step == self._string and not self._named:
            self._out.append('"')
        if self._pending:
            self._repair("unfinished" if self._named else "trailing_comma")
        self._repair("closed")
        self.ended = self._consumed
        return "".join([out, *self._out, *reversed(self._nest)])

    def _repair(self, kind: str) -> None:
        if kind not in self.repairs:
            self.repairs.append(kind)

    def _wrong(self, what: str) -> bool:
        self.problem = f"{what}, at character {self._consumed + self._at + 1}"
        return False

    def _unexpected(self) -> bool:
        return self._wrong(f"unexpected {self._text[self._at]!r}")

    # ------------------------------------------------------------------------------- before and after the value

    def _before(self) -> bool:
        """White space passes; thoughts are dropped; a member without its brace gets it."""
        space = _JSON_SPACE.match(self._text, self._at)
        if space is not None:
            self._out.append(space.group())
            self._at = space.end()
        text = self._text[self._at :]
        if not text:
            return False
        if text.startswith(_THOUGHTS):
            self._repair("thoughts")
            return self._go(self._thoughts)
        if not self._final and any(tag.startswith(text) for tag in _THOUGHTS):
            return False
        lacks = words.lacks_brace(text, final=self._final) if "{" in self._opens else False
        if lacks:
            self._repair("missing_brace")
            self.began = self._consumed + self._at
            self._out.append("{")
            self._nest.append("}")
            return self._go(self._name)
        return lacks is not None and self._go(self._prose)

    def _thoughts(self) -> bool:
        end = _END_OF_THOUGHTS.search(self._text, self._at)
        self._at = max(self._at, len(self._text) - len("</thinking>")) if end is None else end.end()
        return end is not None and self._go(self._before)

    def _prose(self) -> bool:
        """Look for the bracket that begins the value, holding back what comes before in case none does."""
        at = words.find_value(self._text, self._at, self._opens, self._prose_chars, final=self._final)
        if at is None:
            return False
        if at < 0:
            return self._wrong("no JSON begins here")
        if at > self._at:
            self._repair("text_before")
        self.began, self._at = self._consumed + at, at
        return self._open(self._text[at])

    def _after_all(self) -> bool:
        """White space passes, what follows it is dropped."""
        if "text_after" not in self.repairs:
            space = _JSON_SPACE.match(self._text, self._at)
            if space is not None:
                self._out.append(space.group())
                self._at = space.end()
            if self._at < len(self._text):
                self._repair("text_after")
        self._at = len(self._text)
        return False

    # ------------------------------------------------------------------------------------------------ structure

    def _go(self, step: Callable[[], bool]) -> bool:
        self._step = step
        return True

    def _past(self, step: Callable[[], bool]) -> bool:
        self._at += 1
        return self._go(step)

    def _skip(self) -> bool:
        """Go past white space and comments; False when the text ends there."""
        while self._at < len(self._text):
            space = words.SPACE.match(self._text, self._at)
            if space is not None:
                self._space(space.group())
                self._at = space.end()
            elif self._text[self._at] not in "/#":
                return True
            elif not self._comment():
                return False
        return False

    def _space(self, space: str) -> None:
        if words.FOREIGN_SPACE.search(space):
            self._repair("space")
            space = words.FOREIGN_SPACE.sub(" ", space)
        if self._pending:
            self._pending += space[: max(0, MAX_HELD - len(self._pending))]
        else:
            self._out.append(space)

    def _comment(self) -> bool:
        comment = words.COMMENT.match(self._text, self._at)
        too_long = len(self._text) - self._at > MAX_GAP + len("/**/")
        if comment is None and not self._final and not too_long:
            return False
        if comment is None and (too_long or not self._text.startswith(("//", "/*", "#"), self._at)):
            return self._unexpected()
        self._repair("comment")
        self._at = len(self._text) if comment is None else comment.end()
        return True

    def _open(self, bracket: str) -> bool:
        if len(self._nest) == MAX_DEPTH:
            return self._wrong("nested too deep")
        self._flush(bracket)
        self._nest.append(_CLOSER[bracket])
        return self._past(self._name if bracket == "{" else self._value)

    def _flush(self, first: str) -> None:
        self._out += (self._pending, first)
        self._pending, self._named = "", False

    def _next_step(self) -> Callable[[], bool]:
        return self._name if self._nest[-1] == "}" else self._value

    def _name(self) -> bool:
        if not self._skip():
            return False
        char = self._text[self._at]
        if char in QUOTES:
            return self._begin_string(char, is_name=True)
        if char in "]}":
            return self._closing(char)
        if char == ",":
            self._repair("extra_comma")
            return self._past(self._name)
        name = words.bare_name(self._text, self._at, final=self._final)
        if name is None:
            return False
        if not name:
            end = BARE.match(self._text, self._at) if self._final else None
            return self._lost() if end and end.end() == len(self._text) else self._unexpected()
        self._repair("bare_name")
        self._pending += f'"{name}"'
        self._named = True
        self._at += len(name)
        return self._go(self._colon)

    def _colon(self) -> bool:
        if not self._skip():
            return False
        if self._text[self._at] != ":":
            return self._unexpected()
        self._pending += ":"
        return self._past(self._value)

    def _value(self) -> bool:
        if not self._skip():
            return False
        char = self._text[self._at]
        if char in QUOTES:
            return self._begin_string(char, is_name=False)
        if char in _CLOSER:
            return self._open(char)
        if self._named and char in ",]}":
            return self._wrong("a value is missing")
        if char in "]}":
            return self._closing(char)
        if char != ",":
            return self._bare()
        self._repair("extra_comma")
        return self._past(self._value)

    def _after(self) -> bool:
        if not self._skip():
            return False
        char = self._text[self._at]
        if char == ",":
            self._pending = ","
            return self._past(self._next_step())
        if char in "]}":
            return self._closing(char)
        if char == "`":
            return self._fence()
        if char in QUOTES or char in _CLOSER or (self._nest[-1] == "}" and BARE.match(char)):
            self._repair("missing_comma")
            self._pending = ","
            return self._go(self._next_step())
        return self._unexpected()

    def _fence(self) -> bool:
        """The end of a fence is the end of the value, whatever is open."""
        if not self._final and len(self._text) - self._at < len("```"):
            return False
        if not self._final and not self._text.startswith("```", self._at):
            return self._unexpected()
        self._repair("closed")
        self._out += reversed(self._nest)
        return self._end()

    def _closing(self, bracket: str) -> bool:
        if bracket not in self._nest:
            return self._unexpected()
        if self._pending:
            self._repair("trailing_comma")
            self._flush("")
            self._out[-2] = self._out[-2][1:]
        while self._nest[-1] != bracket:
            self._repair("mismatched_bracket")
            self._out.append(self._nest.pop())
        self._out.append(self._nest.pop())
        self._at += 1
        if not self._nest:
            return self._end()
        self.meant = True
        return self._go(self._after)

    def _end(self) -> bool:
        self._nest.clear()
        self.ended = self._consumed + self._at
        return self._go(self._after_all)

    # ------------------------------------------------------------------------------- strings, numbers, literals

    def _begin_string(self, quote: str, *, is_name: bool) -> bool:
        if quote != '"':
            self._repair("quotes")
        if is_name:
            self._named = True
            self._pending += '"'
        else:
            self._flush('"')
        self._quote, self._quoted = QUOTES[quote], False
        return self._past(self._string)

    def _string(self) -> bool:
        plain = words.PLAIN[self._quote].match(self._text, self._at)
        if plain is not None:
            self._at = plain.end()
            return self._write(plain.group())
        if self._at == len(self._text):
            return False
        char = self._text[self._at]
        if char == "\\":
            return self._escape()
        if char == self._quote or (char == '"' and self._quote == "”"):
            return self._maybe_close(char)
        self._repair("inner_quote" if char == '"' else "control_character")
        self._at += 1
        return self._write('\\"' if char == '"' else words.control(char))

    def _write(self, text: str) -> bool:
        if not self._named:
            self._out.append(text)
            return True
        self._pending += text
        return len(self._pending) <= 2 * MAX_HELD or self._wrong("a name is too long")

    def _escape(self) -> bool:
        mended = words.escape(self._text, self._at, final=self._final)
        if mended is None:
            return False
        text, end = mended
        if text != self._text[self._at : end]:
            self._repair("bad_escape")
        self._at = end
        return self._write(text)

    def _maybe_close(self, char: str) -> bool:
        closes = self._named or words.closes_string(
            self._text, self._at, in_list=self._nest[-1] == "]", final=self._final
        )
        if closes is None:
            return False
        self._at += 1
        if not closes:
            self._repair("inner_quote")
            self._quoted = True
            return self._write('\\"' if char == '"' else char)
        self._write('"')
        self.meant = True
        return self._go(self._colon if self._named else self._after)

    def _bare(self) -> bool:
        token = BARE.match(self._text, self._at)
        if token is None:
            return self._unexpected()
        text, at_end = token.group(), token.end() == len(self._text)
        if at_end and not self._final and len(text) <= MAX_WORD:
            return False
        written = words.word(text)
        if at_end and (written is None or (self._cut and not text[-1].isalpha())):
            written = words.unfinished_word(text)
        followed = "" if at_end else self._text[token.end()]
        if written is None or len(text) > MAX_WORD or followed in tuple("\"'{["):
            return self._wrong(f"unknown word {text[:40]!r}")
        if not written:
            return self._lost()
        if written != text:
            self._repair("word")
        self._flush(written)
        self._at = token.end()
        self.meant = True
        return self._go(self._after)

    def _lost(self) -> bool:
        """What a cut left of a name or number says nothing."""
        self._repair("unfinished")
        self._at = len(self._text)
        return False
