"""Contents as the management API takes and gives them: who lets what be known, and what was kept of one request.

Promise: unknown members of a reply are ignored.
"""

from __future__ import annotations

import msgspec


class ContentRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a team lets be known of its contents: none, hash or full; team "" is every team without a rule."""

    team: str
    mode: str


class ContentRules(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation's rules; `most` is the most that is known of anybody there, `default` counts without a rule."""

    org: str
    most: str
    default: str
    rules: tuple[ContentRule, ...] = ()


class ContentDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rule of a team, or with "" of every team of an organisation that has none; `org` "" is the caller's own."""

    mode: str
    team: str = ""
    org: str = ""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered, as text in the dialect `face`; an answer that never came is empty."""

    request_id: str
    org: str
    team: str
    user: str
    face: str
    prompt: str
    answer: str


class Forgetting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose contents to forget: a `user`'s, or `everything` of the organisation; one of them."""

    user: str | None = None
    everything: bool = False
    org: str = ""


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys are gone, and with each what it had sealed: one a person and day."""

    keys: int
