"""The embedding bench: our encoder, our whole HTTP path, Infinity and sentence-transformers on one model, in one run.

    python -m tests.bench.embedding [--quick]       prints the figures as JSON

Promise: every figure of a run is of this machine and this run; a rival that does not start, or fails under a load, is
told under `not_runnable` and never left out in silence. The rivals live in `.venv-embed-bench`
(requirements/bench_embedding.txt, hash-locked); nothing is fetched while measuring.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.adapters.encoder.models import MINILM
from penstock.adapters.encoder.openvino import best_precision
from penstock.adapters.encoder.tokens import Tokenizer
from penstock.ports.encoder import Tokenized
from tests.bench import embedding_load, embedding_raw, embedding_texts
from tests.bench.embedding_targets import RIVALS, Embedding, Infinity, Ours
from tests.bench.load import Figures, LoadFailed
from tests.bench.peers.base import ROOT, NotRunnable
from tests.bench.peers.upstream import UpstreamProcess

RIVAL = Path(__file__).with_name("embedding_rival.py")
EXPORT = Path(__file__).with_name("embedding_export.py")
SETS = (16, 64, 256)
MIXED = "mixed"
_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. `texts` are of each length; `mixed` of the mix."""

    texts: Mapping[int, int]
    mixed: int
    seconds: int
    repeats: int
    quality: bool


FULL = Plan({16: 1_600, 64: 800, 256: 256}, 800, 9, 3, quality=True)
QUICK = Plan({16: 320, 64: 160, 256: 64}, 160, 3, 1, quality=False)


@dataclass(slots=True)
class Seen:
    """All figures of a run. `bulk` is texts a second by target and set, `tokens` the mean tokens of a set."""

    tokens: dict[str, float] = field(default_factory=dict[str, float])
    bulk: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    questions: dict[str, dict[str, Figures]] = field(default_factory=dict[str, dict[str, Figures]])
    lanes: dict[str, Figures] = field(default_factory=dict[str, Figures])
    peak: dict[str, float] = field(default_factory=dict[str, float])
    ndcg: dict[str, float] = field(default_factory=dict[str, float])
    not_runnable: dict[str, str] = field(default_factory=dict[str, str])
    precision: str = ""


def install() -> None:
    """Make sure that the rivals, and wrk, are there."""
    embedding_install = Path(__file__).with_name("embedding_install.sh")
    done = subprocess.run((str(embedding_install), sys.executable), cwd=ROOT, check=False)
    if done.returncode:
        raise LoadFailed(f"{embedding_install.name} ended with {done.returncode}; its last words are above")


def run(plan: Plan) -> Seen:
    """Measure everything, one after the other."""
    seen = Seen(precision=best_precision())
    sets = texts(plan)
    seen.tokens = {
        name: sum(len(each.ids) for each in tokenized(held)) / len(held) for name, held in sets.items()
    }
    for precision in dict.fromkeys(("fp32", seen.precision)):
        seen.peak[precision] = embedding_raw.peak(precision)
        seen.bulk[f"our encoder, {precision}"] = _rates(sets, embedding_raw.seconds(sets, precision))
        if plan.quality:
            seen.ndcg[precision] = embedding_raw.ndcg(precision)
    with (
        tempfile.TemporaryDirectory(prefix="bench-embedding-") as folder,
        UpstreamProcess().running() as upstream,
    ):
        ours = Ours(upstream.port)
        _served(seen, ours, sets, plan)
        model = Path(folder) / "model"
        try:
            rival(EXPORT, str(MINILM.folder()), str(model))
        except NotRunnable as error:
            seen.not_runnable["infinity"] = str(error)
            return seen
        quantised = model.with_name(f"{model.name}-int8")
        for server in (
            Infinity("torch", MINILM.folder()),
            Infinity("optimum", model),
            Infinity("optimum", quantised, note="int8"),
        ):
            _served(seen, server, sets, plan)
        said = rival(RIVAL, str(MINILM.folder()), given=json.dumps(sets))
        told = next(line for line in said.splitlines() if line.startswith("SECONDS "))
        seen.bulk["sentence-transformers"] = _rates(sets, json.loads(told[8:]))
    return seen


def texts(plan: Plan) -> dict[str, list[str]]:
    """Return the sets of texts by name."""
    sets = {str(tokens): embedding_texts.exactly(tokens, plan.texts[tokens]) for tokens in SETS}
    return {**sets, MIXED: embedding_texts.mixed(tokenized, plan.mixed)}


def tokenized(held: Sequence[str]) -> list[Tokenized]:
    """Return each text's tokens, by the product's tokenizer."""
    tokenizer = Tokenizer(MINILM)
    try:
        return tokenizer.some(held, range(len(held)))
    finally:
        tokenizer.close()


def rival(script: Path, *arguments: str, given: str = "") -> str:
    """Run a script in the rivals' environment, with nothing of ours in its own. Raises NotRunnable."""
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        bare = {
            "PATH": f"{RIVALS}:/usr/bin:/bin",
            "HOME": home,
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
        }
        try:
            done = subprocess.run(
                (str(RIVALS / "python"), str(script), *arguments),
                input=given,
                capture_output=True,
                text=True,
                env=bare,
                cwd=home,
                timeout=_LIMIT_S,
                check=False,
            )
        except OSError as error:
            raise NotRunnable(f"{script.name}: {error}") from error
    if done.returncode:
        raise NotRunnable(f"{script.name}: {done.returncode}: {done.stderr[-1_000:]}")
    return done.stdout


def _served(seen: Seen, target: Embedding, sets: Mapping[str, Sequence[str]], plan: Plan) -> None:
    """Measure one server: bulk, questions, and both at a time."""
    print(f"measuring {target.title}", file=sys.stderr, flush=True)
    try:
        with target.running():
            seen.bulk[target.title] = _rates(
                sets, {n: embedding_load.bulk_s(target, t, {}, plan.repeats) for n, t in sets.items()}
            )
            if target.lane:
                seen.bulk[f"{target.title}, ingest lane"] = _rates(
                    sets,
                    {n: embedding_load.bulk_s(target, t, target.lane, plan.repeats) for n, t in sets.items()},
                )
            seen.questions[target.title] = {
                str(count): embedding_load.questions(target, count, plan.seconds)
                for count in embedding_load.CONNECTIONS
            }
            seen.lanes[target.title] = embedding_load.beside_bulk(target, sets["256"], plan.seconds)
    except (NotRunnable, LoadFailed, OSError) as error:
        seen.not_runnable[target.title] = f"{error} {target.log()[-500:]}"


def _rates(sets: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: len(sets[name]) / took for name, took in seconds.items()}


if __name__ == "__main__":
    install()
    print(json.dumps(run(QUICK if "--quick" in sys.argv else FULL).__reduce_ex__(2)[2][1], indent=1))
