"""What a team lets be known of its contents: nothing, keyed hashes, or all of it.

Promises: a rule is known before the first request is told of (`load`), felt here at once and on every node within one
`refresh`; a team without one has its organisation's, an organisation without one "hash"; who set it is in the audit of
admin writes. Whatever the rule, the request itself is audited: who, when, which model, how much.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.mechanisms.changes import Author, Told, change_writes
from penstock.ports.records import Collection, Records, Write

COLLECTIONS: Final = (Collection(name="content_rules"),)
PLATFORM: Final = "*"
PAGE: Final = 1_000
NAME_MOST: Final = 200

Mode = Literal["none", "hash", "full"]
"""Nothing, not even hashes and whatever is flagged; hashes, and all of it when flagged; all of it."""
DEFAULT: Final[Mode] = "hash"


class _Rule(msgspec.Struct, frozen=True):
    org: str
    team: str
    mode: Mode


class ContentRules:
    """The rules of all teams, in memory."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Read and write the rules in `records`; `load` before use."""
        self._records = records
        self._clock = clock
        self._modes: dict[tuple[str, str], Mode] = {}

    def mode(self, org: str, team: str) -> Mode:
        """Return what a team lets be known."""
        return self._modes.get((org, team)) or self._modes.get((org, ""), DEFAULT)

    def of(self, org: str) -> list[tuple[str, Mode]]:
        """Return an organisation's rules by team, "" first."""
        return sorted((team, mode) for (each, team), mode in self._modes.items() if each == org)

    async def load(self) -> None:
        """Read every rule; what others set counts from here on. Where one was set here meanwhile, nothing changes: it
        may have been read too early, and the next reading tells.
        """
        before, modes = self._modes, dict[tuple[str, str], Mode]()
        after = ""
        while rows := await self._records.scan("content_rules", PLATFORM, after=after, limit=PAGE):
            rules = [msgspec.json.decode(row.value, type=_Rule) for row in rows]
            modes |= {(rule.org, rule.team): rule.mode for rule in rules}
            after = rows[-1].id
        if self._modes is before:
            self._modes = modes

    async def put(self, org: str, team: str, mode: Mode, *, by: Author | None = None) -> None:
        """Set the rule of a team, or with "" of all teams of an organisation that have none."""
        if not org or len(org) > NAME_MOST or len(team) > NAME_MOST:
            raise Invalid("This is no team.", field="team", value=team[:NAME_MOST], limit=NAME_MOST)
        id = msgspec.json.encode([org, team]).decode()
        row = await self._records.get("content_rules", PLATFORM, id)
        before = None if row is None else msgspec.json.decode(row.value, type=_Rule)
        rule = _Rule(org, team, mode)
        write = Write(
            collection="content_rules",
            tenant=PLATFORM,
            id=id,
            value=msgspec.json.encode(rule),
            expected=0 if row is None else row.version,
        )
        told = Told(action="content.rule", subject=team or org, org=org, team=team, before=before, after=rule)
        await self._records.transact([write, *change_writes(by, told, self._clock.wall_s())])
        self._modes = {**self._modes, (org, team): mode}
