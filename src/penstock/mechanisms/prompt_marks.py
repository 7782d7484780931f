"""Where a prompt is marked for its vendor to keep it, for vendors who keep only what is marked (Anthropic).

A mark costs: writing is dearer than reading afresh (by a quarter, for five minutes). So nothing is marked for being
long, but for having been seen: a prefix that this process sent within the vendor's lifetime of it comes again. Marked
are the tools, the system prompt, documents at the head of a conversation, the place where the conversation's last
request ended, and where this one ends, so that the next is cheaper.

Promises: only marks are added, and at most as many as the vendor takes; a request that bears a mark of its caller is
left as it is; memory is bounded; what is remembered is a digest under a tenant's name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from importlib.resources import files
from itertools import takewhile
from typing import Final

import msgspec

from penstock.kernel.chat import ChatRequest, Image, Media, Message, Part, Text
from penstock.kernel.clock import Clock
from penstock.kernel.money import Price, Usage, cost_nanos

REMEMBERED_MOST: Final = 20_000
"""Prefixes remembered, the oldest let go first; each is some 200 bytes."""
BYTES_PER_TOKEN: Final = 4
KEEP: Final = "5m"
SYSTEM: Final = ("system", "developer")
_encode: Final = msgspec.json.encode


class _Data(msgspec.Struct, frozen=True):
    date: str
    sources: tuple[str, ...]
    marks_most: int
    lifetime_s: int
    min_tokens: tuple[tuple[str, int], ...]


DATA: Final = msgspec.json.decode(
    (files("penstock.mechanisms") / "data" / "prompt_caches.json").read_bytes(), type=_Data
)


class _Place(msgspec.Struct, frozen=True):
    """Where a prefix ends: after a message's part, or after the tools (both -1), and how long it is."""

    message: int
    part: int
    bytes: int
    digest: bytes


class PromptMarks:
    """Marks prompts. One per process."""

    def __init__(self, clock: Clock) -> None:
        """Remember what was sent within the vendor's lifetime by `clock`."""
        self._clock = clock
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self.marked = 0
        """Requests that were marked."""

    def marked_request(self, request: ChatRequest, tenant: str, model: str) -> ChatRequest | None:
        """Return the request with marks, None when none would help; remembers its prefixes either way."""
        if _has_marks(request):
            return None
        least = least_tokens(model) * BYTES_PER_TOKEN
        places = list(_places(request, f"{tenant}\0{model}".encode()))
        now_s = self._clock.monotonic_s()
        known = [place for place in places if self._is_known(place, now_s)]
        for place in places:
            self._seen[place.digest] = now_s
            self._seen.move_to_end(place.digest)
        while len(self._seen) > REMEMBERED_MOST:
            self._seen.popitem(last=False)
        chosen = [place for place in _chosen(request, places, known) if place.bytes >= least]
        if not chosen:
            return None
        self.marked += 1
        for place in chosen[-DATA.marks_most :]:
            request = _with_mark(request, place)
        return request

    def _is_known(self, place: _Place, now_s: float) -> bool:
        seen_s = self._seen.get(place.digest)
        return seen_s is not None and now_s - seen_s < DATA.lifetime_s


def least_tokens(model: str) -> int:
    """Return the fewest tokens that the vendor keeps for a model."""
    return next(tokens for start, tokens in DATA.min_tokens if model.startswith(start))


def saved_nanos(price: Price, usage: Usage) -> int:
    """Return what the vendor's prompt cache took off the bill of one call, in nano-dollars, by the vendor's figures;
    negative when writing cost more than reading saved.
    """
    if not usage.cached_input_tokens and not usage.cache_write_tokens:
        return 0
    afresh = msgspec.structs.replace(
        usage, cached_input_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0
    )
    return cost_nanos(price, afresh) - cost_nanos(price, usage)


def _has_marks(request: ChatRequest) -> bool:
    holders = (request, *request.tools, *request.messages)
    if any("cache_control" in holder.extras for holder in holders) or any(t.cache for t in request.tools):
        return True
    parts = (part for message in request.messages for part in message.content)
    return any(isinstance(part, Text | Image | Media) and part.cache for part in parts)


def _places(request: ChatRequest, start: bytes) -> Iterator[_Place]:
    """Return every place where a prefix can end, in order; `start` is what all of them begin with."""
    told = blake2b(start, digest_size=16)
    length = 0
    if request.tools:
        words = _encode(request.tools)
        told.update(words)
        length += len(words)
        yield _Place(-1, -1, length, told.digest())
    for number, message in enumerate(request.messages):
        words = _encode((message.role, message.tool_call_id, message.tool_calls))
        told.update(len(words).to_bytes(8, "big") + words)
        length += len(words)
        for at, part in enumerate(message.content):
            words = _encode(part)
            told.update(len(words).to_bytes(8, "big") + words)
            length += len(words)
            if isinstance(part, Text | Image | Media) and not (isinstance(part, Text) and not part.text):
                yield _Place(number, at, length, told.digest())


def _chosen(request: ChatRequest, places: list[_Place], known: list[_Place]) -> list[_Place]:
    """Return the places to mark, in order."""
    messages = request.messages
    head = sum(1 for _ in takewhile(lambda message: message.role in SYSTEM, messages))
    whole = [place for place in known if _is_last(place, messages)]
    tools = [place for place in whole if place.message < 0]
    system = [place for place in whole if 0 <= place.message < head]
    turns = [place for place in whole if place.message >= head]
    if (
        turns and turns[-1] is not places[-1]
    ):  # the conversation goes on: its next request begins with this one
        turns = [turns[-1], places[-1]]
    documents = [place for place in known if place.message == head and place not in whole]
    return [*tools, *system[-1:], *(turns[-2:] or documents[-1:])]


def _is_last(place: _Place, messages: tuple[Message, ...]) -> bool:
    return place.message == -1 or place.part == len(messages[place.message].content) - 1


def _with_mark(request: ChatRequest, place: _Place) -> ChatRequest:
    replace = msgspec.structs.replace
    if place.message < 0:
        return replace(request, tools=(*request.tools[:-1], replace(request.tools[-1], cache=KEEP)))
    messages = list(request.messages)
    parts: list[Part] = list(messages[place.message].content)
    parts[place.part] = replace(parts[place.part], cache=KEEP)
    messages[place.message] = replace(messages[place.message], content=tuple(parts))
    return replace(request, messages=tuple(messages))
