"""A gateway that keeps answers, without sockets: the rig's house with the cache before its vendors."""

from __future__ import annotations

from typing import Any

from penstock.adapters.cache.embedded import MemoryCache
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.dialects.codecs import CODECS
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.faces import OPENAI, Face
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.story import Story
from penstock.kernel.context import Principal
from penstock.kernel.settings_cache import CacheSettings
from penstock.mechanisms.answer_cache import AnswerCache
from tests.unit.gateway.rig import CHATS, Caller, House, Vendor, chat


class CachedHouse(House):
    """A house whose answers are kept. Every call has a caller of its own, and is at temperature 0."""

    def __init__(self, *vendors: Vendor, settings: CacheSettings | None = None, hedge: bool = False) -> None:
        super().__init__(*vendors, hedge=hedge)
        chosen = settings or CacheSettings(url="memory:")
        store = MemoryCache(None, self.clock, max_bytes=1 << 20, max_entry_bytes=chosen.entry_bytes)
        self.kept = AnswerCache(
            store, EmbeddedSignals(), self.clock, secret=b"s" * 32, shared=False, stale_s=chosen.stale_s
        )
        self.cached = CachedAnswers(self.kept, CODECS, chosen)
        self.pipeline._answers = self.pipeline.fallbacks.answers = self.cached

    async def ask(
        self, who: Principal | None = None, *, headers: dict[str, str] | None = None, face: Face = OPENAI,
        caller: Caller | None = None, body: bytes | None = None, **members: Any,
    ) -> Caller:  # fmt: skip
        """Serve one chat, and return whom it was served to."""
        caller = caller or Caller()
        context = self.context(who)
        context.header = {name.encode(): value.encode() for name, value in (headers or {}).items()}.get
        words = body or chat(**{"temperature": 0, **members})
        await self.pipeline.serve(
            context, Inquiry(face, CHATS, words), caller, Story(context, self.clock, face.name)
        )
        return caller


def was_hit(caller: Caller) -> bool:
    """Tell whether a caller was served a kept answer."""
    return b"x-penstock-cache: hit; age=" in caller.headers
