"""Acting on a canary: its share set, or taken back, as a new version of the routing configuration.

Promise: only the share of one route's canary changes, based on what is in force; who did it and why is in the history;
what whoever switches writes of it (`also`) is written with the change or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.kernel.errors import Conflict, NotFound
from penstock.kernel.settings_routes import RouteSettings
from penstock.mechanisms.config_versions import ConfigVersions
from penstock.ports.records import Write

TRIES: Final = 3
"""Somebody may apply a version at the same time; a few looks are enough, as people are slow."""


class CanarySwitch:
    """Sets the share of canaries. `author` is who is named in the history."""

    def __init__(self, versions: ConfigVersions[Any], author: str = "canary judgement") -> None:
        """Act through `versions`."""
        self._versions = versions
        self._author = author

    async def rollback(self, route: str, why: str, also: Sequence[Write] = ()) -> None:
        """Give all traffic of a route back to production. Raises NotFound, Conflict, Unavailable."""
        await self.advance(route, 0.0, why, also)

    async def advance(self, route: str, percent: float, why: str = "", also: Sequence[Write] = ()) -> None:
        """Give a route's canary `percent` (0 to 100) of its traffic. Raises NotFound, Conflict, Unavailable."""
        for left in range(TRIES - 1, -1, -1):
            await self._versions.refresh()
            seen = self._versions.current.number
            document = self._versions.document
            routes = tuple(
                _shared(each, percent) if each.model == route else each for each in document.routes
            )
            if all(each.model != route or not each.canary.targets for each in document.routes):
                raise NotFound("The route has no canary.", field="route", value=route)
            if routes == document.routes and not also:
                return
            changed = msgspec.structs.replace(document, routes=routes)
            told = why or f"canary of {route} at {percent:g} %"
            try:
                await self._versions.apply(changed, author=self._author, why=told, based_on=seen, also=also)
            except Conflict:
                if not left:
                    raise
            else:
                return


def _shared(route: RouteSettings, percent: float) -> RouteSettings:
    canary = msgspec.structs.replace(route.canary, percent=percent)
    return msgspec.structs.replace(route, canary=canary)
