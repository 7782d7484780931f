"""The cache of answers on the request path: whoever asks the same again is served what was kept.

    ask      may an answer to this be kept at all, and where?   temperature 0 or `x-prefer-cached: true`
    find     kept and fresh: said again, whole or as a stream, through the filters and the check of *this* request
    resemble what was kept for a request that means the same, where somebody can tell (`Resembling`)
    join     somebody asks the same at this moment: wait for what that says
    fetch    else the provider is asked, and what it says is kept as it came, before any filter puts anything back

Headers: ``cache-control: no-store`` (neither served nor kept) or ``no-cache`` (asked anew, and kept; RFC 9111, 5.2.1),
``x-penstock-cache-ttl-class: static | semi | live``, ``x-penstock-cache-tags: doc:42, doc:43``, and
``x-penstock-cache-version`` for whatever else the answer depends on. What is served from here says
``x-penstock-cache: hit; age=12; key=5f1c…`` (``near; similarity=0.967; …`` for what meant the same): under that key the
answer can be purged.

Promises: whatever a fresh answer must pass (limits, budgets, rules, filters, checks), a kept one passes; it costs
nothing; a request streamed or not is the same request, one in another dialect is another; what failed, was cut (though
another went on with it), or came from another back end than the one this request goes to first is never kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec

from penstock.dialects.codec import Codec
from penstock.gateway.cached_capture import Capture, Tapped
from penstock.gateway.effects import has_effects
from penstock.gateway.saying import say
from penstock.gateway.targets import Target
from penstock.gateway.thoughts import Signing
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatReply, ChatRequest
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid
from penstock.kernel.settings_cache import CacheSettings
from penstock.mechanisms.answer_cache import AnswerCache, Kept, Place
from penstock.mechanisms.singleflight import FlightBounds, SingleFlight

TAGS_MOST: Final = 16
TAG_CHARS_MOST: Final = 128
VERSION_CHARS_MOST: Final = 128

_STORIES: Final = {"hit": "exact", "near": "semantic", "stale": "stale"}
"""How an answer was served → what the audit calls it."""

Fetch = Callable[[Turn, tuple[Target, ...]], Awaitable[Target]]
"""Has a turn answered by one of some targets, and returns which."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose answer may be kept: where, how long, and under which tags. `looks`: it may also be served one.
    `share` is whose the answers are beside the organisation ("" for all of it), `versions` what else they depend on.
    """

    place: Place
    team: str
    share: str
    model: str
    versions: tuple[str, ...]
    route: str
    ttl_class: str
    fresh_s: float
    tags: tuple[str, ...]
    looks: bool
    output_limit: int | None


class Fresh(msgspec.Struct, frozen=True):
    """What came of asking a provider: an answer for others too, or None."""

    kept: Kept | None


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """What came of looking for a question that means the same: its answer, the name that can be purged by, and how
    alike they are; or nothing. `trace` is what whoever looked knows it by.
    """

    kept: Kept | None = None
    key: str = ""
    similarity: float = 0.0
    trace: object = None


class Resembling(Protocol):
    """Finds what was kept for requests that mean the same, of the same tenant, model, system prompt and tools, and was
    not forgotten.
    """

    async def near(self, request: ChatRequest, sought: Sought) -> Alike | None:
        """Look for what means the same as `request`; None where that is not wanted."""
        ...

    def served(self, sought: Sought, alike: Alike) -> None:
        """Note that what was found was said."""
        ...

    def keep(self, sought: Sought, alike: Alike) -> None:
        """Note that the answer to what nothing was found for is kept now."""
        ...


class CachedAnswers:
    """Serves and keeps answers. One per process."""

    def __init__(self, cache: AnswerCache, codecs: Mapping[str, Codec], settings: CacheSettings) -> None:
        """Keep in `cache`; `codecs` are the providers' dialects by name."""
        self.cache = cache
        self.flights = SingleFlight[Fresh](FlightBounds(wait_s=settings.wait_s), lambda _: 0)
        self._codecs = codecs
        self._settings = settings
        self._fresh_s = {"static": settings.static_s, "semi": settings.semi_s, "live": 0.0}
        self._opted_out = frozenset(settings.opted_out)
        self.resembling: Resembling | None = None
        """Who can tell what means the same; None where nobody can."""

    async def answer(self, turn: Turn, targets: tuple[Target, ...], fetch: Fetch) -> None:
        """Answer an admitted turn: with what was kept, else through `fetch`. Raises what `fetch` raises, `Invalid`
        for a header that cannot be.
        """
        sought = self.ask(turn.context, turn.wording, targets[0])
        if sought is None:
            await fetch(turn, targets)
            return
        if not sought.looks:
            await self._fresh(turn, targets, sought, fetch)
            return
        kept = await self.cache.find(sought.place)
        if kept is not None and self._served(turn, targets[0], sought, kept):
            return
        alike = None
        if self.resembling is not None:
            alike = await self.resembling.near(turn.wording.request, sought)
            if alike is not None and self._served_alike(turn, targets[0], sought, alike):
                self.resembling.served(sought, alike)
                return
        asking = _Asking(lambda: self._fresh(turn, targets, sought, fetch, alike))
        shared = self.flights.join(sought.place.key.encode(), asking.start)
        try:
            fresh = await shared.next()
            if shared.leads:
                await shared.next()
                return
        finally:
            shared.close()
        if fresh is None or fresh.kept is None or not self._served(turn, targets[0], sought, fresh.kept):
            await fetch(turn, targets)

    def ask(self, context: RequestContext, wording: Wording, target: Target) -> Sought | None:
        """Return where the answer of a request that goes to `target` belongs; None when it is not to be kept."""
        header = context.header
        temperature = wording.envelope.temperature
        if temperature != 0 and (header(b"x-prefer-cached") or b"").strip().lower() != b"true":
            return None
        control = (header(b"cache-control") or b"").lower()
        ttl_class = self._class(context)
        fresh_s = self._fresh_s[ttl_class]
        who = context.principal
        if b"no-store" in control or not fresh_s or self._opted_out & {who.org, f"{who.org}/{who.team}"}:
            return None
        request = wording.request
        if has_effects(request):
            return None
        asked_tags = _tags(header(b"x-penstock-cache-tags") or b"")
        feature = (f"feature:{context.feature}",) if context.feature else ()
        share = who.team if self._settings.share == "team" else ""
        versions = (wording.face.name, self._settings.version, _version(header), target.route)
        return Sought(
            place=self.cache.place(request, org=who.org, team=share, versions=versions),
            team=who.team,
            share=share,
            model=wording.envelope.model,
            versions=versions,
            route=target.route,
            ttl_class=ttl_class,
            fresh_s=fresh_s,
            tags=(f"model:{wording.envelope.model}", f"route:{target.route}", *feature, *asked_tags),
            looks=b"no-cache" not in control,
            output_limit=wording.envelope.output_limit,
        )

    @property
    def keeps_stale(self) -> bool:
        """Whether answers are kept past their time."""
        return self._settings.stale_s > 0

    async def stale(self, turn: Turn, targets: tuple[Target, ...]) -> bool:
        """Answer with what any of `targets` said once, even though its time is over, said to be so; False when there is
        nothing.
        """
        for target in targets:
            sought = self.ask(turn.context, turn.wording, target)
            if sought is None or not sought.looks:
                return False
            kept = await self.cache.find(sought.place, stale=True)
            if kept is not None and self._say(turn, target, kept, "stale", sought.place.name):
                self.cache.tally(sought.place.org).stale += 1
                return True
        return False

    def _served_alike(self, turn: Turn, target: Target, sought: Sought, alike: Alike) -> bool:
        """Say the answer to what means the same, if there is one, under the name it can be purged by."""
        if alike.kept is None:
            return False
        how = f"near; similarity={alike.similarity:.3f}"
        served = self._served(turn, target, sought, alike.kept, how, alike.key)
        if served:
            self.cache.tally(sought.place.org).misses -= 1  # which it was to the exact words
        return served

    def _served(
        self, turn: Turn, target: Target, sought: Sought, kept: Kept, how: str = "hit", key: str = ""
    ) -> bool:
        if not self._say(turn, target, kept, how, key or sought.place.name):
            return False
        tally = self.cache.tally(sought.place.org)
        of_class = tally.of_class(sought.ttl_class)
        for each in (tally, of_class):
            each.hits += 1
            each.saved_nanos += kept.cost_nanos
        return True

    async def _fresh(
        self,
        turn: Turn,
        targets: tuple[Target, ...],
        sought: Sought,
        fetch: Fetch,
        alike: Alike | None = None,
    ) -> Fresh:
        """Have a provider answer, and keep what it said; what was looked for in vain (`alike`) is found from now on."""
        tapped = tuple([self._tapped(target, sought) for target in targets])
        before_nanos = turn.meter.spent_nanos
        answered = await fetch(turn, tapped)
        reply, capture = None, turn.reply
        if answered.route == sought.route and isinstance(capture, Capture) and turn.resumed_by is None:
            reply = capture.reply(self._codecs[answered.provider.dialect])
        if reply is not None and answered.provider.dialect != turn.wording.face.name:
            reply = Signing(answered.provider.dialect).reply(reply)
        if reply is None or not self._fit(reply, sought, turn):
            self.cache.tally(sought.place.org).not_kept += 1
            return Fresh(None)
        kept = self.cache.entry(
            reply, cost_nanos=turn.meter.spent_nanos - before_nanos, fresh_s=sought.fresh_s
        )
        if not await self.cache.keep(sought.place, kept, sought.tags):
            return Fresh(None)
        self.cache.tally(sought.place.org).of_class(sought.ttl_class).kept += 1
        if self.resembling is not None and alike is not None:
            self.resembling.keep(sought, alike)
        return Fresh(kept)

    def _tapped(self, target: Target, sought: Sought) -> Target:
        if target.route != sought.route:
            return target
        tap = Tapped(target.provider, self._settings.entry_bytes)
        return msgspec.structs.replace(target, provider=tap)

    def _fit(self, reply: ChatReply, sought: Sought, turn: Turn) -> bool:
        """Tell whether an answer is good for another caller: whole, and cut by no budget but the request's own."""
        allowed = {"stop", "tool_calls"} if self._settings.tool_calls else {"stop"}
        if sought.output_limit is not None and turn.meter.seat.output_tokens == sought.output_limit:
            allowed.add("length")
        calls = any(message.tool_calls for message in reply.choices)
        return set(reply.finishes) <= allowed and (self._settings.tool_calls or not calls)

    def _say(self, turn: Turn, target: Target, kept: Kept, how: str, key: str) -> bool:
        """Say a kept answer as this request wants it; False when it does not pass this request's check."""
        mark = b"x-penstock-cache: %b; age=%d; key=%b\r\n" % (
            how.encode(),
            self.cache.age_s(kept),
            key.encode(),
        )
        if not say(turn, kept.reply, target, mark):
            return False
        turn.story.cached(_STORIES[how.partition(";")[0]], kept.cost_nanos)
        return True

    def _class(self, context: RequestContext) -> str:
        told = context.header(b"x-penstock-cache-ttl-class")
        if told is None:
            return self._settings.default_class
        chosen = told.decode("latin-1").strip().lower()
        if chosen not in self._fresh_s:
            raise _bad_header("x-penstock-cache-ttl-class", chosen, "static, semi or live")
        return chosen


class _Asking:
    """Asking a provider, as what is shared with those who ask the same: one event, and the end."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], Awaitable[Fresh]]) -> None:
        self._ask: Callable[[], Awaitable[Fresh]] | None = ask

    async def start(self) -> _Asking:
        return self

    async def next(self) -> Fresh | None:
        ask, self._ask = self._ask, None
        return None if ask is None else await ask()

    def close(self) -> None:
        """Do nothing: the request lets go of its call itself."""


def _tags(header: bytes) -> tuple[str, ...]:
    tags = tuple([tag for part in header.decode("latin-1").split(",") if (tag := part.strip())])
    if len(tags) > TAGS_MOST or any(len(tag) > TAG_CHARS_MOST or not tag.isprintable() for tag in tags):
        raise _bad_header(
            "x-penstock-cache-tags",
            header[:256].decode("latin-1"),
            f"{TAGS_MOST} of {TAG_CHARS_MOST} characters",
        )
    return tags


def _version(header: Callable[[bytes], bytes | None]) -> str:
    told = (header(b"x-penstock-cache-version") or b"").decode("latin-1")
    if len(told) > VERSION_CHARS_MOST:
        raise _bad_header("x-penstock-cache-version", told[:256], f"{VERSION_CHARS_MOST} characters")
    return told


def _bad_header(name: str, value: str, limit: str) -> Invalid:
    return Invalid("This header cannot be.", code="invalid_header", field=name, value=value, limit=limit)
