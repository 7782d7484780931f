"""`POST /v1/tokenize` as the gateway serves it: a line of its own, so that whoever asks for tokens is let in, refused
and told of as whoever asks for anything else.

Promises: nothing is billed and no money is held; the key's models and its limits of requests hold; every request is
audited once, answered or refused, flagged ``tokenize``.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from penstock.embedding.serving.http import Tokenizer, TokensAsked, tokens_asked
from penstock.gateway.admission import Admission
from penstock.gateway.ask import Ask
from penstock.gateway.client import Client
from penstock.gateway.faces import JSON_TYPE, OPENAI, Face
from penstock.gateway.headers import id_lines
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.oneshot import OneShot
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import AuditPipe
from penstock.wiring.unpaid import NO_WORDS

FLAG: Final = "tokenize"
PROVIDER: Final = "local"


def _open(body: bytes, _path: str) -> OneShot[TokensAsked]:
    asked = tokens_asked(body)
    return OneShot(asked, body, NO_WORDS, model=asked.model, inputs=0)


TOKENS: Final[Face] = msgspec.structs.replace(OPENAI, open=_open)
"""What is asked for in TEI's words and refused in OpenAI's."""


class Tokenizing:
    """Serves such requests (`gateway/line.Line`). One per process."""

    def __init__(self, tokenizer: Tokenizer, admission: Admission, audit: AuditPipe) -> None:
        """Answer with `tokenizer`."""
        self._tokenizer = tokenizer
        self._admission = admission
        self._audit = audit

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one request. Raises PenstockError; nothing has left then."""
        story.flag(FLAG)
        with story.told_to(self._audit):
            await self._serve(context, inquiry, client, story)

    async def _serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        face = inquiry.face
        envelope = cast("OneShot[TokensAsked]", story.asked(face.open(inquiry.body, inquiry.path)))
        model = envelope.model = self._tokenizer.model(envelope.model, context.principal)
        story.routed()
        seat = await self._admission.admit_unpaid(context, Ask(envelope, 0, 0), ())
        story.admitted()
        try:
            body = await self._tokenizer.tokens(envelope.request, model)
            story.answered_here(PROVIDER, model)
            client.send(200, JSON_TYPE + id_lines(face.id_header, context.request_id), body)
        finally:
            await self._admission.give_back(seat, 0)
