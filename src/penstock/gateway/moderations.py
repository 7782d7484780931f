"""Moderations: `POST /v1/moderations` in OpenAI's words, answered by any provider that moderates.

Promises: one verdict for each input, in order; an answer with another number of them is a failed attempt. Where the
caller names no model it is `DEFAULT_MODEL`, as at OpenAI. Moderation that its vendor gives away has a price of 0, and
passes limits and budgets like anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from msgspec.structs import replace

from penstock.dialects import moderations, openai
from penstock.dialects.embeddings import told_tokens
from penstock.gateway.calls import Told
from penstock.gateway.faces import Face
from penstock.gateway.oneshot import OneShot, Words
from penstock.gateway.targets import Target
from penstock.kernel.chat import Image, Text
from penstock.kernel.embed import ModerationRequest
from penstock.kernel.money import Usage
from penstock.mechanisms.redaction.texts import Texts
from penstock.ports.providers import CallTimers, ChatProvider, ModerateCall, Moderates, ProviderFailure

DEFAULT_MODEL: Final = "omni-moderation-latest"


def _read(request: ModerationRequest) -> Texts:
    texts = [part.text for parts in request.inputs for part in parts if isinstance(part, Text)]
    unread = ["image"] if _pictures(request) else []
    return Texts(tuple(texts), (*unread, *[f"extras.{name}" for name in request.extras]))


def _write(request: ModerationRequest, texts: Sequence[str]) -> ModerationRequest:
    following = iter(texts)
    return replace(request, inputs=tuple([tuple(_with_words(parts, following)) for parts in request.inputs]))


def _with_words(parts: Sequence[Text | Image], words: Iterator[str]) -> Iterator[Text | Image]:
    for part in parts:
        yield replace(part, text=next(words)) if isinstance(part, Text) else part


def _pictures(request: ModerationRequest) -> list[Image]:
    return [part for parts in request.inputs for part in parts if isinstance(part, Image)]


_WORDS: Final = Words(_read, _write)


def _open(body: bytes, _path: str) -> OneShot[ModerationRequest]:
    request = moderations.parse_request(body)
    return OneShot(
        request,
        body,
        _WORDS,
        model=request.model or DEFAULT_MODEL,
        inputs=sum(map(len, request.inputs)),
        picture_bytes=[len(picture.url) for picture in _pictures(request)],
    )


MODERATIONS: Final = Face(codec=openai.CODEC, open=_open)


class Moderations:
    """The kind of call that judges."""

    name = "moderations"
    has_lanes = False

    def can(self, provider: ChatProvider, _model: str) -> bool:
        """Tell whether a provider moderates."""
        return hasattr(provider, "moderate")

    def left_out(self, _asked: OneShot[Any], _target: Target) -> tuple[str, ...]:
        """Name nothing: there is one wire."""
        return ()

    async def call(self, asked: OneShot[Any], target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt. Raises ProviderFailure."""
        request = replace(cast("ModerationRequest", asked.request), model=target.model)
        provider = cast("Moderates", target.provider)
        reply = await provider.moderate(ModerateCall(request=request, request_id=request_id, timers=timers))
        if len(reply.results) != len(request.inputs):
            raise ProviderFailure(
                f"The provider sent {len(reply.results)} verdicts for {len(request.inputs)} inputs.",
                kind="malformed_reply",
            )
        tokens = told_tokens(reply.extras)
        return Told(moderations.render_reply(reply), Usage(input_tokens=tokens) if tokens else None)
