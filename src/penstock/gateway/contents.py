"""Contents as they pass a line: hashed for the audit record and, where a team or a flag asks for it, kept sealed.

    caller ──▶ prompt ──▶ line ──▶ vendor           the prompt as it came in, before anything was taken out of it
    caller ◀── answer ◀── line ◀── vendor           the answer as it left, once everything was put back into it

Promises: a team that forbids it has nothing looked at, hashes included, and is audited all the same; a hash tells equal
contents of one organisation, and nothing to whoever has not this deployment's secret; what passes is neither changed
nor held up; a request that was flagged before its answer began is kept whole, one that was refused with its prompt.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from penstock.gateway.client import Before, Client
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.line import Line
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import content_hash, content_hasher
from penstock.mechanisms.contents.rules import ContentRules, Mode
from penstock.mechanisms.contents.store import CONTENT_BYTES, Content, ContentStore, Kept

if TYPE_CHECKING:
    from hashlib import blake2b

HELD_MOST: Final = 64 << 20
"""Bytes of answers on their way that are held to be kept, together."""


class ContentCare:
    """What is known of contents here. One per process; `over` a line, it looks at what passes that."""

    def __init__(self, rules: ContentRules, hash_key: bytes, store: ContentStore | None) -> None:
        """Go by `rules`; hash with `hash_key` (1 to 64 secret bytes); keep in `store`, where None keeps none."""
        self.rules = rules
        self.store = store
        self.hash_key = hash_key
        self.held_bytes = 0
        """Of answers on their way that are to be kept; at most `HELD_MOST`."""

    @property
    def most(self) -> Mode:
        """The most that is known of any content here."""
        return "hash" if self.store is None else "full"

    def over(self, line: Line) -> Line:
        """Return a line that serves as `line` does, and looks at what passes."""
        return _Watched(self, line)


class _Watched:
    """A `Line` whose contents are looked at."""

    def __init__(self, care: ContentCare, line: Line) -> None:
        self._care = care
        self._line = line

    def serve(
        self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story
    ) -> Coroutine[Any, Any, None]:
        """Serve one inquiry. Raises what the line raises; the story lets go of the witness when it has been told."""
        who = context.principal
        mode = self._care.rules.mode(who.org, who.team)
        if mode != "none":
            client = story.witness = Witness(self._care, context, inquiry, client, is_full=mode == "full")
        return self._line.serve(context, inquiry, client, story)


class Witness(Before):
    """One request's contents: a `Client` that sees what passes to another."""

    __slots__ = (
        "_care", "_context", "_hash", "_held", "_holds", "_inquiry", "_is_full", "_missed", "_pieces", "_whole",
        "is_flagged",
    )  # fmt: skip

    def __init__(
        self, care: ContentCare, context: RequestContext, inquiry: Inquiry, client: Client, *, is_full: bool
    ) -> None:
        """See what passes to `client`; `is_full` says that it is kept whether flagged or not."""
        self._client = client
        self._care = care
        self._context = context
        self._inquiry = inquiry
        self._is_full = is_full
        self._hash: blake2b | None = None
        self._whole: bytes | None = None
        self._holds = self._missed = False
        self._pieces: list[bytes] = []
        self._held = 0
        self.is_flagged = False
        """Whether somebody must look at the request; whoever flags it says so here."""

    def hashes(self) -> tuple[str, str]:
        """Return the hashes of prompt and answer ("" for one that never began), now that the request has ended, and
        hand on what is to be kept.
        """
        care, org, prompt = self._care, self._context.principal.org, self._inquiry.body
        if care.store is not None and (self._is_full or self.is_flagged):
            self._keep(care.store)
        if self._hash is not None:
            answer = self._hash.hexdigest()
        else:
            answer = "" if self._whole is None else content_hash(care.hash_key, org, self._whole)
        return content_hash(care.hash_key, org, prompt), answer

    def _keep(self, store: ContentStore) -> None:
        if self._missed:
            store.miss()
            return
        who = self._context.principal
        kept = Kept(who.team, who.user, self._inquiry.face.name, self._inquiry.body, b"".join(self._pieces))
        store.keep(
            Content(request_id=self._context.request_id, org=who.org, kept=kept, is_flagged=self.is_flagged)
        )

    def let_go(self) -> None:
        """Hold nothing of the answer any more."""
        if self._holds:
            self._care.held_bytes -= self._held
            self._held = 0
            self._holds = False
            self._pieces.clear()

    # ------------------------------------------------------------------------------------------------- as a client

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """See and send a whole reply."""
        self._whole = body
        self._holds = self._is_kept()
        if self._holds:
            self._hold(body)
        self._client.send(status, headers, body)

    def begin(self, status: int, headers: bytes) -> None:
        """See and begin a stream."""
        self._open()
        self._client.begin(status, headers)

    def write(self, data: bytes) -> None:
        """See and send one piece."""
        self._see(data)
        self._client.write(data)

    def finish(self, tail: bytes = b"") -> None:
        """See and send the last piece."""
        self._see(tail)
        self._client.finish(tail)

    def _open(self) -> None:
        self._hash = content_hasher(self._care.hash_key, self._context.principal.org)
        self._holds = self._is_kept()

    def _is_kept(self) -> bool:
        return self._care.store is not None and (self._is_full or self.is_flagged)

    def _see(self, data: bytes) -> None:
        if self._hash is not None:
            self._hash.update(data)
        if self._holds:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        self._held += len(data)
        self._care.held_bytes += len(data)
        self._pieces.append(data)
        if self._held > CONTENT_BYTES or self._care.held_bytes > HELD_MOST:
            self._missed = True
            self.let_go()
