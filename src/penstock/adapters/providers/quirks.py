"""How servers that speak OpenAI chat completions differ from OpenAI: facts, each with where and when it was read.

Promise: nothing here can change an answer. What a server must not be sent is left out only where it says nothing (a
wish for usage to a server that always tells it, `store`, a penalty of 0); everything else goes out as it came, and the
server's own refusal comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Raw

from penstock.adapters.providers.hints import OPENAI_RATES, RateNames
from penstock.dialects.nonsense import UNREADABLE

_REQUEST: Final = msgspec.json.Decoder(dict[str, Raw])
_SAYS_NOTHING: Final = frozenset({b"null", b"0", b"0.0", b"false", b"{}", b"[]"})


class Rerank(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is asked to rerank: in which words and where. By default as most do (vLLM, Jina, llama.cpp): in
    Cohere's words, beside its chats.
    """

    dialect: Literal["cohere", "tei"] = "cohere"
    target: bytes = b"/rerank"
    instead_of: tuple[bytes, ...] = ()
    """Endings of the base URL's path, of which the first that fits gives way."""

    def under(self, path: bytes) -> bytes:
        """Return the path that `target` stands under, where the base URL has `path`."""
        return next((path.removesuffix(end) for end in self.instead_of if path.endswith(end)), path)


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor. `source` is where it says so (its documentation, or a report with its answer), `seen` when."""

    source: str
    seen: str
    limit_name: str = "max_tokens"
    """The member it obeys as bound of an answer. An ignored bound costs money, so the older name is the safe one."""
    refuses: tuple[str, ...] = ()
    """Members it refuses that cannot change an answer: never sent."""
    refuses_empty: tuple[str, ...] = ()
    """Members it refuses even where they say nothing (0, false, null): not sent then."""
    choice_errors: bool = False
    """It tells the failure of a choice inside the choice, with status 200."""
    rates: RateNames = OPENAI_RATES
    """The headers it tells its rate limits in."""
    rerank: Rerank = Rerank()
    """How it is asked to rerank, if it does."""

    def shaped(self, body: bytes) -> bytes:
        """Return a request as this vendor can be sent it: `body` itself unless a member must go."""
        if not any(name.encode() in body for name in (*self.refuses, *self.refuses_empty)):
            return body
        try:
            members = _REQUEST.decode(body)
        except UNREADABLE:
            return body  # the vendor's to refuse
        kept = {
            name: value
            for name, value in members.items()
            if name not in self.refuses
            and not (name in self.refuses_empty and bytes(value).strip() in _SAYS_NOTHING)
        }
        return body if len(kept) == len(members) else msgspec.json.encode(kept)


_MINUTE: Final[RateNames] = {
    "requests": (b"x-ratelimit-limit-req-minute", b"x-ratelimit-remaining-req-minute", b""),
    "tokens": (b"x-ratelimit-limit-tokens-minute", b"x-ratelimit-remaining-tokens-minute", b""),
}

PLAIN: Final = Quirks(source="", seen="")
"""A server nobody has written about here."""

QUIRKS: Final[Mapping[str, Quirks]] = {
    # by the price book's provider id
    "openai": Quirks(
        source="https://platform.openai.com/docs/api-reference/chat/create",
        seen="2026-11-21",
        limit_name="max_completion_tokens",  # `max_tokens` is refused by its reasoning models
    ),
    "azure": Quirks(
        source="https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
        seen="2026-11-21",
        limit_name="max_completion_tokens",  # known since api-version 2024-09-01-preview
    ),
    "openrouter": Quirks(
        # Always tells usage, and sends comments before the first event.
        source="https://openrouter.ai/docs/api/reference/errors-and-debugging",
        seen="2026-11-21",
        choice_errors=True,
    ),
    "groq": Quirks(
        source="https://console.groq.com/docs/openai",
        seen="2026-11-21",
        refuses_empty=("logprobs", "top_logprobs", "logit_bias"),
    ),
    "mistral": Quirks(
        # 422 "extra_forbidden"; tells usage with the last event of every stream.
        source="https://github.com/Gitlawb/openclaude/issues/739",
        seen="2026-04-17",
        refuses=("stream_options", "store"),
        rates=_MINUTE,
    ),
    "x-ai": Quirks(
        source="https://github.com/miaoxworld/NativeTavern/issues/83",
        seen="2026-09-15",
        refuses_empty=("presence_penalty", "frequency_penalty"),
    ),
    "vllm": Quirks(
        # Ignores `user` and `parallel_tool_calls`; older versions ignore `max_completion_tokens`.
        source="https://docs.vllm.ai/en/v0.7.2/serving/openai_compatible_server.html",
        seen="2026-11-21",
    ),
    "cohere": Quirks(
        # Chats and embeddings in OpenAI's words stand under /compatibility/v1; reranking is its own v2.
        source="https://docs.cohere.com/reference/rerank",
        seen="2026-11-21",
        rerank=Rerank(target=b"/v2/rerank", instead_of=(b"/compatibility/v1", b"/v2", b"/v1")),
    ),
    "tei": Quirks(
        # text-embeddings-inference: embeddings in OpenAI's words stand under /v1, reranking does not.
        source="https://huggingface.github.io/text-embeddings-inference/",
        seen="2026-11-21",
        rerank=Rerank(dialect="tei", instead_of=(b"/v1",)),
    ),
    "ollama": Quirks(
        # Obeys `max_tokens` alone.
        source="https://docs.ollama.com/api/openai-compatibility",
        seen="2026-11-21",
    ),
}
