"""Counting a prompt's tokens: `POST /v1/messages/count_tokens` and Gemini's ``:countTokens``, for any model.

The provider's own count where one can count. Else an estimate, at `BYTES_PER_TOKEN` and within the bounds admission has
(`gateway/ask`), and `x-penstock-estimated: input_tokens` says so.

Promises: counting costs nothing and holds nothing; the key's models, its limits of requests and what its tenant lets
out hold for it, so that a vendor that counts is told no more than one that answers; a vendor that fails is an error,
never an estimate; every count is audited, flagged ``count_tokens``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import unquote

import msgspec

from penstock.dialects import anthropic, gemini
from penstock.dialects.codec import Codec
from penstock.dialects.envelope import Envelope, Opened
from penstock.gateway.admission import Admission
from penstock.gateway.ask import Ask, asked
from penstock.gateway.client import Client
from penstock.gateway.faces import GEMINI, JSON_TYPE, Face
from penstock.gateway.headers import request_headers
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.pipeline import Inspection
from penstock.gateway.route_ask import Chooser
from penstock.gateway.routing import RouteTable, Target
from penstock.gateway.story import Story
from penstock.gateway.wording import DEFAULT_LIMIT_NAME, Wording
from penstock.kernel.chat import ChatRequest
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import ChatCall, CountsTokens, ProviderFailure

BYTES_PER_TOKEN = 4
"""Of English prose and most code, by every vendor's own rule of thumb."""
ESTIMATED = b"x-penstock-estimated: input_tokens\r\n"
FLAG = "count_tokens"


def counting_anthropic(face: Face) -> Face:
    """Return the face of questions for a count in Anthropic's words; `face` is that of its messages."""
    return msgspec.structs.replace(face, open=_open_anthropic)


def _open_anthropic(body: bytes, _path: str) -> Envelope:
    return _opened(anthropic.CODEC, anthropic.parse_count_request(body))


def _open_gemini(body: bytes, path: str) -> Envelope:
    model = unquote(path.rpartition("/models/")[2].rpartition(":")[0])
    return _opened(gemini.CODEC, gemini.parse_count_request(body, model))


COUNTING_GEMINI = msgspec.structs.replace(GEMINI, open=_open_gemini)


def _opened(codec: Codec, request: ChatRequest) -> Opened:
    """Return the question as a request that could be answered, for those vendors that count nothing else."""
    request = msgspec.structs.replace(request, stream=False, max_output_tokens=request.max_output_tokens or 1)
    return Opened(codec, request, codec.render_request(request, DEFAULT_LIMIT_NAME).body)


class Counting:
    """Counts. One per process."""

    def __init__(
        self,
        *,
        routes: Callable[[], RouteTable],
        admission: Admission,
        resilience: Resilience,
        audit: AuditPipe,
        codecs: Mapping[str, Codec],
        clock: Clock,
        inspections: tuple[Inspection, ...] = (),
    ) -> None:
        """`routes()` returns the table in force now; `codecs` are the providers' dialects by name; `inspections` look
        into each question, in order.
        """
        self._chooser = Chooser(routes)
        self._admission = admission
        self._resilience = resilience
        self._audit = audit
        self._codecs = codecs
        self._clock = clock
        self._inspections = inspections

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one question. Raises PenstockError; nothing has left then."""
        story.flag(FLAG)
        with story.told_to(self._audit):
            await self._serve(context, inquiry, client, story)

    async def _serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        envelope = story.asked(inquiry.face.open(inquiry.body, inquiry.path))
        wording = Wording(inquiry.face, envelope, self._codecs, context.request_id, self._clock)
        targets = wording.sayable(self._chooser.choose(context, wording, envelope.model).targets)
        story.routed()
        for each in self._inspections:
            looking = each.inspect(context, wording, targets, story)
            if looking is not None:
                await looking
        ask = asked(wording.envelope, targets)
        seat = await self._admission.admit_unpaid(context, ask, targets)
        story.admitted()
        try:
            target, tokens, estimated = await self._count(context, wording, ask, targets)
            story.first_token(target)
            render = gemini.render_count if inquiry.face.codec is gemini.CODEC else anthropic.render_count
            headers = request_headers(context, wording, seat, target) + estimated
            client.send(200, JSON_TYPE + headers, render(tokens))
        finally:
            await self._admission.give_back(seat, 0)

    async def _count(
        self, context: RequestContext, wording: Wording, ask: Ask, targets: tuple[Target, ...]
    ) -> tuple[Target, int, bytes]:
        """Return whose count it is, the count, and the header line of an estimate."""
        able = tuple([target for target in targets if hasattr(target.provider, "count_tokens")])
        if not able:
            return targets[0], estimate(ask), ESTIMATED

        async def call(target: Target) -> int:
            left_s = self._resilience.left_s(context.deadline_s)
            sent = ChatCall(
                model=target.model,
                body=wording.body(target, 1),
                stream=False,
                request_id=context.request_id,
                timers=target.within(left_s),
            )
            return await cast("CountsTokens", target.provider).count_tokens(sent)

        answered = await self._resilience.first_answer(able, call, context.deadline_s, _again)
        return answered.target, answered.answer, b""


async def _again(_target: Target, _failure: ProviderFailure) -> bool:
    return True  # nothing was paid, so nothing more must be held


def estimate(ask: Ask) -> int:
    """Estimate a prompt's tokens where nobody counts; pictures and documents at their most."""
    envelope = ask.envelope
    is_text = not envelope.images and not envelope.other_parts
    media = 0 if is_text else ask.bound_tokens - envelope.prompt_bytes
    return max(-(-envelope.prompt_bytes // BYTES_PER_TOKEN) + media, ask.least_input_tokens())
