"""Tokens of texts: `POST /v1/tokenize`, in the words of text-embeddings-inference (TEI), for any model in this machine.

    {"inputs": "a text" | ["…", …], "model": "local/all-MiniLM-L6-v2", "add_special_tokens": true}
    [[{"id": 101, "text": "", "special": true, "start": null, "stop": null},
      {"id": 1037, "text": "a", "special": false, "start": 0, "stop": 1}, …], …]

Promises: the tokens are those that `/v1/embeddings` takes as token arrays and bills; `start` and `stop` count
characters of the text; without `model` it is the only one there is; the key's models and its limits of requests hold,
and it costs nothing. A mark of the model's has no text of its own here.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from penstock.edge.errors import JSON_TYPE, request_id
from penstock.embedding.serving.service import PREFIX, EmbeddingService
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.ports.encoder import Tokenized

CHARS_MOST: Final = 131_072
"""Of all texts of one request: their tokens are some thirty times as many bytes in JSON."""
TOKENS_PER_TURN: Final = 1_024
"""Tokens written before other tasks get their turn: less than a millisecond."""
_Text = Annotated[str, Meta(min_length=1)]
_Texts = Annotated[list[_Text], Meta(min_length=1, max_length=2_048)]


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    inputs: _Text | _Texts
    model: str = ""
    add_special_tokens: bool = True


class _Token(msgspec.Struct, gc=False):
    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


_DECODER: Final = msgspec.json.Decoder(_Ask)


class Limits(Protocol):
    """A key's limits of requests (the gateway's)."""

    def within(self, principal: Principal, body: bytes) -> AbstractAsyncContextManager[None]:
        """Enter within them, or raise Rejected."""
        ...


class Tokenizer:
    """Serves the route. One per process."""

    def __init__(self, service: EmbeddingService, limits: Limits) -> None:
        """Tokenize with the models of `service`, within `limits`."""
        self._service = service
        self._limits = limits

    async def tokenize(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one request. Raises PenstockError."""
        ask = _read(request.body)
        model = self._model(ask.model, principal)
        texts = [ask.inputs] if isinstance(ask.inputs, str) else ask.inputs
        chars = sum(map(len, texts))
        if chars > CHARS_MOST:
            raise Invalid("The texts are too long together.", field="inputs", value=chars, limit=CHARS_MOST)
        async with self._limits.within(principal, request.body):
            found = await self._service.tokenize(texts, model=model)
        told = [
            await _told(text, tokens, marks=ask.add_special_tokens)
            for text, tokens in zip(texts, found, strict=True)
        ]
        responder.send(200, JSON_TYPE + request_id(), b"[%b]" % b",".join(told))

    def _model(self, named: str, principal: Principal) -> str:
        """Return the model's public name. Raises Invalid, NotFound."""
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


def _read(body: bytes) -> _Ask:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"This is no request to tokenize: {error}.",
            remedy='Send {"inputs": "a text"} or {"inputs": ["a text", …]}.',
        ) from None


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
