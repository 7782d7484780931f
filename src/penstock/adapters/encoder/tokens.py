"""Texts to tokens, by the tokenizer that the model was trained with, never cutting and never padding.

Promise: what takes long does not hold the event loop up, nor a question behind a bulk call. The library lets the
interpreter go while it works (0.6 µs a character), so a text is tokenized where it is asked for up to `INLINE_CHARS`,
since a thread costs 60 µs to reach, and beyond that on one of `THREADS`, a slice of about `SLICE_CHARS` at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Final

from penstock.adapters.encoder.models import Packaged
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.encoder import Tokenized

INLINE_CHARS: Final = 512
SLICE_CHARS: Final = 2_048
THREADS: Final = 2


class Tokenizer:
    """A model's tokenizer; its vocabulary (16 MB) is read at the first use."""

    def __init__(self, model: Packaged) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer")
        self._loaded: Any = None
        self._closed = False

    async def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return each text's tokens. Raises Invalid naming the text that is none, Unavailable for wrong files."""
        self._check_open()
        if self._loaded is not None and sum(map(len, texts)) <= INLINE_CHARS:
            return self.some(texts, range(len(texts)))
        loop = asyncio.get_running_loop()
        made: list[Tokenized] = []
        for places in slices(texts):
            self._check_open()
            made += await loop.run_in_executor(self._threads, self.some, texts, places)
        return made

    def close(self) -> None:
        """End the threads, each after the slice it has; a call under way is told so at its next one."""
        self._closed = True
        self._threads.shutdown(wait=False)

    def some(self, texts: Sequence[str], places: range) -> list[Tokenized]:
        """Return the tokens of the texts at these places, here and now."""
        if self._loaded is None:
            self._loaded = self._load()
        return [self._one(at, texts[at]) for at in places]

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The encoder is closed.")

    def _load(self) -> Any:  # noqa: ANN401 - a foreign class, not imported before it is needed
        loaded = import_module("tokenizers").Tokenizer.from_str(self._model.tokenizer())
        loaded.no_truncation()  # as packaged it cuts at 128 tokens and pads up to them
        loaded.no_padding()
        return loaded

    def _one(self, at: int, text: str) -> Tokenized:
        try:
            made = self._loaded.encode(text)
        except TypeError as error:  # half of a surrogate pair cannot be written as UTF-8
            raise Invalid("The text holds what is no character.", field=f"texts.{at}") from error
        return Tokenized(tuple(made.ids), tuple(made.offsets))


def slices(texts: Sequence[str]) -> Iterator[range]:
    """Cut texts into runs of at most `SLICE_CHARS`, or of one text."""
    begin = chars = 0
    for at, text in enumerate(texts):
        if chars and chars + len(text) > SLICE_CHARS:
            yield range(begin, at)
            begin, chars = at, 0
        chars += len(text)
    yield range(begin, len(texts))
