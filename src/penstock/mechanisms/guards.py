"""Guards: what else may look at a request or an answer and object. The hook, its bounds, and one list-based guard.

    reading ──▶ guard 1 ──▶ guard 2 ──▶ …  ──▶ the severest verdict, with every reason   (a refusal ends the asking)

Promises: each guard has a time limit of its own; a guard that fails or is late is counted and, as its post says, either
passed over with a flag (`open`) or taken as a refusal (`closed`), never silently passed; reasons name rules and never
quote the text. A guard is asked on the event loop: one that computes for longer than a few milliseconds brings its own
thread or process, or its time limit cannot be kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, Literal, Protocol

import msgspec

from penstock.kernel.chat import ChatRequest, Text
from penstock.kernel.errors import PolicyRefused
from penstock.mechanisms.patterns import PatternSet

TIMEOUT_MS: Final = 20.0
TIMEOUT_MS_MAX: Final = 5_000.0
TERMS_MOST: Final = 1_000
TERM_CHARS_MOST: Final = 200
_log = logging.getLogger("penstock.guards")


class Decision(IntEnum):
    """In order of severity."""

    ALLOW = 0
    FLAG = 1
    REFUSE = 2


class Passage(msgspec.Struct, frozen=True, gc=False):
    """Words and whose they are: "system", "developer", "user", "assistant" or "tool"."""

    role: str
    text: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard is shown."""

    direction: Literal["request", "answer"]
    passages: tuple[Passage, ...]
    tenant: str = ""
    feature: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one guard says. `reason` is for people; `score` from 0 (harmless) to 1, where the guard has one."""

    decision: Decision
    guard: str
    reason: str = ""
    score: float = 0.0


class Guard(Protocol):
    """Something that may object."""

    @property
    def name(self) -> str:
        """Return what it is called in verdicts and metrics."""
        ...

    async def check(self, reading: Reading) -> Verdict:
        """Return its verdict. Whatever it raises counts as its failure."""
        ...


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A guard on duty: how long it may take, and what its failure means."""

    guard: Guard
    timeout_ms: float = TIMEOUT_MS
    on_failure: Literal["open", "closed"] = "open"


class Judgement(msgspec.Struct, frozen=True):
    """All verdicts that were not `ALLOW`, in the order of the posts, and the severest decision."""

    decision: Decision = Decision.ALLOW
    verdicts: tuple[Verdict, ...] = ()

    def enforce(self) -> None:
        """Raise PolicyRefused, naming the guard and its reason, if the decision is to refuse."""
        for verdict in self.verdicts:
            if verdict.decision is Decision.REFUSE:
                raise PolicyRefused(f"{verdict.guard}: {verdict.reason}", code="guard_refused")


class Guards:
    """All guards of one policy, asked in order."""

    def __init__(self, posts: Sequence[Post]) -> None:
        """Cheap guards first: the first refusal ends the asking. Raises ValueError for a time limit out of range."""
        for post in posts:
            if not 0 < post.timeout_ms <= TIMEOUT_MS_MAX:
                raise ValueError(
                    f"{post.guard.name}: timeout_ms {post.timeout_ms:g} is not in (0, {TIMEOUT_MS_MAX:g}]"
                )
        self._posts = tuple(posts)
        self.asked = 0
        self.verdicts: Counter[tuple[str, str]] = Counter()
        """By guard and decision ("allow", "flag", "refuse")."""
        self.failures: Counter[str] = Counter()
        """By guard: errors and late answers."""

    async def judge(self, reading: Reading) -> Judgement:
        """Ask the guards about `reading`."""
        self.asked += 1
        objections: list[Verdict] = []
        for post in self._posts:
            verdict = await self._ask(post, reading)
            self.verdicts[post.guard.name, verdict.decision.name.lower()] += 1
            if verdict.decision is not Decision.ALLOW:
                objections.append(verdict)
            if verdict.decision is Decision.REFUSE:
                break
        worst = max((each.decision for each in objections), default=Decision.ALLOW)
        return Judgement(worst, tuple(objections))

    async def _ask(self, post: Post, reading: Reading) -> Verdict:
        name = post.guard.name
        try:
            async with asyncio.timeout(post.timeout_ms / 1_000):
                return await post.guard.check(reading)
        except TimeoutError:
            reason = f"no answer within {post.timeout_ms:g} ms"
        except Exception as error:  # because a guard is foreign code and its post says what its failure means
            reason = f"failed ({type(error).__name__})"
            _log.exception("guard %s failed", name)
        self.failures[name] += 1
        decision = Decision.REFUSE if post.on_failure == "closed" else Decision.FLAG
        return Verdict(decision=decision, guard=name, reason=reason)


def reading_of(request: ChatRequest, *, tenant: str = "", feature: str = "") -> Reading:
    """Return the words of `request` by role, as guards are shown them."""
    passages = (
        Passage(message.role, part.text)
        for message in request.messages
        for part in message.content
        if isinstance(part, Text)
    )
    return Reading(direction="request", passages=tuple(passages), tenant=tenant, feature=feature)


def reading_of_texts(texts: Iterable[str], *, tenant: str = "", feature: str = "") -> Reading:
    """Return the `texts` of a request that is no chat, as guards are shown them: all of them its user's."""
    passages = tuple([Passage("user", text) for text in texts])
    return Reading(direction="request", passages=passages, tenant=tenant, feature=feature)


class TopicGuard:
    """Terms that must not occur in what users, tools or the model say, and topics one of which must.

    A term is words, matched whole, in any case, across any space between them. `only` is looked for in the last thing
    the user said; without any, every topic is welcome.
    """

    name = "topics"

    def __init__(
        self, *, never: Iterable[str] = (), only: Iterable[str] = (), otherwise: Decision = Decision.REFUSE
    ) -> None:
        """`otherwise` is the decision when a rule is broken. Raises ValueError for lists or terms beyond the bounds."""
        self._never = _Terms(never)
        self._only = _Terms(only)
        self._otherwise = otherwise

    async def check(self, reading: Reading) -> Verdict:
        """Look the terms up: one pass over the text however many there are."""
        told = [each.text for each in reading.passages if each.role not in {"system", "developer"}]
        if any(self._never.occur(text) for text in told):
            return self._objection("a topic that is not served here")
        asked = [each.text for each in reading.passages if each.role == "user"]
        choosy = bool(self._only.words) and reading.direction == "request"
        if choosy and asked and not self._only.occur(asked[-1]):
            return self._objection("none of the topics that are served here")
        return Verdict(decision=Decision.ALLOW, guard=self.name)

    def _objection(self, reason: str) -> Verdict:
        return Verdict(decision=self._otherwise, guard=self.name, reason=reason, score=1.0)


class _Terms:
    """Words looked for whole: found by one pass for all of them, then each hit's neighbours are looked at."""

    def __init__(self, terms: Iterable[str]) -> None:
        self.words = [_plain(term) for term in terms]
        wrong = [word for word in self.words if not 0 < len(word) <= TERM_CHARS_MOST]
        if wrong or len(self.words) > TERMS_MOST:
            raise ValueError(
                f"{len(self.words)} terms; at most {TERMS_MOST}, of 1 to {TERM_CHARS_MOST} characters, not {wrong[:3]}"
            )
        self._patterns = PatternSet([re.escape(word) for word in self.words])

    def occur(self, text: str) -> bool:
        """Whether any of them is in `text`."""
        plain = _plain(text)
        return any(
            _stands_alone(self.words[place], plain)
            for place in self._patterns.hits(plain.encode("utf-8", "replace"))
        )


def _stands_alone(word: str, text: str) -> bool:
    """Whether `word` is somewhere in `text` without a letter or digit next to it."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if not (at and text[at - 1].isalnum()) and not (end < len(text) and text[end].isalnum()):
            return True
        at = text.find(word, at + 1)
    return False


def _plain(text: str) -> str:
    """Return `text` as people read it: compatibility forms joined, case folded, any space one space."""
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split())
