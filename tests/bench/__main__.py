"""`python -m tests.bench [run|soak]`: the bench (the default) and the soak; `make bench` and `make soak` call them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import run, soak


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    commands = options.add_subparsers(dest="command")
    bench = commands.add_parser("run", description=run.__doc__)
    bench.add_argument(
        "--quick", action="store_true", help="short loads, one round: to see that everything works"
    )
    bench.add_argument("--only", default="", help="names separated by commas; `direct` always runs")
    bench.add_argument("--json", type=Path, help="where to write the result (var/bench/result.json)")
    long = commands.add_parser("soak", description=soak.__doc__)
    long.add_argument("--requests", type=int, default=1_000_000)
    long.add_argument("--target", default="penstock")
    return options


def main(arguments: list[str]) -> int:
    """Parse and run; 1 when a target could not be measured or memory grew."""
    named = arguments[:1] in (["run"], ["soak"], ["-h"], ["--help"])
    chosen = _options().parse_args(arguments if named else ["run", *arguments])
    if chosen.command == "soak":
        return soak.main(chosen.target, chosen.requests)
    result = run.main(chosen.quick, [name for name in chosen.only.split(",") if name], chosen.json)
    return 1 if result["not_runnable"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
