"""Who may do what: one table of the role each action needs, and how far each role reaches.

Promises: denied by default (an unknown role may nothing, an action without a line here is nobody's); whoever grants a
role may do, and reaches, everything the granted role may; keys mean what they always did: a caller uses models, an
admin manages its own organisation, an owner every one.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from penstock.kernel.context import Principal


class Role(StrEnum):
    """What a person or a key is. Keys are caller, admin or owner; people are everything but caller."""

    CALLER = "caller"
    OWNER = "owner"
    ADMIN = "admin"
    TEAM_ADMIN = "team-admin"
    DEVELOPER = "developer"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"


class Action(StrEnum):
    """What can be asked of the platform."""

    USE_MODELS = "use models"
    READ_USAGE = "read usage"
    READ_REQUESTS = "read requests"
    READ_PAYLOADS = "read payloads"
    SCORE_ANSWERS = "say how good an answer was"
    READ_CONTENT_RULES = "read what is known of contents"
    WRITE_CONTENT_RULES = "decide what is known of contents"
    FORGET_CONTENTS = "have contents forgotten"
    READ_KEYS = "read keys"
    WRITE_KEYS = "write keys"
    WRITE_ADMIN_KEYS = "write keys of admins and owners"
    READ_LIMITS = "read limits"
    WRITE_PROJECT_LIMITS = "write limits of projects"
    WRITE_LIMITS = "write limits of organisations, teams and users"
    READ_PRICES = "read prices"
    VERIFY_LEDGER = "verify the ledger"
    READ_PEOPLE = "read people"
    WRITE_PEOPLE = "write people"
    READ_CHANGES = "read changes"
    READ_SETTINGS = "read settings"
    READ_STATUS = "read status"
    READ_ROUTES = "read routes"
    WRITE_ROUTES = "change routes"
    READ_CACHE = "read the cache of answers"
    PURGE_CACHE = "purge the cache of answers"
    READ_ALERTS = "read alerts"
    TEST_ALERTS = "try how alerts are told"
    QUERY_AUDIT = "ask the audit of requests"
    READ_ORG_COSTS = "read costs of the whole organisation"
    RECONCILE = "compare invoices with what was settled"
    READ_METRICS = "read metrics"
    OWN_SESSIONS = "see and end one's own sessions"


PEOPLE_ROLES = frozenset(Role) - {Role.CALLER}
KEY_ROLES = frozenset({Role.CALLER, Role.ADMIN, Role.OWNER})

_OWNER = frozenset({Role.OWNER})
_ADMINS = _OWNER | {Role.ADMIN}
_TEAM_ADMINS = _ADMINS | {Role.TEAM_ADMIN}
_BUILDERS = _TEAM_ADMINS | {Role.DEVELOPER}

ALLOWED: dict[Action, frozenset[Role]] = {
    Action.USE_MODELS: _BUILDERS | {Role.REVIEWER, Role.CALLER},
    Action.READ_USAGE: PEOPLE_ROLES,
    Action.READ_REQUESTS: PEOPLE_ROLES,
    Action.READ_PAYLOADS: _BUILDERS | {Role.REVIEWER},
    # Applications pass on what their users say, with the key they asked with.
    Action.SCORE_ANSWERS: _BUILDERS | {Role.REVIEWER, Role.CALLER},
    Action.READ_CONTENT_RULES: _TEAM_ADMINS | {Role.AUDITOR},
    Action.WRITE_CONTENT_RULES: _TEAM_ADMINS,
    Action.FORGET_CONTENTS: _ADMINS,
    Action.READ_KEYS: _BUILDERS | {Role.AUDITOR},
    Action.WRITE_KEYS: _BUILDERS,
    Action.WRITE_ADMIN_KEYS: _OWNER,
    Action.READ_LIMITS: _BUILDERS | {Role.AUDITOR},
    # A team-admin divides the team's budget among its projects; its size is set from above.
    Action.WRITE_PROJECT_LIMITS: _TEAM_ADMINS,
    Action.WRITE_LIMITS: _ADMINS,
    Action.READ_PRICES: PEOPLE_ROLES,
    # It tells the platform's totals, so an organisation's auditor may not.
    Action.VERIFY_LEDGER: _OWNER,
    Action.READ_PEOPLE: _TEAM_ADMINS | {Role.AUDITOR},
    Action.WRITE_PEOPLE: _TEAM_ADMINS,
    Action.READ_CHANGES: _ADMINS | {Role.AUDITOR},
    Action.READ_SETTINGS: _ADMINS,
    Action.READ_STATUS: _ADMINS,
    # Routes are the platform's: they name every organisation that has a rule of its own.
    Action.READ_ROUTES: _OWNER,
    Action.WRITE_ROUTES: _OWNER,
    Action.READ_CACHE: _ADMINS | {Role.AUDITOR},
    Action.PURGE_CACHE: _ADMINS,
    Action.READ_ALERTS: _ADMINS | {Role.AUDITOR},
    Action.TEST_ALERTS: _ADMINS,
    Action.QUERY_AUDIT: _ADMINS | {Role.AUDITOR},
    Action.READ_ORG_COSTS: _ADMINS | {Role.AUDITOR},
    # A vendor bills the platform, not its organisations.
    Action.RECONCILE: _OWNER,
    # The page names organisations, their teams and their budgets, whoever asks.
    Action.READ_METRICS: _OWNER,
    Action.OWN_SESSIONS: PEOPLE_ROLES,
}

GRANTS: dict[Role, frozenset[Role]] = {
    Role.OWNER: frozenset(Role),
    Role.ADMIN: frozenset(Role) - {Role.OWNER},
    # Not auditor: that one reaches the whole organisation.
    Role.TEAM_ADMIN: frozenset({Role.TEAM_ADMIN, Role.DEVELOPER, Role.REVIEWER, Role.CALLER}),
}


class Breadth(IntEnum):
    """How far a role reaches, narrow to wide."""

    SELF = 1
    TEAM = 2
    ORGANISATION = 3
    PLATFORM = 4


BREADTHS: dict[Role, Breadth] = {
    Role.OWNER: Breadth.PLATFORM,
    Role.ADMIN: Breadth.ORGANISATION,
    Role.AUDITOR: Breadth.ORGANISATION,
    Role.TEAM_ADMIN: Breadth.TEAM,
    Role.REVIEWER: Breadth.TEAM,
    Role.DEVELOPER: Breadth.SELF,
    Role.CALLER: Breadth.SELF,
}


class Reach(msgspec.Struct, frozen=True):
    """The part of the platform a principal's actions may touch. `breadth` None reaches nothing."""

    breadth: Breadth | None
    org: str = ""
    team: str = ""
    user: str = ""

    def holds(self, org: str, team: str = "", user: str = "") -> bool:
        """Tell whether (org, team, user) is inside. A name left empty means all of that level, so it asks for more."""
        if self.breadth is None:
            return False
        if self.breadth is Breadth.PLATFORM:
            return True
        if not self.org or org != self.org:
            return False
        if self.breadth is Breadth.ORGANISATION:
            return True
        if not self.team or team != self.team:
            return False
        return self.breadth is Breadth.TEAM or bool(self.user and user == self.user)


def may(role: str, action: Action) -> bool:
    """Tell whether a role may do something at all; where is for `reach_of` to say."""
    known = _known(role)
    return known is not None and known in ALLOWED.get(action, frozenset())


def reach_of(principal: Principal) -> Reach:
    """Return how far a principal reaches; an unknown role reaches nothing."""
    known = _known(principal.role)
    breadth = None if known is None else BREADTHS[known]
    return Reach(breadth, principal.org, principal.team, principal.user)


def may_grant(granter: str, role: str) -> bool:
    """Tell whether a role may give `role` to a person, or change one who has it: never a role above its own."""
    giving, given = _known(granter), _known(role)
    return giving is not None and given is not None and given in GRANTS.get(giving, frozenset())


def _known(role: str) -> Role | None:
    try:
        return Role(role)
    except ValueError:
        return None
