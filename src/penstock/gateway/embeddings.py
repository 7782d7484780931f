"""Embeddings: `POST /v1/embeddings` in the words of OpenAI's SDK, answered by any provider that embeds.

Promise: one vector for each input, in order, in the encoding the caller asked for; an answer with another number of
them is a failed attempt.
"""

from __future__ import annotations

from typing import cast

import msgspec

from penstock.dialects import embeddings, openai
from penstock.dialects.envelope import Envelope
from penstock.gateway.calls import Told
from penstock.gateway.faces import Face
from penstock.gateway.oneshot import OneShot
from penstock.gateway.targets import Target
from penstock.kernel.embed import EmbedRequest
from penstock.ports.providers import CallTimers, ChatProvider, EmbedCall, Embeds, ProviderFailure


def _open(body: bytes, _path: str) -> Envelope:
    request = embeddings.parse_request(body)
    return OneShot(
        request,
        body,
        model=request.model,
        inputs=len(request.texts or request.tokens),
        user=request.user,
        texts=lambda: iter(request.texts),
    )


EMBEDDINGS = Face(codec=openai.CODEC, open=_open)


class Embeddings:
    """The kind of call that embeds."""

    name = "embeddings"

    def can(self, provider: ChatProvider) -> bool:
        """Tell whether a provider embeds."""
        return hasattr(provider, "embed")

    async def call(self, envelope: Envelope, target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt. Raises ProviderFailure."""
        asked = cast("OneShot[EmbedRequest]", envelope).request
        request = msgspec.structs.replace(asked, model=target.model)
        provider = cast("Embeds", target.provider)
        reply = await provider.embed(EmbedCall(request=request, request_id=request_id, timers=timers))
        inputs = len(asked.texts or asked.tokens)
        if len(reply.vectors) != inputs:
            raise ProviderFailure(
                f"The provider sent {len(reply.vectors)} vectors for {inputs} inputs.", kind="malformed_reply"
            )
        return Told(embeddings.render_reply(reply, asked.encoding), reply.input_tokens)
