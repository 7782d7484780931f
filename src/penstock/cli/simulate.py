"""`penstock simulate`: a provider on three wires that misbehaves on order and keeps its own billing truth."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import uvloop
from cyclopts import Parameter

from penstock.cli.output import PEOPLE, Output
from penstock.kernel.errors import Invalid
from penstock.simulator.__main__ import serve
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions


def simulate(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    weights: str = "{}",
    first_token_s: float = 0.0,
    tokens_per_s: float = 0.0,
    answer_tokens: float = 32.0,
    truth: Annotated[Path | None, Parameter()] = None,
    _output: Output = PEOPLE,
) -> None:
    """Run a simulated provider until Ctrl-C. Its first line is JSON with its port and URL.

    Parameters
    ----------
    host
        Address to bind.
    port
        TCP port; 0 picks a free one.
    seed
        The same seed and order of requests give the same behaviour.
    weights
        Shares of misbehaviours as JSON, e.g. {"rate_limit": 0.1, "cut": 0.02}.
    first_token_s
        Seconds to the first token.
    tokens_per_s
        Pace of an answer; 0 sends at once.
    answer_tokens
        Length of an answer.
    truth
        Append what it billed to this file, one JSON line a request.
    """
    try:
        shares = msgspec.json.decode(weights, type=dict[str, float])
    except msgspec.DecodeError as error:
        raise Invalid(
            f"The shares are not JSON: {error}.",
            field="--weights",
            value=weights,
            remedy='E.g. {"cut": 0.1}.',
        ) from None
    speeds = Speeds(first_token_s=first_token_s, tokens_per_s=tokens_per_s, answer_tokens=answer_tokens)
    options = SimulatorOptions(
        host=host, port=port, seed=seed, weights=shares, speeds=speeds, truth_path=truth
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except OSError as error:
        raise Invalid(
            f"Cannot listen: {error.strerror}.",
            field="--port",
            value=f"{host}:{port}",
            remedy="Choose another.",
        ) from None
