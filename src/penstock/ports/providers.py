"""A provider of models: whatever can answer a chat, in its own wire dialect.

A provider answers in bytes of a named dialect. When the caller's dialect is the same, the bytes pass through and only
what accounting needs is read; else a translation through `kernel.chat` stands between.

Promises
1. `chat` returns once the status and first bytes are known, or raises ProviderFailure within the call's timers.
2. A ProviderFailure says its `kind` (kernel.faults vocabulary), whether the request may have reached the vendor
   (`dispatched`), and `retry_after_s` when the vendor gave one; a vendor's error body is kept, keys never are.
3. `chunk` returns bytes as they arrive and b"" at the true end; an answer cut short raises, it never just ends.
4. `close` is idempotent, may be called at any time, and leaves no socket, task or timer behind.
5. Reading slowly slows the vendor down: at most 64 KiB wait unread.
6. `name`, `vendor` and `limit_name` never change: `vendor` is the id under which the price book knows who bills.

Errors: ProviderFailure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from penstock.kernel.embed import (
    EmbedReply,
    EmbedRequest,
    ModerationReply,
    ModerationRequest,
    RerankReply,
    RerankRequest,
)
from penstock.kernel.errors import Upstream
from penstock.ports.encoder import Lane


class CallTimers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bounds on one call, in seconds."""

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    between_chunks_s: float = 30.0
    total_s: float = 600.0


class ChatCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to have a chat answered. `body` is the request in the provider's own dialect, ready to send, with
    the provider's own `model` name in it; `request_id` goes along for the vendor's logs. `tenant` is for a provider in
    this machine: whose it is, so that nobody's crowd keeps another waiting, and nobody is served from another's.
    """

    model: str
    body: bytes
    stream: bool
    request_id: str
    timers: CallTimers
    tenant: str = ""


class EmbedCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to have texts embedded; `request` names the provider's own model. `lane` and `tenant` are for a
    provider in this machine: how urgent it is, and whose, so that nobody's crowd keeps another waiting.
    """

    request: EmbedRequest
    request_id: str
    timers: CallTimers
    lane: Lane = "query"
    tenant: str = ""


class RerankCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to have documents ordered; `request` names the provider's own model; see `EmbedCall`."""

    request: RerankRequest
    request_id: str
    timers: CallTimers
    lane: Lane = "query"
    tenant: str = ""


class ModerateCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to have texts and pictures judged; `request` names the provider's own model."""

    request: ModerationRequest
    request_id: str
    timers: CallTimers


class Quota(msgspec.Struct, frozen=True, gc=False):
    """One of a vendor's rate limits; None is unknown. `reset_s` is in seconds from when it was told."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


class RateHint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A vendor's rate limits as it told them with an answer. Most tell `tokens` of both ways together."""

    requests: Quota = Quota()
    tokens: Quota = Quota()
    input_tokens: Quota = Quota()
    output_tokens: Quota = Quota()


class ProviderFailure(Upstream):
    """The provider could not answer."""

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int = 0,
        dispatched: bool = True,
        retry_after_s: float | None = None,
        body: bytes = b"",
        content_type: str = "",
        may_retry: bool | None = None,
        rates: RateHint | None = None,
    ) -> None:
        """Describe the failure; `kind` is one of `kernel.faults.FAILURE_KINDS`, `status` the vendor's (0: none came),
        `may_retry` the vendor's own word (``x-should-retry``) where it gave one: False overrules the kind. `rates` are
        the vendor's limits where its refusal told them.
        """
        super().__init__(message, code=kind, retry_after_s=retry_after_s)
        self.kind = kind
        self.vendor_status = status
        self.dispatched = dispatched
        self.body = body
        self.content_type = content_type
        self.may_retry = may_retry
        self.rates = rates
        self.key = ""
        """The name of the key it was called under, where its provider has several."""
        self.has_other_key = False
        """Whether that provider has another key, free now, under which this may be answered."""
        self.attempts: Sequence[tuple[object, ProviderFailure]] = ()


class ChatReplyStream(Protocol):
    """An answer on its way. Whoever holds it closes it."""

    status: int
    streamed: bool

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body (a reply that is not streamed)."""
        ...

    async def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        ...

    def close(self) -> None:
        """Let the vendor go."""
        ...


class ChatProvider(Protocol):
    """Answers chats. `name` is the configured name, `vendor` the price book's provider id, `dialect` the wire's, and
    `limit_name` the request member it reads its answer limit from.
    """

    name: str
    vendor: str
    dialect: str
    limit_name: str

    async def chat(self, call: ChatCall) -> ChatReplyStream:
        """Start one attempt."""
        ...

    async def close(self) -> None:
        """Release every connection."""
        ...


class TellsRates(Protocol):
    """An answer whose vendor tells its rate limits along with it."""

    @property
    def rates(self) -> RateHint:
        """Return them; what the vendor did not tell is None."""
        ...


class ListsModels(Protocol):
    """A provider that can say which models it serves."""

    async def models(self) -> Sequence[str]:
        """Return model names, as the provider spells them."""
        ...


class KnowsItsModels(Protocol):
    """A provider whose models have different abilities, and some of whose models may be missing."""

    missing: Mapping[str, str]
    """Models it could serve, and what would have to be done for that."""

    def able(self, model: str, ability: str) -> bool:
        """Tell whether a model has an ability: "chat", "embed", "rerank"."""
        ...


class CountsTokens(Protocol):
    """A provider whose vendor counts a prompt's tokens, without answering and without charge."""

    async def count_tokens(self, call: ChatCall) -> int:
        """Return how many input tokens `call` would have. Raises ProviderFailure."""
        ...


class Embeds(Protocol):
    """A provider that turns texts into vectors: one for each input, in their order. What its `dialect` cannot be told
    is "invalid" and not dispatched, as in the abilities below.
    """

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Make one attempt. Raises ProviderFailure."""
        ...


class Reranks(Protocol):
    """A provider that orders documents by how well they answer a question, asked in the words of `rerank_dialects`: of
    its caller's where it speaks them, else of the first.
    """

    rerank_dialects: tuple[Literal["cohere", "tei"], ...]

    async def rerank(self, call: RerankCall) -> RerankReply:
        """Make one attempt. Raises ProviderFailure."""
        ...


class Moderates(Protocol):
    """A provider that judges texts and pictures: one verdict for each input, in their order."""

    async def moderate(self, call: ModerateCall) -> ModerationReply:
        """Make one attempt. Raises ProviderFailure."""
        ...
