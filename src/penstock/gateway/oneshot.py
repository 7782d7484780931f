"""A request that is no chat, as admission, the meter and the audit see one: nothing but what it asks and of whom.

Promises: `prompt_bytes` is never less than what its inputs can be in tokens, pictures aside: the bytes they came in,
and what a model puts around each; whoever rewrites its words rewrites all that a vendor is told of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from penstock.mechanisms.redaction.texts import Texts
from penstock.ports.encoder import Lane

R = TypeVar("R")

TOKENS_PER_INPUT = 4
"""What a model puts around one input: 2 with BERT's vocabulary; doubled."""


class Words(NamedTuple, Generic[R]):
    """Where the words of a request of kind `R` stand."""

    read: Callable[[R], Texts]
    write: Callable[[R, Sequence[str]], R]
    """The request with other words, as many, in the order of `read`."""


class OneShot(Generic[R]):
    """An opened request of kind `R` that is answered whole, with no words of the model's own."""

    __slots__ = (
        "_words",
        "body",
        "images",
        "lane",
        "model",
        "prompt_bytes",
        "request",
        "requests",
        "tenant",
        "user",
    )

    dialect = "openai"
    stream = include_usage = has_tools = has_format = False
    n = 1
    temperature: float | None = None
    service_tier = ""
    message_count = 0
    other_parts: tuple[str, ...] = ()
    output_limit: int | None = 0

    def __init__(
        self,
        request: R,
        body: bytes,
        words: Words[R],
        *,
        model: str,
        inputs: int,
        user: str = "",
        picture_bytes: Sequence[int] = (),
        requests: int = 1,
    ) -> None:
        """Hold `request`, which came as `body`, with `inputs` and pictures of so many bytes each; `requests` is how
        many a vendor that bills by the request can make of it.
        """
        self.request = request
        self.body = body
        self.model = model
        self.user = user
        self.images = len(picture_bytes)
        self.prompt_bytes = len(body) - sum(picture_bytes) + TOKENS_PER_INPUT * inputs
        self.requests = requests
        self.lane: Lane = "query"
        self.tenant = ""
        self._words = words

    def asks_for(self, member: str) -> bool:
        """Tell that it asks for no service that chats know."""
        return False

    def content(self) -> Texts:
        """Return the words of its inputs, and what beside them nobody can read."""
        return self._words.read(self.request)

    def texts(self) -> Iterator[str]:
        """Return the words of its inputs."""
        return iter(self.content().texts)

    def reword(self, texts: Sequence[str]) -> None:
        """Say `texts` instead of its words."""
        before = self.content().texts
        grown = [len(new.encode()) - len(old.encode()) for new, old in zip(texts, before, strict=True)]
        self.prompt_bytes += sum([more for more in grown if more > 0])
        self.request = self._words.write(self.request, texts)

    def redirected(self, model: str, output_tokens: int, limit_name: str) -> bytes:
        """Return the bytes it came as; its kind words it for a vendor."""
        return self.body
