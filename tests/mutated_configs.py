"""Routing configurations with known mistakes: what a validator must refuse, naming each of them.

    sound document ──► 1 to 5 mistakes, each in a route of its own ──► (document, what the refusal must name)

Promise: the same seed gives the same documents; each mistake is one a person makes, in a place of its own, so that one
never hides another; `refusals` tells what a validator missed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from penstock.kernel.errors import Invalid

Document = dict[str, Any]
Mistake = Callable[[Document, dict[str, Any], str], str]
ROUTES = 8
MOST = 5


def sound() -> Document:
    """Return a document without a mistake over the providers `sim` (models small and large) and `own` (llama)."""

    def route(name: str) -> dict[str, Any]:
        return {
            "model": name,
            "sticky": "user",
            "targets": [
                {"provider": "sim", "model": "small", "weight": 90},
                {"provider": "own", "model": "llama", "weight": 10},
            ],
            "canary": {"percent": 5, "targets": [{"provider": "sim", "model": "large"}]},
            "ceilings": [{"tier": "standard", "output": "60"}],
        }

    return {"routes": [route(f"route-{number}") for number in range(ROUTES)]}


def _unknown_key(_: Document, route: dict[str, Any], name: str) -> str:
    route[f"wieght_{name}"] = 1
    return f"wieght_{name}"


def _wrong_type(_: Document, route: dict[str, Any], __: str) -> str:
    route["spill_in_flight"] = "many"
    return "spill_in_flight"


def _unknown_word(_: Document, route: dict[str, Any], __: str) -> str:
    route["strategy"] = "best"
    return "strategy"


def _negative_weight(_: Document, route: dict[str, Any], __: str) -> str:
    route["targets"][0]["weight"] = -1
    return "targets[0].weight"


def _no_model(_: Document, route: dict[str, Any], __: str) -> str:
    del route["targets"][1]["model"]
    return "targets[1].model: missing"


def _percent(_: Document, route: dict[str, Any], __: str) -> str:
    route["canary"]["percent"] = 101
    return "canary.percent"


def _no_back_end(_: Document, route: dict[str, Any], name: str) -> str:
    route["targets"][0]["provider"] = f"ghost-{name}"
    return f"ghost-{name}"


def _no_price(_: Document, route: dict[str, Any], name: str) -> str:
    route["targets"][0]["model"] = f"dear-{name}"
    return f"dear-{name}"


def _no_weights(_: Document, route: dict[str, Any], name: str) -> str:
    for target in route["targets"]:
        target["weight"] = 0
    return f"routes[{name}].targets: expected at least one target with a weight"


def _cycle(document: Document, route: dict[str, Any], name: str) -> str:
    other = f"back-{name}"
    route["fallbacks"] = [other]
    document["routes"].append({"model": other, "targets": [route["targets"][1]], "fallbacks": [name]})
    return f"cycle, {name} → {other} → {name}"


def _no_fallback(_: Document, route: dict[str, Any], name: str) -> str:
    route["fallbacks"] = [f"nowhere-{name}"]
    return f"nowhere-{name}"


def _twice(document: Document, route: dict[str, Any], name: str) -> str:
    document["routes"].append(copy.deepcopy(route))
    return f"routes[{name}]: a route is defined twice"


def _canary_of_nobody(_: Document, route: dict[str, Any], name: str) -> str:
    route["canary"]["targets"] = []
    return f"routes[{name}].canary.targets: missing"


def _no_region(_: Document, route: dict[str, Any], name: str) -> str:
    route["regions"] = [f"moon-{name}"]
    return f"moon-{name}"


def _no_amount(_: Document, route: dict[str, Any], name: str) -> str:
    route["ceilings"] = [{"tier": "standard", "output": f"cheap-{name}"}]
    return f"cheap-{name}"


def _no_small(_: Document, route: dict[str, Any], name: str) -> str:
    route["complexity"] = {"by": "heuristic"}
    return f"routes[{name}].complexity.small"


SHAPES: tuple[Mistake, ...] = (
    _unknown_key, _wrong_type, _unknown_word, _negative_weight, _no_model, _percent,
)  # fmt: skip
MEANINGS: tuple[Mistake, ...] = (
    _no_back_end, _no_price, _no_weights, _cycle, _no_fallback, _twice, _canary_of_nobody, _no_region, _no_amount,
    _no_small,
)  # fmt: skip


def mutated(count: int, seed: int = 0) -> Iterator[tuple[Document, tuple[str, ...]]]:
    """Yield `count` documents with 1 to 5 mistakes, and what a refusal must name."""
    lot = random.Random(seed)
    for number in range(count):
        document = sound()
        routes = lot.sample(document["routes"], lot.randint(1, MOST))
        # What has no meaning cannot be checked for sense: shapes and meanings are refused in turn.
        kinds = SHAPES if number % 3 == 0 else MEANINGS
        yield document, tuple([lot.choice(kinds)(document, route, route["model"]) for route in routes])


def missed(check: Callable[[object], object], count: int, seed: int = 0) -> list[str]:
    """Return what `check` let pass or did not name, of `count` mutated documents."""
    found: list[str] = []
    for document, mistakes in mutated(count, seed):
        try:
            check(document)
        except Invalid as refusal:
            told = str(refusal)
            found += [f"not named: {mistake}" for mistake in mistakes if mistake not in told]
        else:
            found.append(f"let pass: {mistakes}")
    return found
