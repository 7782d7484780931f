"""POST /v1/collections/{c}/search: a search as callers ask for it (`search_wire`)."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.edge.errors import JSON_TYPE, request_id
from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.search.search import Searcher
from penstock.embedding.search.search_wire import parse_search
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder

_encode: Final = msgspec.json.Encoder().encode


class SearchDesk:
    """Serves searches (`collections_http.Searches`)."""

    def __init__(self, searcher: Searcher) -> None:
        """Search with `searcher`."""
        self._searcher = searcher

    async def serve(
        self, collection: CollectionDoc, request: Request, responder: Responder, principal: Principal
    ) -> None:
        """Answer a search of `collection`. Raises PenstockError."""
        answer = await self._searcher.search(principal, collection, parse_search(request.body))
        responder.send(200, JSON_TYPE + request_id(), _encode(answer))
