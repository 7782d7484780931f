"""The door of a process that cannot keep up: who is refused at once, and in which words.

It stands in the server, before a task is made, before the body is parsed and before anybody is asked who the caller is
(`net/site.Door`), and only while `mechanisms/shedding` sheds. What it says is rendered once for each dialect and class:
a refusal is a few look-ups and one write. A body that comes with its head has been read by then; not reading one would
mean closing the connection, and a new one costs more than any body.

Promises: nothing but calls for models is refused (people can look at, and mend, a platform that is overloaded); the
class is what `x-penstock-priority` names, as far as the caller's tier goes; a caller that it would take a look into a
store to know counts as background work at best; the lower the class, the later it is asked to come back; every refusal
is counted and carries `x-request-id`.
"""

from __future__ import annotations

from typing import Final

from penstock.dialects.codec import Codec
from penstock.edge import errors
from penstock.edge.auth import Authenticator
from penstock.edge.routes import Policy, Routes
from penstock.kernel.errors import NotFound, Overloaded
from penstock.kernel.ids import new_id
from penstock.mechanisms.priorities import HEADER, Priority, priority_of
from penstock.mechanisms.shedding import LoadShedder
from penstock.mechanisms.turned_away import TurnedAway
from penstock.net.request import Request

STRANGERS_TIER: Final = "background"
RETRY_AFTER_S: Final = {
    Priority.CRITICAL: 1.0,
    Priority.HIGH: 2.0,
    Priority.NORMAL: 4.0,
    Priority.LOW: 8.0,
}

Reply = tuple[int, bytes, bytes]


class Door:
    """Refuses what the shedder does not admit. One per process."""

    def __init__(
        self, routes: Routes, authenticator: Authenticator, shedder: LoadShedder, turned_away: TurnedAway
    ) -> None:
        """Know paths from `routes` and callers from `authenticator`; note refusals in `turned_away`."""
        self._routes = routes
        self._authenticator = authenticator
        self._shedder = shedder
        self._turned_away = turned_away
        self._replies: dict[str, tuple[Reply, ...]] = {}
        """By dialect, then by class."""

    def __call__(self, request: Request) -> Reply | None:
        """Return the refusal of a request, None to let it in."""
        if request.method != "POST" or not self._is_for_models(request.path):
            return None
        caller = self._authenticator.known(request)
        tier = STRANGERS_TIER if caller is None else caller.tier
        priority = priority_of(request.header(HEADER), tier)
        if self._shedder.admits(priority):
            return None
        request_id = new_id("req_")
        self._turned_away.note(caller, priority, request_id)
        codec = errors.spoken_at(request.path)
        status, headers, body = self._reply(codec, priority)
        return status, headers + errors.id_lines(codec, request_id), body

    def _is_for_models(self, path: str) -> bool:
        try:
            return self._routes.find("POST", path).policy is Policy.CALLER
        except NotFound:
            return False

    def _reply(self, codec: Codec, priority: Priority) -> Reply:
        replies = self._replies.get(codec.name)
        if replies is None:
            replies = tuple(errors.prepared(_refusal(each), codec) for each in Priority)
            self._replies[codec.name] = replies
        return replies[priority]


def _refusal(priority: Priority) -> Overloaded:
    return Overloaded("The server is overloaded.", retry_after_s=RETRY_AFTER_S[priority])
