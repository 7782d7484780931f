"""JSON bodies that are no chat request, endless and by seed; each is wrong by construction, whatever its kind.

Promise: `bodies(seed)` yields (kind, body); every kind of KINDS comes up; no body is a request anybody could serve.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

MODEL = "sim/model"
GOOD: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
MIB = 1024 * 1024
LIMIT_BYTES = 8 * MIB


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def _depth(draw: random.Random) -> bytes:
    """Nesting past 64 levels, as arrays, as objects or mixed, closed or not."""
    deep = draw.choice((65, 66, 100, 1_000, 50_000))
    opened, closed = draw.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    inner = opened * deep + "1" + (closed * deep if draw.random() < 0.8 else "")
    return _dump(GOOD)[:-1] + b', "metadata": ' + inner.encode() + b"}"


def _duplicate(draw: random.Random) -> bytes:
    """One member twice, plainly or by an escape."""
    name = draw.choice(("model", "messages", "max_tokens", "n", "stream"))
    again = draw.choice((name, f"\\u{ord(name[0]):04x}{name[1:]}"))
    given = {**GOOD, "max_tokens": 5, "n": 1, "stream": False}
    extra = f', "{again}": {json.dumps(given[name])}}}'
    return _dump(given)[:-1] + extra.encode()


def _number(draw: random.Random) -> bytes:
    """Numbers that JSON has not, or that no limit admits."""
    text = draw.choice(
        (
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "-1",
            "0",
            "1" * 4300,
            "-" + "9" * 4300,
            "1e-5",
            "0x10",
            "01",
            "1.",
            ".5",
        )
    )
    name = draw.choice(("max_tokens", "n", "max_completion_tokens"))
    return _dump(GOOD)[:-1] + f', "{name}": {text}}}'.encode()


def _text(draw: random.Random) -> bytes:
    """Bytes that are not UTF-8, lone surrogates, control bytes in a string, where the text is looked at."""
    wrong = draw.choice(
        (
            b"\xff\xfe",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf5\x80\x80\x80",
            b"\x00",
            b"\n",
            b"\\ud800",
            b"\\udfff\\ud800",
            b"\\x41",
        )
    )
    return b'{"model": "sim/%bmodel", "messages": [{"role": "user", "content": "Hi"}]}' % wrong


def _shape(draw: random.Random) -> bytes:
    """Members of the wrong type or missing."""
    junk = draw.choice((None, 1, -2.5, "", "x", [], {}, [None], [[]], {"a": 1}, True))
    wrong: Callable[[], dict[str, Any]] = draw.choice(
        (
            lambda: {"model": MODEL},
            lambda: {"messages": GOOD["messages"]},
            lambda: {**GOOD, "messages": [] if junk == [[]] or isinstance(junk, list) else junk},
            lambda: {**GOOD, "messages": [{"role": "user", "content": 5}]},
            lambda: {**GOOD, "messages": [{"role": "robot", "content": "Hi"}]},
            lambda: {**GOOD, "messages": [{"content": "Hi"}]},
            lambda: {**GOOD, "messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
            lambda: {**GOOD, "model": [] if isinstance(junk, str) else junk},
            lambda: {**GOOD, "stream": "yes"},
            lambda: {**GOOD, "temperature": draw.choice((-0.1, 2.1, "hot", 1e9))},
            lambda: {**GOOD, "max_tokens": draw.choice((0, -1, 1.5, "10", 2**31, 2**63, 2**64))},
            lambda: {**GOOD, "n": draw.choice((0, -1, 129, 9, "1"))},
            lambda: {**GOOD, "stream_options": {"include_usage": True}},
            lambda: {**GOOD, "metadata": {"a": 1}},
            lambda: {**GOOD, "user": 7},
            lambda: {**GOOD, "model": "m" * 257},
        )
    )
    return _dump(wrong())


def _not_an_object(draw: random.Random) -> bytes:
    """JSON, but no object; or nothing."""
    value = draw.choice(
        (b"", b" ", b"null", b"true", b"[]", b"[{}]", b'"text"', b"42", b"{}", b'{"":0}', b"\xef\xbb\xbf{}")
    )
    return value + draw.choice((b"", b" ", b"\n", b"\r\n\t"))


def _cut(draw: random.Random) -> bytes:
    """A good request that ends too early, or goes on."""
    good = _dump({**GOOD, "tools": [{"type": "function", "function": {"name": "f"}}]})
    return (
        good[: draw.randrange(len(good))]
        if draw.random() < 0.7
        else good + draw.choice((b"}", b"x", b"{}", b","))
    )


def _many(draw: random.Random) -> bytes:
    """Too many members, or messages, or a string of a mebibyte where a name belongs."""
    kind = draw.randrange(3)
    if kind == 0:
        return _dump({**GOOD, **{f"m{number}": 1 for number in range(draw.randrange(127, 300))}})
    if kind == 1:
        return _dump({**GOOD, "messages": [{"role": "user", "content": ""}] * 20_001})
    return _dump({**GOOD, "model": "m" * MIB})


def _noise(draw: random.Random) -> bytes:
    """Random bytes, or random JSON punctuation."""
    if draw.random() < 0.5:
        return draw.randbytes(draw.randrange(1, 400))
    return "".join(draw.choices('{}[]:,"\\ 0e-.tfn', k=draw.randrange(1, 200))).encode()


def _large(draw: random.Random) -> bytes:
    """At the bound of a body, where it must still be refused for what it is, and over it."""
    size = LIMIT_BYTES + draw.choice((-1, 0, 1, 1000))
    frame = b'{"model": "nobody/serves-this", "messages": [{"role": "user", "content": ""}]}'
    return frame.replace(b'""', b'"%b"' % (b"x" * (size - len(frame))))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "depth": _depth,
    "duplicates": _duplicate,
    "numbers": _number,
    "text": _text,
    "shape": _shape,
    "no object": _not_an_object,
    "cut": _cut,
    "noise": _noise,
}
LARGE: dict[str, Callable[[random.Random], bytes]] = {"too many": _many, "size": _large}
"""Kinds that are slow to send; one body in two thousand is of these."""


def bodies(seed: int) -> Iterator[tuple[str, bytes]]:
    """Return endless (kind, body)."""
    draw = random.Random(seed)
    names, large = tuple(KINDS), tuple(LARGE)
    number = 0
    while True:
        rare = number % 2000 == 1999
        name = large[number // 2000 % len(large)] if rare else names[number % len(names)]
        yield name, (LARGE[name] if rare else KINDS[name])(draw)
        number += 1
