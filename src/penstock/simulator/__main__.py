"""``python -m penstock.simulator --port 0``: the simulated provider as a process of its own, for tests and drills.

Promise: the first line on standard output is one JSON object with `port` and `url`, written once it listens; SIGTERM
and SIGINT end it with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from penstock.kernel.errors import Invalid
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions, run_simulator


def options_from(arguments: list[str]) -> SimulatorOptions:
    """Read a command line. Raises SystemExit (2) with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m penstock.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="{}", help='shares as JSON, e.g. {"rate_limit": 0.1}')
    parser.add_argument("--first-token-s", type=float, default=0.0)
    parser.add_argument("--first-token-sigma", type=float, default=0.0)
    parser.add_argument("--tokens-per-s", type=float, default=0.0, help="0 sends at once")
    parser.add_argument("--tokens-per-s-sigma", type=float, default=0.0)
    parser.add_argument("--answer-tokens", type=float, default=32.0)
    parser.add_argument("--answer-sigma", type=float, default=0.0)
    parser.add_argument("--key", default="", help="require this bearer key")
    parser.add_argument(
        "--truth", type=Path, default=None, help="append closed rows to this file, one JSON line each"
    )
    given = parser.parse_args(arguments)
    try:
        weights = msgspec.json.decode(given.weights, type=dict[str, float])
    except msgspec.DecodeError as error:
        parser.error(f"--weights: {error}")
    return SimulatorOptions(
        host=given.host,
        port=given.port,
        seed=given.seed,
        weights=weights,
        speeds=Speeds(
            first_token_s=given.first_token_s,
            first_token_sigma=given.first_token_sigma,
            tokens_per_s=given.tokens_per_s,
            tokens_per_s_sigma=given.tokens_per_s_sigma,
            answer_tokens=given.answer_tokens,
            answer_sigma=given.answer_sigma,
        ),
        key=given.key,
        truth_path=given.truth,
    )


async def serve(options: SimulatorOptions) -> None:
    """Run until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    simulator = await run_simulator(options)
    sys.stdout.write(msgspec.json.encode({"port": simulator.port, "url": simulator.url}).decode() + "\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await simulator.close()


def main() -> int:
    """Parse, run, and return the exit status."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options_from(sys.argv[1:])))
    except (Invalid, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
