"""The streams and their nouns of the client without `async`; see `sdk/blocking.py`.

Promises: those of `sdk/nouns` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

from typing import Any, TypeVar, Unpack

from penstock.sdk.answers import Answer, Chunk, TokenUsage
from penstock.sdk.background import Background, BlockingCalls, BlockingStream
from penstock.sdk.nouns.chat import ChatCalls, ChatStream, Messages
from penstock.sdk.nouns.routing import RoutingCalls
from penstock.sdk.nouns.sight import OverviewCalls, RequestCalls
from penstock.sdk.requests import Filter, Overview, RequestDetail, RequestPage, RequestView, Scored
from penstock.sdk.routing import (
    Canaries,
    RouteAnswer,
    RouteQuestion,
    RouteTiers,
    RoutingCheck,
    RoutingConfig,
    RoutingVersion,
)
from penstock.sdk.streams import Live

T = TypeVar("T")


class BlockingLive(BlockingStream[T]):
    """What happens, as it happens. It has no end of its own; it ends when the server drains."""

    def __init__(self, background: Background, stream: Live[T]) -> None:
        """Read `stream`."""
        super().__init__(background, stream)
        self._source = stream

    @property
    def skipped(self) -> int:
        """How many the server left out, because more came than it tells."""
        return self._source.skipped


class BlockingChatStream(BlockingStream[Chunk]):
    """An answer as it is written. What headers tell is here once it is entered; `usage` when the last chunk came."""

    def __init__(self, background: Background, stream: ChatStream) -> None:
        """Read `stream`."""
        super().__init__(background, stream)
        self._source = stream

    @property
    def request_id(self) -> str:
        """The request's id, which `requests.get` takes."""
        return self._source.request_id

    @property
    def route(self) -> str:
        """The back end that answers."""
        return self._source.route

    @property
    def cost_nanos(self) -> int | None:
        """What it cost, if its headers told; else `requests.get(request_id)` does after its end."""
        return self._source.cost_nanos

    @property
    def usage(self) -> TokenUsage | None:
        """The tokens, once the chunk came that tells them."""
        return self._source.usage


class BlockingChatCalls(BlockingCalls[ChatCalls]):
    """Ask a model."""

    def create(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = 610.0,
        **parameters: object,
    ) -> Answer:
        """Return the whole answer. `feature` tags the request for the cost explorer; `parameters` are OpenAI's."""
        work = self._calls.create(
            model=model,
            messages=messages,
            feature=feature,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            timeout_s=timeout_s,
            **parameters,
        )
        return self._run(work)

    def stream(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = 610.0,
        **parameters: object,
    ) -> BlockingChatStream:
        """Return the answer as it is written, to be entered, read and left: ``with``. Usage is asked for."""
        stream = self._calls.stream(
            model=model,
            messages=messages,
            feature=feature,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            timeout_s=timeout_s,
            **parameters,
        )
        return BlockingChatStream(self._background, stream)


class BlockingRoutingCalls(BlockingCalls[RoutingCalls]):
    """The routing configuration of the platform."""

    def get(self, version: int = -1) -> RoutingConfig:
        """Return a version with its document; -1 is the one in force. Raises NotFound."""
        return self._run(self._calls.get(version))

    def history(self, limit: int = 50) -> tuple[RoutingVersion, ...]:
        """Return the versions, newest first; 0 is the settings file's."""
        return self._run(self._calls.history(limit))

    def tiers(self) -> tuple[RouteTiers, ...]:
        """Return, by route, what telling easy requests from hard ones saved."""
        return self._run(self._calls.tiers())

    def check(self, document: dict[str, Any]) -> RoutingCheck:
        """Check a document. Raises Invalid that lists every mistake."""
        return self._run(self._calls.check(document))

    def apply(
        self,
        document: dict[str, Any],
        *,
        why: str = "",
        based_on: int | None = None,
    ) -> RoutingVersion:
        """Route by a document, everywhere within a second. Raises Invalid, Conflict when overtaken."""
        return self._run(self._calls.apply(document, why=why, based_on=based_on))

    def rollback(self, to: int | None = None, *, why: str = "") -> RoutingVersion:
        """Go back to a version, or to the one before. Raises NotFound, Conflict when overtaken."""
        return self._run(self._calls.rollback(to, why=why))

    def canaries(self) -> Canaries:
        """Return every canary with what both sides did and the evidence against it."""
        return self._run(self._calls.canaries())

    def watch_canaries(self) -> BlockingLive[Canaries]:
        """Return the canaries each time something about one changed, at most once a second: ``with``."""
        return BlockingLive(self._background, self._calls.watch_canaries())

    def explain(self, question: RouteQuestion) -> RouteAnswer:
        """Return who would answer a request now, and why; nobody is called. Raises NotFound, Forbidden."""
        return self._run(self._calls.explain(question))


class BlockingRequestCalls(BlockingCalls[RequestCalls]):
    """Requests, one by one."""

    def list(self, *, after: str = "", limit: int = 50, **which: Unpack[Filter]) -> RequestPage:
        """Return a page of at most `limit` (<= 200) requests, the latest first; its `after` asks for the next."""
        return self._run(self._calls.list(after=after, limit=limit, **which))

    def get(self, request_id: str) -> RequestDetail:
        """Return a request with its spans. Raises NotFound."""
        return self._run(self._calls.get(request_id))

    def score(self, request_id: str, score: float) -> Scored:
        """Say how good the answer of a request was, from 0 to 1, once. Raises NotFound, Conflict."""
        return self._run(self._calls.score(request_id, score))

    def live(self, **which: Unpack[Filter]) -> BlockingLive[RequestView]:
        """Return requests as they end, at most 20 a second (`skipped` counts the rest): ``with``."""
        return BlockingLive(self._background, self._calls.live(**which))


class BlockingOverviewCalls(BlockingCalls[OverviewCalls]):
    """How things are now."""

    def get(self, org: str = "") -> Overview:
        """Return spending, what breaks first, latency, errors and the latest requests."""
        return self._run(self._calls.get(org))

    def live(self, org: str = "") -> BlockingLive[Overview]:
        """Return the overview each time it changes, at most twice a second: ``with``."""
        return BlockingLive(self._background, self._calls.live(org))
