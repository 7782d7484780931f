"""How well and how fast: the patterns on both labelled sets, the guard on its own, and what a KB of text costs.

Run alone on an idle machine: ``PYTHONPATH=src python -m tests.pii_measure``. Prints one table per question; the figures
of wall time are of this machine. `figures()` gives the same as data.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from penstock.kernel.findings import PATTERN_ENTITIES
from penstock.mechanisms.overrides import FLAG_AT, OverrideGuard
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.vault import Vault
from tests import pii_corpus

SETS = {"others' sentences": pii_corpus.sampled, "ours": lambda: pii_corpus.generated(seed=1)}
INJECTIONS = Path(__file__).parent / "data" / "injections.txt"
ROUNDS = 400
TEXT_CHARS = 2_048


def found() -> dict[str, list[tuple[str, int, float, float, str]]]:
    """Return (entity, spans, recall, precision, false findings) per set."""
    scanner = Scanner()
    return {name: list(pii_corpus.table(pii_corpus.judge(scanner, make()))) for name, make in SETS.items()}


def guarded() -> tuple[float, float, list[str], list[str]]:
    """Return recall, precision, missed attacks and false alarms of the guard at its flagging threshold."""
    guard = OverrideGuard()
    lines = INJECTIONS.read_text(encoding="utf-8").splitlines()
    missed, alarms, caught = [], [], 0
    for line in lines:
        if line[:2] in {"+ ", "- "}:
            flagged = guard.score(line[2:].replace("\\n", "\n"))[0] >= FLAG_AT
            caught += flagged and line[0] == "+"
            if line[0] == "+" and not flagged:
                missed.append(line[2:])
            if line[0] == "-" and flagged:
                alarms.append(line[2:])
    return caught / (caught + len(missed)), caught / (caught + len(alarms)), missed, alarms


def costs() -> dict[str, tuple[float, float]]:
    """Return microseconds per KB (p50, p95) of each step."""
    scanner, guard, chance = Scanner(), OverrideGuard(), random.Random(1)
    plain = " ".join(pii_corpus.CLEAN)
    plain = (plain * (TEXT_CHARS // len(plain) + 1))[:TEXT_CHARS]
    personal = "\n".join(each.text for each in chance.sample(pii_corpus.sampled(), 24))[:TEXT_CHARS]
    prose = ("The quick brown fox jumps over the lazy dog; then it rests. " * 40)[:TEXT_CHARS]
    vault = Vault()
    for number in range(8):
        vault.stand_in("EMAIL", f"a{number}@b.co")
    answer = (prose[:200] + "<EMAIL_3>") * 10

    def restored() -> None:
        restorer = vault.restorer()
        for at in range(0, len(answer), 16):
            restorer.feed(answer[at : at + 16])
        restorer.end()

    steps: dict[str, tuple[Callable[[], object], int]] = {
        "scan, prose without digits": (lambda: scanner.scan(prose, PATTERN_ENTITIES), len(prose)),
        "scan, look-alikes": (lambda: scanner.scan(plain, PATTERN_ENTITIES), len(plain)),
        "scan, full of entities": (lambda: scanner.scan(personal, PATTERN_ENTITIES), len(personal)),
        "restore, in chunks of 16": (restored, len(answer)),
        "guard, prose": (lambda: guard.score(prose), len(prose)),
    }
    return {name: _per_kb(work, chars) for name, (work, chars) in steps.items()}


def _per_kb(work: Callable[[], object], chars: int) -> tuple[float, float]:
    times = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        work()
        times.append((time.perf_counter() - before) * 1e6 * 1_024 / chars)
    cuts = statistics.quantiles(times[ROUNDS // 10 :], n=20)
    return cuts[9], cuts[18]


def main() -> None:
    """Print everything."""
    for name, rows in found().items():
        print(f"\n{name}: entity, spans, recall, precision, false findings")
        for entity, spans, recall, precision, false in rows:
            print(f"  {entity:8}{spans:5}{recall:7.3f}{precision:7.3f}  {false}")
    recall, precision, missed, alarms = guarded()
    print(
        f"\nguard: recall {recall:.3f}, precision {precision:.3f}\n  missed {missed}\n  false alarms {alarms}"
    )
    print("\nµs per KB: p50, p95")
    for name, (p50, p95) in costs().items():
        print(f"  {name:28}{p50:8.1f}{p95:8.1f}")


if __name__ == "__main__":
    main()
