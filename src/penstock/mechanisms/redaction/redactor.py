"""Reads a request on its way out: finds, then allows, flags, masks, replaces or refuses, within a time budget.

    texts ──▶ patterns (piece by piece, clock in hand) ──▶ recogniser, if the policy names what only it knows
          ──▶ one decision ──▶ request with stand-ins + vault │ PolicyRefused
          └─ past the budget ──▶ on, flagged, to the late scans  │ PolicyRefused

Promises: the event loop is held for one piece of text at a time; a request that is refused leaves nothing behind; past
the budget what was found until then is still replaced, and the rest is scanned afterwards or the request is refused, as
the policy says; nobody is told that something was scanned which was not: `Redacted.unscanned` names kinds of content
and entities that no engine here can find. An error names the entity and never the value.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from penstock.kernel.chat import ChatRequest
from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, PolicyRefused
from penstock.kernel.findings import PATTERN_ENTITIES, Finding, apart
from penstock.mechanisms.redaction.late import LateScans, Told
from penstock.mechanisms.redaction.policy import Action, RedactionPolicy, Tally
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.texts import Texts, texts_of, with_texts
from penstock.mechanisms.redaction.vault import Vault, masked

BREATH_S: Final = 0.002
"""Scanned so long without letting the event loop breathe, and one piece more."""
LATE_TIMEOUT_S: Final = 30.0
"""For the second engine when nobody waits."""


class Recogniser(Protocol):
    """A second engine, off the event loop: named entities and national identifiers."""

    @property
    def entities(self) -> frozenset[str]:
        """What it can find as it is installed; names of persons only if a model for them is."""
        ...

    async def find(
        self, texts: Sequence[str], languages: Sequence[str], entities: frozenset[str]
    ) -> list[list[Finding]]:
        """Return what of `entities` is in each text. Raises Unavailable; cancelling it stops waiting."""
        ...


class RedactedTexts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts as they may leave. `found` counts by entity; `flagged` names entities left in place on purpose.

    `skipped`: the budget ran out before everything was read. `vault` is None when nothing is to be put back.
    """

    texts: tuple[str, ...] = ()
    """The very tuple that was read, where nothing in it changed."""
    vault: Vault | None = None
    found: dict[str, int] = {}
    flagged: tuple[str, ...] = ()
    skipped: bool = False
    unscanned: tuple[str, ...] = ()


class Redacted(RedactedTexts, frozen=True, kw_only=True):
    """A chat as it may leave."""

    request: ChatRequest


class Redactor:
    """One per process. Policies come with each request."""

    def __init__(
        self, scanner: Scanner, clock: Clock, tally: Tally, told: Told, recogniser: Recogniser | None = None
    ) -> None:
        """`told` hears what late scans found."""
        self._scanner = scanner
        self._clock = clock
        self._recogniser = recogniser
        self.tally = tally
        self.late = LateScans(self._whole, tally, told)

    @property
    def known(self) -> frozenset[str]:
        """Return the entities that can be found here and now."""
        return PATTERN_ENTITIES if self._recogniser is None else PATTERN_ENTITIES | self._recogniser.entities

    async def read(self, request: ChatRequest, policy: RedactionPolicy, request_id: str = "") -> Redacted:
        """Return `request` as it may leave under `policy`. Raises PolicyRefused."""
        if not policy.wanted:
            return Redacted(request=request)
        content = texts_of(request)
        read = await self.read_texts(content, policy, request_id)
        changed = request if read.texts is content.texts else with_texts(request, read.texts)
        return Redacted(request=changed, **msgspec.structs.asdict(read))

    async def read_texts(
        self, content: Texts, policy: RedactionPolicy, request_id: str = ""
    ) -> RedactedTexts:
        """Return the texts of a request that is no chat as they may leave under `policy`. Raises PolicyRefused."""
        if not policy.wanted:
            return RedactedTexts(texts=content.texts)
        found, complete = await self._within_budget(content.texts, policy)
        self.tally.scanned(skipped=not complete)
        counts = Counter(finding.entity for each in found for finding in each)
        for entity, count in counts.items():
            self.tally.found["request", entity, policy.requests[entity]] += count
        self._refuse_if_told(counts, policy, complete=complete)
        if not complete:
            self.late.offer(request_id, content.texts, policy)
        changed, vault = _rewritten(content.texts, found, policy.requests)
        return RedactedTexts(
            texts=content.texts if changed is None else tuple(changed),
            vault=vault,
            found=dict(counts),
            flagged=tuple(sorted(entity for entity in counts if policy.requests[entity] is Action.FLAG)),
            skipped=not complete,
            unscanned=(
                *content.unscanned,
                *(f"entity {each}" for each in sorted(policy.wanted - self.known)),
            ),
        )

    def _refuse_if_told(self, counts: Counter[str], policy: RedactionPolicy, *, complete: bool) -> None:
        refused = sorted(entity for entity in counts if policy.requests[entity] is Action.REFUSE)
        if refused:
            self.tally.refused += 1
            raise PolicyRefused(
                f"The request holds what your organisation does not send out: {', '.join(refused)}.",
                code="personal_data_refused",
                remedy="Take it out and send the request again.",
            )
        if not complete and policy.past_budget == "refuse":
            self.tally.refused += 1
            raise PolicyRefused(
                "The request could not be checked for personal data in time.",
                code="scan_incomplete",
                limit=f"{policy.budget_ms:g} ms",
                remedy="Send less text, or let your administrator raise budget_ms or choose past_budget: flag.",
            )

    async def _within_budget(
        self, texts: tuple[str, ...], policy: RedactionPolicy
    ) -> tuple[list[list[Finding]], bool]:
        """Return what was found in each text, and whether everything was read."""
        now_s = breathed_s = self._clock.monotonic_s()
        until_s = now_s + policy.budget_ms / 1_000
        found: list[list[Finding]] = [[] for _ in texts]
        for text, findings in zip(texts, found, strict=True):
            for piece in self._scanner.pieces(text, policy.wanted):
                findings.extend(piece)
                now_s = self._clock.monotonic_s()
                if now_s > until_s:
                    return found, False
                if now_s > breathed_s + BREATH_S:
                    breathed_s = now_s
                    await asyncio.sleep(0)
        left_s = until_s - self._clock.monotonic_s()
        named = await self._named(texts, policy, left_s)
        return (found, False) if named is None else (_joined(found, named), True)

    async def _named(
        self, texts: tuple[str, ...], policy: RedactionPolicy, timeout_s: float
    ) -> list[list[Finding]] | None:
        """Return what the second engine finds, nothing if it is not asked, None if it did not answer in time."""
        if self._recogniser is None:
            return [[] for _ in texts]
        entities = (policy.wanted & self._recogniser.entities) - PATTERN_ENTITIES
        if not entities:
            return [[] for _ in texts]
        try:
            async with asyncio.timeout(timeout_s):
                return await self._recogniser.find(texts, policy.languages, entities)
        except (TimeoutError, PenstockError):
            self.tally.engine_failures += 1
            return None

    async def _whole(self, texts: tuple[str, ...], policy: RedactionPolicy) -> list[list[Finding]]:
        """Scan everything for as long as it takes. Raises TimeoutError if the second engine does not answer."""
        found: list[list[Finding]] = [[] for _ in texts]
        for text, findings in zip(texts, found, strict=True):
            for piece in self._scanner.pieces(text, policy.wanted):
                findings.extend(piece)
                await asyncio.sleep(0)
        named = await self._named(texts, policy, LATE_TIMEOUT_S)
        if named is None:
            raise TimeoutError("the recogniser did not answer")
        return _joined(found, named)


def _joined(first: list[list[Finding]], second: list[list[Finding]]) -> list[list[Finding]]:
    return [apart([*a, *b]) if b else a for a, b in zip(first, second, strict=True)]


def _rewritten(
    texts: tuple[str, ...], found: list[list[Finding]], actions: dict[str, Action]
) -> tuple[list[str] | None, Vault | None]:
    """Return the texts with findings masked or replaced, and the vault; None for what is not needed."""
    does = {actions[finding.entity] for each in found for finding in each}
    if not does & {Action.MASK, Action.REPLACE}:
        return None, None
    vault = Vault(texts)
    changed = [rewritten(text, findings, actions, vault) for text, findings in zip(texts, found, strict=True)]
    return changed, vault if len(vault) else None


def rewritten(text: str, findings: Sequence[Finding], actions: dict[str, Action], vault: Vault) -> str:
    """Return `text` with its findings masked, or replaced by stand-ins of `vault`; others stay."""
    parts: list[str] = []
    done = 0
    for finding in findings:
        match actions[finding.entity]:
            case Action.REPLACE:
                stand_in = vault.stand_in(finding.entity, text[finding.start : finding.end])
            case Action.MASK:
                stand_in = masked(finding.entity)
            case _:
                continue
        parts += (text[done : finding.start], stand_in)
        done = finding.end
    return "".join((*parts, text[done:])) if parts else text
