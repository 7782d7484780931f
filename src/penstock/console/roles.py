"""The roles as pages explain them: who may what, how far each reaches, who may give which.

Promise: it says what the platform does; a test compares it with the table the platform decides by
(mechanisms/roles), which customers do not import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RoleWords:
    """A role of people: how far it reaches, and what it is for."""

    name: str
    reach: str
    sentence: str


ROLES: Final = (
    RoleWords("owner", "the platform", "Everything, everywhere. The only one who makes owners and admin keys."),
    RoleWords("admin", "the organisation", "Runs the organisation: its people, limits, keys and settings."),
    RoleWords("team-admin", "the team", "Runs a team: its people and keys; divides its budget among its projects."),
    RoleWords("developer", "themselves", "Builds with models: makes own keys, sees own requests and costs."),
    RoleWords("reviewer", "the team", "Judges answers: sees the team's requests with what was asked and answered."),
    RoleWords("auditor", "the organisation", "Checks: reads keys, limits, people and changes; changes nothing."),
)  # fmt: skip
ROLE_NAMES: Final = tuple(role.name for role in ROLES)

_ALL: Final = ROLE_NAMES
_ADMINS: Final = ("owner", "admin")
_TEAM_ADMINS: Final = (*_ADMINS, "team-admin")
_BUILDERS: Final = (*_TEAM_ADMINS, "developer")

WHO_MAY: Final = {
    "use models": (*_BUILDERS, "reviewer"),
    "read usage": _ALL,
    "read requests": _ALL,
    "read payloads": (*_BUILDERS, "reviewer"),
    "say how good an answer was": (*_BUILDERS, "reviewer"),
    "read what is known of contents": (*_TEAM_ADMINS, "auditor"),
    "decide what is known of contents": _TEAM_ADMINS,
    "have contents forgotten": _ADMINS,
    "read keys": (*_BUILDERS, "auditor"),
    "write keys": _BUILDERS,
    "write keys of admins and owners": ("owner",),
    "read limits": (*_BUILDERS, "auditor"),
    "write limits of projects": _TEAM_ADMINS,
    "write limits of organisations, teams and users": _ADMINS,
    "read prices": _ALL,
    "verify the ledger": ("owner",),
    "read people": (*_TEAM_ADMINS, "auditor"),
    "write people": _TEAM_ADMINS,
    "read changes": (*_ADMINS, "auditor"),
    "read settings": _ADMINS,
    "read status": _ADMINS,
    "read metrics": ("owner",),
    "read routes": ("owner",),
    "change routes": ("owner",),
    "read the cache of answers": (*_ADMINS, "auditor"),
    "purge the cache of answers": _ADMINS,
    "read alerts": (*_ADMINS, "auditor"),
    "try how alerts are told": _ADMINS,
    "ask the audit of requests": (*_ADMINS, "auditor"),
    "read costs of the whole organisation": (*_ADMINS, "auditor"),
    "compare invoices with what was settled": ("owner",),
    "see and end one's own sessions": _ALL,
}
"""Each action with the roles of people that have it."""

GRANTS: Final = {
    "owner": ROLE_NAMES,
    "admin": ("admin", "team-admin", "developer", "reviewer", "auditor"),
    "team-admin": ("team-admin", "developer", "reviewer"),
}
"""Which roles somebody may give to people, and whom they may change."""

_REACHED: Final = {
    "owner": (),
    "admin": ("org",),
    "auditor": ("org",),
    "team-admin": ("org", "team"),
    "reviewer": ("org", "team"),
}


def fixed_for(role: str) -> tuple[str, ...]:
    """Return which names of (organisation, team, user) are somebody's own and cannot be another's."""
    return _REACHED.get(role, ("org", "team", "user"))


def grants_of(role: str) -> tuple[str, ...]:
    """Return the roles of people that somebody may give."""
    return GRANTS.get(role, ())
