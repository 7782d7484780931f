"""Who hears that documents changed, and has the gateway forget the answers that were made from them.

Promise: what the stream told is forgotten here and on every node, or told again; counted either way. What cannot be
understood is counted too, and keeps nothing else waiting.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

import msgspec

from penstock.embedding.catalog.events import TOPIC, Changed, tag_of
from penstock.kernel.errors import PenstockError
from penstock.ports.stream import Message, Stream

_log = logging.getLogger("penstock.wiring")
GROUP: Final = "answers"
PAGE: Final = 500
VISIBLE_S: Final = 30.0
WAIT_S: Final = 1.0


class Forgets(Protocol):
    """Keeps answers, and forgets them by tag (`mechanisms/answer_cache`)."""

    async def forget(self, org: str, tag: str) -> int:
        """Forget an organisation's answers with a tag, here and on every node. Raises Unavailable."""
        ...


class ChangedDocuments:
    """Hears of documents. One per process."""

    def __init__(self, stream: Stream, answers: Forgets, member: str) -> None:
        """Have `answers` forgotten of what `stream` tells."""
        self._stream = stream
        self._answers = answers
        self._member = member
        self.heard = 0
        self.forgotten = 0
        """Answers forgotten here."""
        self.failures = 0
        self.unread = 0
        """Messages that said nothing we know."""

    async def watch(self) -> None:
        """Hear, for ever."""
        while True:
            heard: list[Message] = []
            try:
                heard = list(await self._stream.poll(TOPIC, GROUP, self._member, PAGE, VISIBLE_S))
                await self._forget(heard)
                await self._stream.commit(TOPIC, GROUP, [message.offset for message in heard])
            except Exception as error:  # because they are told again, and must not go unheard for ever then
                self.failures += 1
                heard = []
                foreign = not isinstance(error, PenstockError)
                _log.warning(
                    "answers made from changed documents could not be forgotten: %s", error, exc_info=foreign
                )
            if not heard:
                await asyncio.sleep(WAIT_S)

    async def _forget(self, heard: list[Message]) -> None:
        """Forget what a page tells; a document that it tells of twice, once."""
        tags: dict[tuple[str, str], None] = {}
        unread = 0
        for message in heard:
            try:
                changed = msgspec.json.decode(message.value, type=Changed)
            except msgspec.DecodeError:
                unread += 1  # it will never be anything else
                continue
            tags[changed.org, tag_of(changed.collection, changed.document)] = None
        for org, tag in tags:
            self.forgotten += await self._answers.forget(org, tag)
        self.heard += len(heard) - unread
        self.unread += unread
