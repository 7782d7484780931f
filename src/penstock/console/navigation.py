"""Where the pages are: the entries of the navigation, in order, each with the key that opens it and what it needs.

Promise: an entry is shown only to whoever may open it; the order here is the order on the screen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

SIGNED_IN: Final = ""
"""What a page needs that any person who signed in may open."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `key` opens it after `g`; `needs` is an action of the platform's table of roles."""

    name: str
    label: str
    path: str
    key: str
    needs: str
    group: str

    def open_to(self, may: Collection[str]) -> bool:
        """Tell whether somebody who may do all of `may` can open it."""
        return self.needs in (SIGNED_IN, *may)


ENTRIES: Final = (
    Entry("overview", "Overview", "/", "o", "read status", "Watch"),
    Entry("requests", "Requests", "/requests", "r", "read requests", "Watch"),
    Entry("costs", "Costs", "/costs", "c", "read usage", "Watch"),
    Entry("alerts", "Alerts", "/alerts", "l", "read alerts", "Watch"),
    Entry("routes", "Routes & canaries", "/routes", "t", "read routes", "Steer"),
    Entry("keys", "Keys & budgets", "/keys", "k", "read keys", "Steer"),
    Entry("people", "People", "/people", "p", "read people", "Steer"),
    Entry("playground", "Playground", "/playground", "y", "use models", "Steer"),
    Entry("knowledge", "Knowledge", "/knowledge", "w", "use models", "Steer"),
    Entry("cache", "Cache", "/cache", "m", "read the cache of answers", "Steer"),
    Entry("audit", "Audit query", "/audit", "q", "ask the audit of requests", "Look up"),
    Entry(
        "reconciliation",
        "Reconciliation",
        "/reconciliation",
        "i",
        "read costs of the whole organisation",
        "Look up",
    ),
    Entry("changes", "Changes", "/changes", "h", "read changes", "Look up"),
    Entry("settings", "Settings", "/settings", "s", "read settings", "Look up"),
)


def shown(may: Collection[str]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """Return the groups of the navigation with the entries that are open."""
    entries = (entry for entry in ENTRIES if entry.open_to(may))
    for group, members in groupby(entries, key=lambda entry: entry.group):
        yield group, tuple(members)


def home(may: Collection[str]) -> str:
    """Return the path of the first page somebody may open."""
    return next((entry.path for entry in ENTRIES if entry.open_to(may)), "/account")
