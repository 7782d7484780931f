"""Answers kept for whoever asks the same again, and forgotten when what they were made from changes.

Promises
- Nobody meets another's entry. A key is HMAC-SHA-256 under a secret of the tenant, over every field framed with its
  length: who does not hold the secret can neither guess a key nor compare two, and no choice of words makes two
  different requests one. The tenant is the team (or the organisation where it says so): inside a team people see the
  same prompts and documents, across teams that is not ours to assume.
- Nothing is served past its time, except as `stale` to whoever asks for that.
- After `forget` returned, no entry with the tag is served here; on every other node within a second. An answer that was
  under way meanwhile is not kept. A node that missed news serves nothing it kept before.
- A store that fails is a miss; every miss, refusal and loss is counted.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final
from zlib import crc32

import msgspec

from penstock.kernel.chat import ChatReply, ChatRequest
from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.ports.cache import Cache
from penstock.ports.signals import Signals, Subscription

TOPIC: Final = "cache.invalidate"
EVERYTHING: Final = "*"
"""The tag that every entry carries."""
TENANTS_MOST: Final = 4_096
"""Organisations whose figures are told apart; the rest are counted together, under ""."""
COUNTERS: Final = 4_096
"""What was forgotten is counted by organisation, as far as these go: two that share one only keep a little less."""
HEAR_S: Final = 0.25
NAME_CHARS: Final = 16
IRRELEVANT: Final = frozenset({"metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"})
"""Uninterpreted members that cannot change an answer."""
_FRAMED: Final = "big"

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class ClassTally(msgspec.Struct):
    """The part of a `Tally` that is of one class of answers."""

    hits: int = 0
    kept: int = 0
    saved_nanos: int = 0


class Tally(msgspec.Struct):
    """How the cache served one organisation, since the start of this process."""

    hits: int = 0
    stale: int = 0
    misses: int = 0
    kept: int = 0
    not_kept: int = 0
    """Answers that might have been kept and were not: cut short, too large, calling tools, forgotten meanwhile."""
    saved_nanos: int = 0
    """What the answers served had cost when they were fresh, in nano-dollars."""
    classes: dict[str, ClassTally] = {}
    """Hits, kept and saved by the class that requests gave their answers."""

    def of_class(self, name: str) -> ClassTally:
        """Return the figures of one class, for whoever counts."""
        return self.classes.setdefault(name, ClassTally())


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as the provider gave it, before anything of one caller was put back into it."""

    reply: ChatReply
    kept_s: float
    """Wall time."""
    fresh_s: float
    cost_nanos: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one request's answer belongs. `news` is what had been forgotten when it was asked."""

    org: str
    key: str
    news: tuple[int, int]

    @property
    def name(self) -> str:
        """What the answer is called where people see it; a MAC's beginning tells nothing of what was asked."""
        return self.key[:NAME_CHARS]


class _Forget(msgspec.Struct, frozen=True):
    """One piece of news."""

    org: str
    tag: str


_kept: Final = msgspec.json.Decoder(Kept)
_forget: Final = msgspec.json.Decoder(_Forget)


class AnswerCache:
    """Keeps, finds and forgets. One per process."""

    def __init__(
        self, store: Cache, signals: Signals, clock: Clock, *, secret: bytes, shared: bool, stale_s: float
    ) -> None:
        """Keep in `store`, `shared` by all nodes or this process's own; hold entries `stale_s` past their time."""
        self._store = store
        self._signals = signals
        self._clock = clock
        self._secret = secret
        self._shared = shared
        self._stale_s = stale_s
        self._forgotten = [0] * COUNTERS
        self._epoch = 0
        self.tallies: dict[str, Tally] = {}
        self.failures = 0
        """Times the store could not be asked."""
        self.unread_news = 0
        """News that said nothing we know."""
        self.heeding: Callable[[str, str], None] | None = None
        """Who else is to forget an organisation's answers with a tag, whoever said so."""

    def place(self, request: ChatRequest, *, org: str, team: str, versions: Sequence[str]) -> Place:
        """Return where the answer to `request` belongs; `team` is "" where the whole organisation shares.

        `versions` are whatever else an answer depends on: the back end asked, a prompt's or an index's version.
        """
        extras = {name: value for name, value in request.extras.items() if name not in IRRELEVANT}
        asked = msgspec.structs.replace(request, stream=False, include_usage=False, user="", extras=extras)
        secret = _mac(self._secret, b"tenant", org.encode(), team.encode())
        words = [version.encode() for version in versions]
        # Every node of a shared store must come to one key; one's own store is left behind with its epoch.
        epoch = 0 if self._shared else self._epoch
        key = _mac(secret, b"answer", b"%d" % epoch, b"%d" % len(words), *words, _encode(asked))
        return Place(org=org, key=key.hex(), news=self._told(org))

    async def find(self, place: Place, *, stale: bool = False) -> Kept | None:
        """Return the answer kept there while it is fresh; with `stale`, also past its time. Counts a miss, no hit."""
        found = await self.peek(place, stale=stale)
        if found is None:
            self.tally(place.org).misses += not stale
        return found

    async def peek(self, place: Place, *, stale: bool = False) -> Kept | None:
        """Return what `find` would, for whoever does not ask on a caller's behalf: nothing is counted."""
        try:
            data = await self._store.get(place.org, place.key)
        except PenstockError:
            self.failures += 1
            return None
        found = None if data is None else _read(data)
        return found if found is not None and (stale or self.age_s(found) < found.fresh_s) else None

    def entry(self, reply: ChatReply, *, cost_nanos: int, fresh_s: float) -> Kept:
        """Return an answer that cost so much, to be kept from now on, as fresh for `fresh_s` seconds."""
        return Kept(reply=reply, kept_s=self._clock.wall_s(), fresh_s=fresh_s, cost_nanos=cost_nanos)

    async def keep(self, place: Place, entry: Kept, tags: Sequence[str] = ()) -> bool:
        """Keep an answer; False when it was too large, or something was forgotten since its place was asked."""
        tally = self.tally(place.org)
        stored = False
        if place.news == self._told(place.org):
            try:
                stored = await self._store.put(
                    place.org,
                    place.key,
                    _encode(entry),
                    ttl_s=entry.fresh_s + self._stale_s,
                    tags=(EVERYTHING, f"key:{place.name}", *tags),
                )
            except PenstockError:
                self.failures += 1
        if stored:
            tally.kept += 1
        else:
            tally.not_kept += 1
        return stored

    def age_s(self, kept: Kept) -> float:
        """Return how old an answer is, in seconds."""
        return max(self._clock.wall_s() - kept.kept_s, 0.0)

    async def forget(self, org: str, tag: str = EVERYTHING) -> int:
        """Forget the organisation's answers with a tag here and on every node; returns how many there were here.

        Raises Unavailable when other nodes could not be told: try again.
        """
        count = await self._forget(org, tag)
        await self._signals.publish(TOPIC, _encode(_Forget(org, tag)))
        return count

    async def watch(self) -> None:
        """Hear what other nodes forget, until cancelled. While signals are down, what was kept before is not served
        after: nobody knows what was missed.
        """
        ear: Subscription | None = None
        while True:
            try:
                if ear is None:
                    ear = await self._signals.subscribe(TOPIC)
                    self._start_anew()
                signal = await ear.next(HEAR_S)
                if signal is None:
                    await asyncio.sleep(HEAR_S / 5)  # a closed ear answers None at once
                    continue
                if signal.missed:
                    self._start_anew()
                await self._heard(signal.body)
            except PenstockError:
                ear = None
                self._start_anew()
                await asyncio.sleep(HEAR_S)

    def tally(self, org: str) -> Tally:
        """Return an organisation's figures, for whoever counts or reads."""
        found = self.tallies.get(org)
        if found is None:
            org = org if len(self.tallies) < TENANTS_MOST else ""
            found = self.tallies.setdefault(org, Tally())
        return found

    def figures(self, org: str) -> Tally:
        """Return an organisation's figures as they are, zeroes for one that nothing was kept for."""
        return self.tallies.get(org) or Tally()

    async def stats(self) -> dict[str, int]:
        """Return the store's hits, misses, evictions, refused, entries and bytes. Raises Unavailable."""
        return await self._store.stats()

    async def _heard(self, body: bytes) -> None:
        try:
            news = _forget.decode(body)
        except msgspec.DecodeError:
            self.unread_news += 1
            return
        await self._forget(news.org, news.tag)

    async def _forget(self, org: str, tag: str) -> int:
        """Forget here; whatever is under way is not kept."""
        self._forgotten[_counter(org)] += 1
        if self.heeding is not None:
            self.heeding(org, tag)
        return await self._store.invalidate(org, tag)

    def _told(self, org: str) -> tuple[int, int]:
        return self._epoch, self._forgotten[_counter(org)]

    def _start_anew(self) -> None:
        """Serve nothing that was kept so far: it ends by itself. A shared store was told by whoever had the news."""
        self._epoch += 1


def _counter(org: str) -> int:
    return crc32(org.encode()) % COUNTERS


def _mac(secret: bytes, *fields: bytes) -> bytes:
    """Return the MAC of `fields`, each framed by its length, so that none can run into the next."""
    told = b"".join([part for field in fields for part in (len(field).to_bytes(8, _FRAMED), field)])
    return hmac.digest(secret, told, sha256().name)


def _read(data: bytes) -> Kept | None:
    """Return an entry, None for one of another version of this program."""
    try:
        return _kept.decode(data)
    except msgspec.DecodeError:
        return None
