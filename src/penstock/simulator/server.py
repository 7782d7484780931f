"""The simulated provider as a server: chats, models, its truth, and orders for misbehaviour, over HTTP.

    POST /v1/chat/completions     a chat; `x-simulate: cut;after=3` or model `sim/cut;after=3` orders a misbehaviour
    POST /v1/messages             the same on Anthropic's wire; …/count_tokens counts
    POST /v1beta/models/M:VERB    the same on Gemini's: generateContent, streamGenerateContent?alt=sse, countTokens
                                  (and embedContent, batchEmbedContents)
    POST /v1/embeddings           vectors, and /v1/moderations, verdicts, on OpenAI's wire
    POST /v2/rerank               an order of documents, on Cohere's wire; /v1/rerank on vLLM's, /rerank on TEI's
    GET  /v1/models               the models it offers, in the words of the vendor whose headers the caller sends
    GET  /truth?after=0&limit=100 closed rows above a sequence, oldest first
    GET  /truth/summary           totals
    POST /truth/reset             forget all rows and totals
    POST /orders                  {"orders": ["cut;after=3", …], "weights": {"rate_limit": 0.1}} for requests to come
    GET  /health                  200

Promises: exactly one truth row per chat request, malformed ones included; the same seed, options and order of
arrival give the same behaviour; nothing is called but the ports it listens on.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec

from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import Cancelled, Invalid, NotFound, PenstockError, Unauthenticated
from penstock.kernel.ids import new_id
from penstock.kernel.money import Rates, rates
from penstock.net.server import Request, Responder, Server, ServerLimits
from penstock.simulator.answers import answers
from penstock.simulator.asked import Asked
from penstock.simulator.behaviour import Behaviour, Speeds, parse_order
from penstock.simulator.calls import EMBED_GEMINI, SERVED, Served
from penstock.simulator.chat import Chat
from penstock.simulator.faces import (
    ANTHROPIC,
    GEMINI,
    OPENAI,
    Face,
    count_anthropic,
    count_gemini,
    face_of,
    gemini_target,
    lister,
)
from penstock.simulator.pen import REFUSALS, told_of
from penstock.simulator.truth import MAX_ROWS, PAGE_ROWS, Truth, TruthRow
from penstock.simulator.wire import JSON, encode

_FEMTOS_PER_NANO: Final = 1_000_000
DEFAULT_PRICE: Final = rates(input=150_000_000, output=600_000_000)
"""$0.15 and $0.60 per million tokens."""


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be said about a simulated provider."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one."""
    seed: int = 0
    weights: Mapping[str, float] = {}
    """Shares of misbehaviours, by their names in `kernel.faults`."""
    speeds: Speeds = Speeds()
    models: tuple[str, ...] = ("sim/model", "gpt-4o-mini", "gpt-4o")
    """What GET /v1/models lists; any name is answered."""
    prices: Mapping[str, Rates] = {}
    """Nano-dollars per million tokens by model; `default_price` for the rest."""
    default_price: Rates = DEFAULT_PRICE
    search_nanos: int = 2_000_000
    """Nano-dollars for one search unit of a reranking on Cohere's wire."""
    key: str = ""
    """When set, chats need it, each wire in its vendor's header."""
    truth_path: Path | None = None
    """Where closed rows are appended, one JSON line each."""
    truth_rows: int = MAX_ROWS
    """Rows kept in memory."""
    connections: int = 10_000
    in_flight: int = 10_000
    body_bytes: int = 32 * 1024 * 1024


class _Orders(msgspec.Struct, forbid_unknown_fields=True):
    orders: list[str] = []
    weights: dict[str, float] | None = None


class Simulator:
    """The provider without its socket: a handler of `net.server`, its behaviour and its truth."""

    def __init__(self, options: SimulatorOptions, clock: Clock | None = None) -> None:
        """Prepare; opens the truth file when there is one."""
        self.options = options
        self.behaviour = Behaviour(options.seed, options.speeds, options.weights)
        self.truth = Truth(options.truth_path, options.truth_rows)
        self._clock = clock or SystemClock()
        self._key = options.key.encode()
        self._models = [(name, "simulator") for name in options.models]

    async def handle(self, request: Request, responder: Responder) -> None:
        """Serve one request."""
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                await self._chat(OPENAI, request, responder)
            case "POST", path if path in SERVED:
                await self._call(SERVED[path], request, responder)
            case "POST", "/v1/messages":
                await self._chat(ANTHROPIC, request, responder)
            case "POST", "/v1/messages/count_tokens":
                self._check_key(ANTHROPIC, request)
                responder.send(200, JSON, count_anthropic(request))
            case "GET", "/v1/models" | "/v1beta/models":
                responder.send(200, JSON, lister(request).render_models(self._models))
            case "POST", path if face_of(path) is GEMINI:
                await self._gemini(request, responder)
            case _:
                self._aside(request, responder)

    async def _gemini(self, request: Request, responder: Responder) -> None:
        match gemini_target(request.path)[1]:
            case "generateContent" | "streamGenerateContent":
                await self._chat(GEMINI, request, responder)
            case "countTokens":
                self._check_key(GEMINI, request)
                responder.send(200, JSON, count_gemini(request))
            case "embedContent" | "batchEmbedContents":
                await self._call(EMBED_GEMINI, request, responder)
            case _:
                raise NotFound(field="path", value=request.path)

    def _aside(self, request: Request, responder: Responder) -> None:
        """Serve what no vendor has: the books, and orders."""
        body = b"{}"
        match request.method, request.path:
            case "GET", "/truth":
                body = self._page(request.query)
            case "GET", "/truth/summary":
                body = encode(self.truth.summary())
            case "POST", "/truth/reset":
                self.truth.reset()
            case "POST", "/orders":
                self._take_orders(request.body)
            case "GET", "/health":
                body = b'{"status":"ok"}'
            case _:
                raise NotFound(
                    field="path", value=request.path, remedy="POST /v1/chat/completions is served."
                )
        responder.send(200, JSON, body)

    async def _chat(self, face: Face, request: Request, responder: Responder) -> None:
        async def converse(row: TruthRow) -> None:
            await self._admit(face, request, responder, row).serve()

        await self._booked(face, request, responder, converse)

    async def _call(self, served: Served, request: Request, responder: Responder) -> None:
        """Serve what is no chat."""
        face = served.face

        async def call(row: TruthRow) -> None:
            self._check_key(face, request)
            asked = served.open(request)
            row.model, row.input_tokens = asked.model, asked.input_tokens
            fault = self.behaviour.next(request.header(b"x-simulate"), asked.model).misbehaviour
            row.behaviour = row.outcome = fault.kind
            if fault.kind in REFUSALS:
                unsaid = Asked(model=asked.model, stream=False, seed=0, input_tokens=asked.input_tokens)
                pen = face.pen(row.id, int(row.received_s), unsaid, told_of(fault.kind))
                row.status, headers, body = pen.refusal(fault.kind, fault.seconds)
                responder.send(row.status, headers, body)
                return
            row.outcome, row.status, row.billed, row.searches = "ok", 200, not asked.free, asked.searches
            responder.send(200, JSON, asked.answer)

        await self._booked(face, request, responder, call)

    async def _booked(
        self,
        face: Face,
        request: Request,
        responder: Responder,
        serve: Callable[[TruthRow], Awaitable[None]],
    ) -> None:
        """Serve what is paid for, and write it down."""
        row = self.truth.open(
            TruthRow(
                id=new_id(face.id_starts),
                operation=(request.header(b"x-request-id") or b"").decode("latin-1"),
                model="",
                stream=False,
                received_s=self._clock.wall_s(),
            )
        )
        try:
            await serve(row)
        except Cancelled:
            row.outcome = "client_gone"
        except PenstockError as error:
            row.outcome = "refused"
            row.status, headers, body = face.refuse(error)
            responder.send(row.status, headers, body)
        finally:
            row.sent_bytes = responder.bytes_sent
            if row.outcome == "running":
                row.outcome = "broken"
            if row.billed:
                row.cost_nanos = self._cost_nanos(row)
            self.truth.close_row(row)

    def _admit(self, face: Face, request: Request, responder: Responder, row: TruthRow) -> Chat:
        """Read the request and decide what it meets. Raises `Unauthenticated` or `Invalid`."""
        self._check_key(face, request)
        asked = face.open(request)
        row.model = asked.model
        row.stream = asked.stream
        row.input_tokens = asked.input_tokens
        order = self.behaviour.next(request.header(b"x-simulate"), asked.model)
        said = answers(asked, order.tokens or self.behaviour.answer_tokens())
        fault = order.misbehaviour
        pen = face.pen(row.id, int(row.received_s), asked, told_of(fault.kind))
        return Chat(asked, said, pen, responder, row, fault=fault, pace=self.behaviour.pace())

    def _check_key(self, face: Face, request: Request) -> None:
        if self._key and not hmac.compare_digest(
            request.header(face.key_header) or b"", face.key_starts + self._key
        ):
            raise Unauthenticated

    def _cost_nanos(self, row: TruthRow) -> int:
        """Price a row: femto-dollars summed, rounded up once, as `kernel.money` does."""
        rate = self.options.prices.get(row.model, self.options.default_price)
        if row.searches:
            return row.searches * self.options.search_nanos
        return -(-(row.input_tokens * rate.input + row.output_tokens * rate.output) // _FEMTOS_PER_NANO)

    def _page(self, query: bytes) -> bytes:
        asked = parse_qs(query.decode("ascii"))
        try:
            after = int(asked.get("after", ["0"])[-1])
            limit = int(asked.get("limit", [str(PAGE_ROWS)])[-1])
        except ValueError:
            raise Invalid("after and limit are whole numbers.", field="after", value=query.decode()) from None
        rows = self.truth.rows(after, min(limit, PAGE_ROWS))
        return encode({"rows": rows, "next": rows[-1].sequence if rows else after})

    def _take_orders(self, body: bytes) -> None:
        try:
            asked = msgspec.json.decode(body, type=_Orders)
        except msgspec.DecodeError as error:
            raise Invalid(f"Not understood: {error}.", field="orders") from None
        orders = [parse_order(text) for text in asked.orders]
        if asked.weights is not None:
            self.behaviour.weigh(asked.weights)
        self.behaviour.queue(*orders)


class RunningSimulator:
    """A simulator that listens."""

    def __init__(self, simulator: Simulator, server: Server) -> None:
        """Made by `run_simulator`."""
        self._simulator = simulator
        self._server = server
        self.port = server.port
        self.root = f"http://{simulator.options.host}:{server.port}"
        """Where its paths begin."""
        self.url = f"{self.root}/v1"
        self.truth = simulator.truth

    def order(self, *orders: str) -> None:
        """Have the next requests meet these, as ``kind;after=3;seconds=1``, first come first served."""
        self._simulator.behaviour.queue(*[parse_order(order) for order in orders])

    def clear_orders(self) -> None:
        """Forget the orders that no request has met yet."""
        self._simulator.behaviour.clear()

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Replace the shares of misbehaviours."""
        self._simulator.behaviour.weigh(weights)

    @property
    def connections(self) -> int:
        """Return how many client connections are open."""
        return self._server.stats.connections

    async def close(self) -> None:
        """Stop at once; running requests are cut and their rows closed. Idempotent."""
        await self._server.close()
        self._simulator.truth.close()


async def run_simulator(
    options: SimulatorOptions | None = None, clock: Clock | None = None
) -> RunningSimulator:
    """Start a simulated provider on the running loop. Raises OSError when it cannot listen."""
    simulator = Simulator(options or SimulatorOptions(), clock)
    chosen = simulator.options
    limits = ServerLimits(
        connections=chosen.connections, in_flight=chosen.in_flight, body_bytes=chosen.body_bytes, backlog=4096
    )
    server = Server(simulator.handle, limits, allowed_hosts=None, cors=None, error_renderer=_render)
    await server.start(chosen.host, chosen.port)
    return RunningSimulator(simulator, server)


def _render(error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
    return face_of(path).refuse(error)
