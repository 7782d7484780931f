"""A request that is no chat, as admission, the meter and the audit see one: nothing but what it asks and of whom.

Promise: `prompt_bytes` is never less than what its inputs can be in tokens: the bytes they came in, and what an
embedding model puts around each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

R = TypeVar("R")

TOKENS_PER_INPUT = 4
"""What an embedding model puts around one input: 2 with BERT's vocabulary; doubled."""


class OneShot(Generic[R]):
    """An opened request of kind `R` that is answered whole, with no words of the model's own."""

    __slots__ = ("_texts", "body", "model", "prompt_bytes", "request", "user")

    dialect = "openai"
    stream = include_usage = has_tools = has_format = False
    n = 1
    temperature: float | None = None
    service_tier = ""
    message_count = images = 0
    other_parts: tuple[str, ...] = ()
    output_limit: int | None = 0

    def __init__(
        self,
        request: R,
        body: bytes,
        *,
        model: str,
        inputs: int,
        user: str = "",
        texts: Callable[[], Iterator[str]],
    ) -> None:
        """Hold `request`, which came as `body`; `texts` returns the words of its `inputs`."""
        self.request = request
        self.body = body
        self.model = model
        self.user = user
        self.prompt_bytes = len(body) + TOKENS_PER_INPUT * inputs
        self._texts = texts

    def asks_for(self, member: str) -> bool:
        """Tell that it asks for no service that chats know."""
        return False

    def texts(self) -> Iterator[str]:
        """Return the words of its inputs."""
        return self._texts()

    def redirected(self, model: str, output_tokens: int, limit_name: str) -> bytes:
        """Return the bytes it came as; its kind words it for a vendor."""
        return self.body
