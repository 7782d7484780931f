"""The faces beside chat: what else vendors' SDKs ask a gateway for, each at its vendor's path."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.dialects.codecs import CODECS
from penstock.edge.routes import Policy, Serve
from penstock.gateway.batch_lines import Way
from penstock.gateway.calls import Calls, Kind
from penstock.gateway.counting import COUNTING_GEMINI, Counting, counting_anthropic
from penstock.gateway.embeddings import EMBEDDINGS, Embeddings
from penstock.gateway.faces import OPENAI, anthropic_face
from penstock.gateway.http import Chats
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.line import Line
from penstock.gateway.models import Models
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.wiring.batches import open_batches
from penstock.wiring.platform import Platform

CHAT_PATH = "/v1/chat/completions"
EMBEDDING_PATH = "/v1/embeddings"


def declare_faces(platform: Platform) -> None:
    """Declare the routes of every face but chat."""
    routes = platform.routes
    models = Models(platform.catalogue.current)
    counting = _served(platform, _counting(platform))
    count_messages = counting.speaking(counting_anthropic(anthropic_face(platform.clock)))
    routes.add("POST", "/v1/messages/count_tokens", Policy.CALLER, count_messages)
    generate = _by_verb(platform.chats.generate, {"countTokens": counting.speaking(COUNTING_GEMINI)})
    for root in ("/v1beta", "/v1"):  # Google's SDKs call either
        routes.mount(f"{root}/models/", Policy.CALLER, generate, method="POST")
        routes.add("GET", f"{root}/models", Policy.CALLER, models.list)
        routes.mount(f"{root}/models/", Policy.CALLER, models.one, method="GET")
    embedding = _calls(platform, Embeddings())
    routes.add("POST", EMBEDDING_PATH, Policy.CALLER, _served(platform, embedding).speaking(EMBEDDINGS))
    ways = {CHAT_PATH: Way(OPENAI, platform.chats.line), EMBEDDING_PATH: Way(EMBEDDINGS, embedding)}
    open_batches(platform, ways)


def _by_verb(otherwise: Serve, verbs: Mapping[str, Serve]) -> Serve:
    """Return what serves Gemini's paths, ``/models/{model}:{verb}``."""

    async def serve(request: Request, responder: Responder, principal: Principal) -> None:
        served = verbs.get(request.path.rpartition(":")[2], otherwise)
        await served(request, responder, principal)

    return serve


def _counting(platform: Platform) -> Counting:
    return Counting(
        routes=platform.catalogue.current,
        admission=platform.admission,
        resilience=platform.resilience,
        audit=platform.audit,
        codecs=CODECS,
        clock=platform.clock,
    )


def _calls(platform: Platform, kind: Kind) -> Calls:
    return Calls(
        kind,
        routes=platform.catalogue.current,
        tenancy=platform.tenancy,
        admission=platform.admission,
        resilience=platform.resilience,
        ledger=platform.stores.ledger,
        audit=platform.audit,
    )


def _served(platform: Platform, line: Line) -> Chats:
    settings, clock = platform.settings, platform.clock
    return Chats(
        line,
        Idempotency(platform.stores.records, clock),
        clock,
        deadline_s=settings.admission.deadline_s,
        drain_vanished=settings.server.on_vanished_client == "drain",
    )
