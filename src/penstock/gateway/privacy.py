"""What a tenant lets out: personal data and secrets in its requests and answers, and topics guards object to.

Promise: a tenant without rules pays one look-up; with rules every word a provider is sent has been looked at, or the
request's record says what was not (``pii_skipped``, ``pii_unscanned``); what was replaced is put back in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply
from penstock.kernel.context import RequestContext
from penstock.kernel.events import FLAGGED
from penstock.mechanisms.guards import Guards, Reading, reading_of, reading_of_texts
from penstock.mechanisms.redaction.answers import AnswerReader
from penstock.mechanisms.redaction.policy import RedactionPolicy
from penstock.mechanisms.redaction.redactor import RedactedTexts, Redactor
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.texts import Texts

T = TypeVar("T")
Tenant = tuple[str, str]
"""Organisation and team; "" stands for each that has no rules of its own."""


class PrivacyCare:
    """An `Inspection` that redacts. One per process."""

    def __init__(
        self, redactor: Redactor, scanner: Scanner, policies: Mapping[Tenant, RedactionPolicy]
    ) -> None:
        """Look at what `policies` name; the most exact of them counts: team, organisation, everybody."""
        self._redactor = redactor
        self._scanner = scanner
        self._policies = policies
        self.tally = redactor.tally

    async def inspect(
        self, context: RequestContext, wording: Wording, _targets: tuple[Target, ...], story: Story
    ) -> None:
        """Take out of the request what may not leave. Raises PolicyRefused."""
        policy = of_tenant(self._policies, context)
        if policy is None:
            return
        redacted = await self._redactor.read(wording.request, policy, context.request_id)
        if redacted.request is not wording.request:
            wording.rewrite(redacted.request)
        _note(redacted, story)
        if AnswerReader.needed(policy, redacted.vault):
            wording.filters += (_Reading(AnswerReader(self._scanner, policy, redacted.vault, self.tally)),)

    async def screen(self, context: RequestContext, content: Texts, story: Story) -> tuple[str, ...]:
        """Return the words of a request that is no chat without what may not leave. Raises PolicyRefused."""
        policy = of_tenant(self._policies, context)
        if policy is None:
            return content.texts
        redacted = await self._redactor.read_texts(content, policy, context.request_id)
        _note(redacted, story)
        return redacted.texts

    async def close(self) -> None:
        """Stop scanning afterwards; what waited is counted as dropped."""
        await self._redactor.late.close()


def _note(redacted: RedactedTexts, story: Story) -> None:
    """Tell what was found, and what was not looked at."""
    story.flag(*[f"pii:{entity}" for entity in sorted(redacted.found)])
    if redacted.skipped:
        story.flag("pii_skipped")
    if redacted.unscanned:
        story.flag("pii_unscanned")


class _Reading:
    """An `AnswerFilter` over one answer."""

    __slots__ = ("_reader",)

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what can be said now that `event` has come. Raises PolicyRefused if the policy ends the answer."""
        return list(self._reader.feed(event))

    def end(self) -> list[ChatEvent]:
        """Return what was held back."""
        return list(self._reader.end())

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer read. Raises PolicyRefused."""
        return self._reader.whole(reply)


class GuardCare:
    """An `Inspection` that asks guards about requests. One per process."""

    def __init__(self, guards: Mapping[Tenant, Guards]) -> None:
        """Ask the guards of the most exact tenant named: team, organisation, everybody."""
        self._guards = guards

    async def inspect(
        self, context: RequestContext, wording: Wording, _targets: tuple[Target, ...], story: Story
    ) -> None:
        """Ask, flag what they object to. Raises PolicyRefused when one of them refuses."""
        guards = of_tenant(self._guards, context)
        if guards is not None:
            who = {"tenant": context.principal.org, "feature": context.feature}
            await _judged(guards, reading_of(wording.request, **who), story)

    async def screen(self, context: RequestContext, content: Texts, story: Story) -> tuple[str, ...]:
        """Ask about the words of a request that is no chat, and return them. Raises PolicyRefused."""
        guards = of_tenant(self._guards, context)
        if guards is not None:
            who = {"tenant": context.principal.org, "feature": context.feature}
            await _judged(guards, reading_of_texts(content.texts, **who), story)
        return content.texts


async def _judged(guards: Guards, reading: Reading, story: Story) -> None:
    judgement = await guards.judge(reading)
    if judgement.verdicts:
        story.flag(FLAGGED, *[f"guard:{verdict.guard}" for verdict in judgement.verdicts])
    judgement.enforce()


def of_tenant(rules: Mapping[Tenant, T], context: RequestContext) -> T | None:
    """Return the rules of a request's team, else of its organisation, else of everybody; None when there are none."""
    who = context.principal
    for tenant in ((who.org, who.team), (who.org, ""), ("", "")):
        found = rules.get(tenant)
        if found is not None:
            return found
    return None
