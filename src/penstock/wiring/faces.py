"""The faces beside chat: what else vendors' SDKs ask a gateway for, each at its vendor's path."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.dialects.anthropic_batches import ENDPOINT as MESSAGES_PATH
from penstock.dialects.codecs import CODECS
from penstock.edge.errors import RERANK_PATHS
from penstock.edge.routes import Policy, Serve
from penstock.gateway.batch_lines import ANTHROPIC_WORDS, Way
from penstock.gateway.calls import Calls, Kind
from penstock.gateway.counting import COUNTING_GEMINI, Counting, counting_anthropic
from penstock.gateway.embeddings import EMBEDDINGS, EMBEDDINGS_GEMINI, Embeddings
from penstock.gateway.faces import COMPLETIONS, OPENAI, RESPONSES, anthropic_face
from penstock.gateway.http import Chats
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.line import Line
from penstock.gateway.models import Models
from penstock.gateway.moderations import MODERATIONS, Moderations
from penstock.gateway.privacy import GuardCare, PrivacyCare
from penstock.gateway.reranking import RERANKING, Reranking
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.wiring.batches import open_batches
from penstock.wiring.platform import Platform

CHAT_PATH = "/v1/chat/completions"
EMBEDDING_PATH = "/v1/embeddings"
MODERATION_PATH = "/v1/moderations"


def declare_faces(platform: Platform) -> None:
    """Declare the routes of every face but chat."""
    routes = platform.routes
    models = Models(platform.catalogue.current)
    counting = served(platform, _counting(platform))
    messages = anthropic_face(platform.clock)
    count_messages = counting.speaking(counting_anthropic(messages))
    routes.add("POST", "/v1/messages/count_tokens", Policy.CALLER, count_messages)
    embedding = calls(platform, Embeddings())
    embedded = served(platform, embedding)
    embed = embedded.speaking(EMBEDDINGS_GEMINI)
    verbs = {
        "countTokens": counting.speaking(COUNTING_GEMINI),
        "embedContent": embed,
        "batchEmbedContents": embed,
    }
    generate = _by_verb(platform.chats.generate, verbs)
    for root in ("/v1beta", "/v1"):  # Google's SDKs call either
        routes.mount(f"{root}/models/", Policy.CALLER, generate, method="POST")
        routes.add("GET", f"{root}/models", Policy.CALLER, models.list)
        routes.mount(f"{root}/models/", Policy.CALLER, models.one, method="GET")
    moderating = calls(platform, Moderations())
    reranking = served(platform, calls(platform, Reranking())).speaking(RERANKING)
    routes.add("POST", EMBEDDING_PATH, Policy.CALLER, embedded.speaking(EMBEDDINGS))
    routes.add("POST", MODERATION_PATH, Policy.CALLER, served(platform, moderating).speaking(MODERATIONS))
    for path in RERANK_PATHS:
        routes.add("POST", path, Policy.CALLER, reranking)
    ways = {
        CHAT_PATH: Way(OPENAI, platform.chats.line),
        "/v1/responses": Way(RESPONSES, platform.chats.line),
        "/v1/completions": Way(COMPLETIONS, platform.chats.line),
        EMBEDDING_PATH: Way(EMBEDDINGS, embedding),
        MODERATION_PATH: Way(MODERATIONS, moderating),
        MESSAGES_PATH: Way(messages, platform.chats.line, ANTHROPIC_WORDS),
    }
    open_batches(platform, ways, messages)


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
        inspections=_screens(platform),
    )


def _screens(platform: Platform) -> tuple[GuardCare | PrivacyCare, ...]:
    """Return what sees to it that no call tells a vendor what a chat would not."""
    return tuple([each for each in platform.inspections if isinstance(each, GuardCare | PrivacyCare)])


def calls(platform: Platform, kind: Kind) -> Line:
    """Return the line that serves calls of one kind."""
    served = Calls(
        kind,
        routes=platform.catalogue.current,
        tenancy=platform.tenancy,
        admission=platform.admission,
        resilience=platform.resilience,
        ledger=platform.stores.ledger,
        audit=platform.audit,
        screens=_screens(platform),
    )
    return platform.waiting.places.before(
        served if platform.contents is None else platform.contents.over(served)
    )


def served(platform: Platform, line: Line) -> Chats:
    """Return what serves a line over HTTP."""
    settings, clock = platform.settings, platform.clock
    return Chats(
        line,
        Idempotency(platform.stores.records, clock),
        clock,
        deadline_s=settings.admission.deadline_s,
        drain_vanished=settings.server.on_vanished_client == "drain",
    )
