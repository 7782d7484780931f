"""The audit of admin writes: who changed what, from what, to what, written with the change itself or not at all.

Promises: a change is one row in the same transaction as what it tells of; secrets are left out of `before` and `after`
by the names of their members, at any depth; a page is exact for every combination of filters, newest first; what is
older than wanted is trimmed; every member has a bound; what was changed or taken out afterwards shows
(`mechanisms/change_seals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import msgspec

from penstock.kernel.context import Principal
from penstock.mechanisms.change_rows import CHANGES, PLATFORM, US_PER_S, after_us, index_value, new_id
from penstock.mechanisms.change_seals import COLLECTIONS as SEALS
from penstock.mechanisms.change_seals import Seals
from penstock.ports.records import Collection, Records, Write

FILTERS = ("actor", "subject", "action")
# One index for every combination of filters: a page costs one look-up, however rare what is asked for.
INDEXES = tuple("+".join(("org", *some)) for size in range(4) for some in combinations(FILTERS, size))
COLLECTIONS = (Collection(name=CHANGES, indexes=INDEXES), *SEALS)
SECRET_WORDS = frozenset({"mac", "password", "secret", "token", "hash", "pepper", "digest"})
STATE_BYTES = 8_192
TEXT_MOST = 200
TRIM_PAGE = 100


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who changes something, and through which request. `kind` is "person", "key" or "platform"."""

    kind: str
    id: str
    name: str = ""
    role: str = ""
    org: str = ""
    team: str = ""
    user: str = ""
    request_id: str = ""
    peer: str = ""

    def principal(self) -> Principal:
        """Return the author as the principal whose role and reach decide."""
        return Principal(
            key_id=self.id, org=self.org, team=self.team, project="", user=self.user, role=self.role
        )


THE_PLATFORM = Author(kind="platform", id="platform", name="the platform itself", role="owner")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One admin write. `org` and `team` are those of what changed; `before` and `after` are null where it was not."""

    id: str
    at_s: float
    org: str
    team: str
    actor_kind: str
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    subject: str
    before: msgspec.Raw
    after: msgspec.Raw
    request_id: str = ""
    peer: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed: the action (e.g. "key.revoke"), its subject's id, where it is, and the documents."""

    action: str
    subject: str
    org: str
    team: str = ""
    before: object = None
    after: object = None


def change_write(author: Author, told: Told, at_s: float) -> Write:
    """Return the row that tells of a change, to be written in the change's own transaction."""
    change = Change(
        id=new_id(at_s),
        at_s=at_s,
        org=_cut(told.org),
        team=_cut(told.team),
        actor_kind=_cut(author.kind),
        actor_id=_cut(author.id),
        actor_name=_cut(author.name),
        actor_role=_cut(author.role),
        action=_cut(told.action),
        subject=_cut(told.subject),
        before=shown(told.before),
        after=shown(told.after),
        request_id=_cut(author.request_id),
        peer=_cut(author.peer),
    )
    values = {"actor": change.actor_id, "subject": change.subject, "action": change.action}
    indexed = {
        index: index_value(change.org, *(values[name] for name in index.split("+")[1:])) for index in INDEXES
    }
    value = msgspec.json.encode(change)
    return Write(collection=CHANGES, tenant=PLATFORM, id=change.id, value=value, indexed=indexed, expected=0)


def change_writes(author: Author | None, told: Told, at_s: float) -> list[Write]:
    """Return the rows of `change_write`, or none when nobody is named (the platform's own first steps)."""
    return [] if author is None else [change_write(author, told, at_s)]


def shown(document: object) -> msgspec.Raw:
    """Return a document as JSON without its secrets; one above `STATE_BYTES` is replaced by its size."""
    encoded = msgspec.json.encode(_without_secrets(msgspec.to_builtins(document)))
    if len(encoded) > STATE_BYTES:
        encoded = msgspec.json.encode({"too_large_bytes": len(encoded)})
    return msgspec.Raw(encoded)


class Changes:
    """Reads, seals and trims the audit of admin writes."""

    def __init__(self, records: Records, secret: bytes) -> None:
        """Read what was written to `records`; seal it under `secret`."""
        self._records = records
        self.seals = Seals(records, secret)

    async def page(
        self,
        org: str,
        *,
        actor: str = "",
        subject: str = "",
        action: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[Change]:
        """Return an organisation's changes, newest first; `after` is the id of the last one seen."""
        asked = {"actor": actor, "subject": subject, "action": action}
        names = [name for name in FILTERS if asked[name]]
        value = index_value(_cut(org), *(_cut(asked[name]) for name in names))
        rows = await self._records.find(
            CHANGES, PLATFORM, "+".join(("org", *names)), value, after=after, limit=limit
        )
        return [msgspec.json.decode(row.value, type=Change) for row in rows]

    async def tell(self, author: Author, told: Told, at_s: float) -> None:
        """Write of a change that has no row of its own, before it is made. Raises Unavailable."""
        await self._records.transact([change_write(author, told, at_s)])

    async def trim(self, before_s: float, *, pages: int = 100) -> int:
        """Remove changes made before `before_s` (wall clock), at most `pages` × 100; returns how many went."""
        gone = 0
        cutoff = after_us(int(before_s * US_PER_S))
        await self.seals.trim(before_s)
        for _ in range(pages):
            rows = await self._records.scan(CHANGES, PLATFORM, after=cutoff, limit=TRIM_PAGE)
            if not rows:
                break
            await self._records.transact(_removals([row.id for row in rows]))
            gone += len(rows)
        return gone


def _removals(ids: Sequence[str]) -> list[Write]:
    return [Write(collection=CHANGES, tenant=PLATFORM, id=each, value=None) for each in ids]


def _cut(text: str) -> str:
    return text[:TEXT_MOST]


def _without_secrets(value: object) -> object:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {
            name: _without_secrets(member)
            for name, member in members.items()
            if SECRET_WORDS.isdisjoint(name.lower().split("_"))
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(each) for each in cast("Sequence[object]", value)]
    return value
