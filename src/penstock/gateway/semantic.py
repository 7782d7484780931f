"""Kept answers for questions that mean the same: the semantic cache, one organisation's or team's own.

    may it?     the team and the model are opted in, the question is words, and short, and nothing is suspended
    scope       the very same tenant, model, parameters, system prompt, tools, conversation so far, and versions: the
                key of `mechanisms/answer_cache` over all of the request but the words of its last user message
    vector      of those words alone, by the model in this machine, under the team's own name there
    nearest     of the scope's questions with a cosine of the threshold, 0.95, never less than 0.90
    guard       reads both word by word (`semantic_guard`): "enable" is not "disable", "A to B" is not "B to A"
    answer      looked up where the exact cache keeps it: gone, expired or purged there, it is gone here

Promises: a tenant's questions are compared with its own alone, held apart from all others' in what they cost and in
what they push out; whatever goes wrong is a miss; a look-up that is not over within `wait_s` is given up; and it
suspends itself, team by team, where looking costs more than it saves (`semantic_books`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from penstock.gateway.cached_answers import Alike, Sought
from penstock.gateway.semantic_books import Book, Books, Tally
from penstock.gateway.semantic_guard import differ
from penstock.gateway.semantic_shelf import Asked, Shelf, Vector, nearest
from penstock.kernel.chat import ChatRequest, Text
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.settings_cache import SemanticSettings
from penstock.mechanisms.answer_cache import AnswerCache

TEAMS_MOST: Final = 256
"""Teams whose questions are held; those of the least recent look-up go, but not the team's book."""
FLOOR: Final = 0.90
"""Least cosine there ever is, whatever is set."""
CHARS_MOST: Final = 1_000
"""Longer questions are asked anew: they share their gist with many, and differ in a word."""


class Meaning(Protocol):
    """Turns a question into a vector of length 1."""

    @property
    def space(self) -> str:
        """The model and version; vectors of two are never compared."""
        ...

    async def of(self, text: str, *, tenant: str) -> bytes:
        """Return little-endian float32. Raises Invalid for what the model cannot read, else Unavailable."""
        ...


class Trace(msgspec.Struct, frozen=True):
    """What is known of a question that is now answered by a provider."""

    scope: str
    text: str
    vector: Vector
    at_s: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one team's semantic cache stands. `suspended` says why it is, "" while it is not."""

    team: str
    vectors: int
    suspended: str
    tally: Tally


class SemanticCache:
    """A `Resembling` over vectors. One per process."""

    def __init__(
        self, cache: AnswerCache, meaning: Meaning, clock: Clock, settings: SemanticSettings
    ) -> None:
        """Serve what `cache` keeps, to whom `settings` name."""
        self._cache = cache
        self._meaning = meaning
        self._clock = clock
        self._settings = settings
        self._threshold = max(settings.threshold, FLOOR)
        self._shelves: OrderedDict[tuple[str, str], Shelf] = OrderedDict()
        self._books = Books(settings)
        self._named = frozenset(settings.teams)
        self._models = frozenset(settings.models)
        self.evicted_teams = 0

    async def near(self, request: ChatRequest, sought: Sought) -> Alike | None:
        """Return what was kept for a question that means the same, or what is known of this one; None where nobody may
        look.
        """
        if not self._may(sought):
            return None
        question = question_of(request)
        if question is None:
            return None
        book = self._books.of(_team(sought))
        began_s = self._clock.monotonic_s()
        if not book.may_look(began_s):
            return None
        found = await self._looked(request, question, sought, book)
        book.looked(self._clock.monotonic_s() - began_s)
        return found

    def served(self, sought: Sought, alike: Alike) -> None:
        """Note that what was found was said."""
        asked = alike.trace
        if alike.kept is None or not isinstance(asked, Asked):
            return
        self._shelf(sought).met(asked.place.key)
        self._books.of(_team(sought)).hit(alike.kept.cost_nanos, asked.took_s)

    def keep(self, sought: Sought, alike: Alike) -> None:
        """Note that the answer to a question nothing was found for is kept now."""
        trace = alike.trace
        if not isinstance(trace, Trace):
            return
        self._books.of(_team(sought)).tally.kept += 1
        asked = Asked(
            text=trace.text,
            vector=trace.vector,
            place=sought.place,
            tags=frozenset([f"key:{sought.place.name}", *sought.tags]),
            took_s=max(self._clock.monotonic_s() - trace.at_s, 0.0),
        )
        self._shelf(sought).put(trace.scope, asked)

    def forget(self, org: str, tag: str) -> None:
        """Forget an organisation's questions whose answers are forgotten by `tag`."""
        for (owner, _), shelf in self._shelves.items():
            if owner == org:
                shelf.forget(tag)

    def standings(self, org: str) -> list[Standing]:
        """Return how each team of an organisation stands."""
        now_s = self._clock.monotonic_s()
        return [
            Standing(
                team=name,
                vectors=len(self._shelves.get((org, name), ())),
                suspended=book.reason(now_s),
                tally=book.tally,
            )
            for name, book in self._books.of_org(org)
        ]

    def total(self, field: str) -> float:
        """Return a figure of all teams there ever were."""
        return self._books.total(field)

    def refusals(self) -> Mapping[str, int]:
        """Return near questions that were not served, by what kept them apart."""
        return self._books.refused()

    def suspended(self) -> Mapping[str, int]:
        """Return how many teams are suspended, by the reason."""
        return self._books.suspended(self._clock.monotonic_s())

    def vectors(self) -> int:
        """Return how many questions are held."""
        return sum([len(shelf) for shelf in self._shelves.values()])

    def _may(self, sought: Sought) -> bool:
        org = sought.place.org
        if org not in self._named and f"{org}/{sought.team}" not in self._named:
            return False
        return not self._models or sought.model in self._models

    def _shelf(self, sought: Sought) -> Shelf:
        """Return the team's own; answers that a whole organisation shares are still one team's to find by meaning."""
        team = _team(sought)
        shelf = self._shelves.get(team)
        if shelf is None:
            if len(self._shelves) >= TEAMS_MOST:
                self._shelves.popitem(last=False)
                self.evicted_teams += 1
            shelf = self._shelves[team] = Shelf(self._settings.vectors)
        self._shelves.move_to_end(team)
        return shelf

    async def _looked(self, request: ChatRequest, question: str, sought: Sought, book: Book) -> Alike | None:
        """Look within the time there is; None where the vector cannot be had, or time is up."""
        tenant = "/".join(_team(sought))
        try:
            async with asyncio.timeout(self._settings.wait_s):
                vector = Vector.of(await self._meaning.of(question, tenant=tenant))
                book.answered()
                return await self._found(request, question, vector, sought, book)
        except TimeoutError:
            book.unanswered(self._clock.monotonic_s(), late=True)
        except Invalid:
            book.tally.too_long += 1
        except PenstockError:
            book.unanswered(self._clock.monotonic_s(), late=False)
        return None

    async def _found(
        self, request: ChatRequest, question: str, vector: Vector, sought: Sought, book: Book
    ) -> Alike:
        scope, shelf = self._scope(request, sought), self._shelf(sought)
        for cosine, asked in await nearest(shelf.of(scope), vector, self._threshold):
            apart = differ(question, asked.text)
            if apart:
                book.tally.refused[apart] += 1
                continue
            kept = await self._cache.peek(asked.place)
            if kept is not None:
                return Alike(kept=kept, key=asked.place.name, similarity=cosine, trace=asked)
            shelf.drop(asked.place.key)
        return Alike(trace=Trace(scope, question, vector, self._clock.monotonic_s()))

    def _scope(self, request: ChatRequest, sought: Sought) -> str:
        """Return what must be the very same: everything but the words of the last message."""
        *before, last = request.messages
        wordless = msgspec.structs.replace(
            request, messages=(*before, msgspec.structs.replace(last, content=()))
        )
        versions = ("near", self._meaning.space, sought.team, *sought.versions)
        return self._cache.place(wordless, org=sought.place.org, team=sought.share, versions=versions).key


def _team(sought: Sought) -> tuple[str, str]:
    return sought.place.org, sought.team


def question_of(request: ChatRequest) -> str | None:
    """Return the words of a request's last message; None where they are not a user's, not words alone, or too many."""
    if not request.messages:
        return None
    last = request.messages[-1]
    if last.role != "user" or not last.content or last.tool_calls or last.refusal:
        return None
    words: list[str] = []
    for part in last.content:
        if not isinstance(part, Text):
            return None
        words.append(part.text)
    question = "\n".join(words)
    return question if question.strip() and len(question) <= CHARS_MOST else None


def standing_of(standing: Standing) -> dict[str, object]:
    """Return a standing as people and the API read it."""
    told: dict[str, object] = msgspec.to_builtins(standing.tally)
    return {
        "team": standing.team,
        "vectors": standing.vectors,
        "suspended": standing.suspended,
        **told,
        "refused": dict(standing.tally.refused),
        "net_nanos": standing.tally.net_nanos,
        "saved_ms": round(standing.tally.saved_ms),
        "spent_ms": round(standing.tally.spent_ms, 1),
    }
