"""Tokens of texts: what `POST /v1/tokenize` asks and is told, in the words of text-embeddings-inference (TEI), for any
model in this machine. What stands before it is the gateway's (`wiring/tokenizing`).

    {"inputs": "a text" | ["…", …], "model": "local/all-MiniLM-L6-v2", "add_special_tokens": true}
    [[{"id": 101, "text": "", "special": true, "start": null, "stop": null},
      {"id": 1037, "text": "a", "special": false, "start": 0, "stop": 1}, …], …]

Promises: the tokens are those that `/v1/embeddings` takes as token arrays and bills; `start` and `stop` count
characters of the text; without `model` it is the only one there is, and only one that the key may use. A mark of the
model's has no text of its own here.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from penstock.embedding.serving.service import PREFIX, EmbeddingService
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound
from penstock.ports.encoder import Tokenized

CHARS_MOST: Final = 131_072
"""Of all texts of one request: their tokens are some thirty times as many bytes in JSON."""
TOKENS_PER_TURN: Final = 1_024
"""Tokens written before other tasks get their turn: less than a millisecond."""
_Text = Annotated[str, Meta(min_length=1)]
_Texts = Annotated[list[_Text], Meta(min_length=1, max_length=2_048)]


class TokensAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request asks for; no `model` is the only one there is."""

    inputs: _Text | _Texts
    model: str = ""
    add_special_tokens: bool = True

    @property
    def texts(self) -> list[str]:
        """The texts, of which there is one or more."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


class _Token(msgspec.Struct, gc=False):
    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


_DECODER: Final = msgspec.json.Decoder(TokensAsked)


class Tokenizer:
    """Answers such requests. One per process."""

    def __init__(self, service: EmbeddingService) -> None:
        """Tokenize with the models of `service`."""
        self._service = service

    async def tokens(self, asked: TokensAsked, model: str) -> bytes:
        """Return the tokens of each text in JSON, of the model of that public name. Raises PenstockError."""
        texts = asked.texts
        found = await self._service.tokenize(texts, model=model)
        told = [
            await _told(text, tokens, marks=asked.add_special_tokens)
            for text, tokens in zip(texts, found, strict=True)
        ]
        return b"[%b]" % b",".join(told)

    def model(self, named: str, principal: Principal) -> str:
        """Return the public name of the model asked for, "" being the only one. Raises Invalid, NotFound."""
        names = [PREFIX + name for name in self._service.pools]
        if not named and len(names) == 1:
            named = names[0]
        if not named and names:
            raise Invalid("Name a model.", field="model", limit=", ".join(names))
        public = PREFIX + self._service.spec(named).name  # NotFound names those there are
        if not principal.may_use(public):
            raise NotFound(
                f"The model {public!r} does not exist here, or this key may not use it.",
                code="model_not_found",
                field="model",
                value=public,
            )
        return public


def tokens_asked(body: bytes) -> TokensAsked:
    """Return what a body asks for. Raises Invalid."""
    try:
        asked = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"This is no request to tokenize: {error}.",
            remedy='Send {"inputs": "a text"} or {"inputs": ["a text", …]}.',
        ) from None
    chars = sum(map(len, asked.texts))
    if chars > CHARS_MOST:
        raise Invalid("The texts are too long together.", field="inputs", value=chars, limit=CHARS_MOST)
    return asked


async def _told(text: str, tokens: Tokenized, *, marks: bool) -> bytes:
    """Return a text's tokens in JSON, letting others have their turn after each page of them."""
    pages: list[bytes] = []
    for first in range(0, len(tokens.ids), TOKENS_PER_TURN):
        page = slice(first, first + TOKENS_PER_TURN)
        told: list[_Token] = []
        for number, (start, stop) in zip(tokens.ids[page], tokens.spans[page], strict=True):
            if stop:
                told.append(_Token(number, text[start:stop], False, start, stop))
            elif marks:
                told.append(_Token(number, "", True, None, None))
        if told:
            pages.append(msgspec.json.encode(told)[1:-1])
        await asyncio.sleep(0)
    return b"[%b]" % b",".join(pages)
