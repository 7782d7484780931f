"""The helper process of PresidioRecogniser: Presidio's recognisers, and a spaCy model per language where one is named.

Run as ``python -I worker.py '{"languages": [...], "models": {"en": "en_core_web_lg"}}'``. It imports nothing of ours.
It says first what it can find, then answers one question after the other until its stdin ends. Every message either way
is four bytes of length (big-endian) and JSON. Positions are in characters, end exclusive.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

presidio: Any = import_module(
    "presidio_analyzer"
)  # by name: who only reads or checks this code need not install it
nlp_engines: Any = import_module("presidio_analyzer.nlp_engine")

NAMES = {"PERSON", "LOCATION", "ORGANIZATION", "NRP"}
"""What only a model finds."""
OURS = {"EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN"}
"""What the gateway's own patterns find, faster."""
SCORE_LEAST = 0.4
"""Recognisers of shapes without a checksum say less (a driver's licence is any word with digits)."""


def engines(languages: list[str], models: dict[str, str]) -> list[tuple[Any, set[str]]]:
    """Return an analyser of patterns for all languages, and one of names for those with a model.

    Raises FileNotFoundError for a model that is not installed: Presidio would download it.
    """
    no_op = nlp_engines.NoOpNlpEngine(
        models=[{"lang_code": each, "model_name": "no_op"} for each in languages]
    )
    made = [(_analyser(no_op, languages), set(languages))]
    absent = [
        name
        for name in models.values()
        if find_spec(name.partition("/")[0]) is None and not Path(name).is_dir()
    ]
    if absent:
        raise FileNotFoundError(f"no such spaCy model is installed: {', '.join(absent)}")
    if models:
        spacy = nlp_engines.SpacyNlpEngine(
            models=[{"lang_code": language, "model_name": name} for language, name in models.items()]
        )
        made.append((_analyser(spacy, list(models)), set(models)))
    return made


def _analyser(nlp: Any, languages: list[str]) -> Any:  # noqa: ANN401 - Presidio has no types to import here
    nlp.load()
    registry = presidio.RecognizerRegistry(supported_languages=languages)
    registry.load_predefined_recognizers(languages=languages, nlp_engine=nlp)
    return presidio.AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=languages)


class Finder:
    """Answers questions."""

    def __init__(self, languages: list[str], models: dict[str, str]) -> None:
        self._engines = engines(languages, models)
        self._can = {
            (place, language): set(engine.get_supported_entities(language))
            for place, (engine, spoken) in enumerate(self._engines)
            for language in spoken
        }

    def entities(self) -> list[str]:
        """Return all that can be found in any language, names only with a model."""
        patterns, names = (
            set[str]().union(*(c for (p, _), c in self._can.items() if p == place)) for place in (0, 1)
        )
        return sorted((patterns - NAMES | names & NAMES) - OURS)

    def find(
        self, text: str, languages: list[str], entities: list[str]
    ) -> Iterator[tuple[int, int, str, float]]:
        """Give what is found in `text`; a language nobody knows here finds nothing."""
        wanted = set(entities)
        for (place, language), can in self._can.items():
            asked = sorted(can & wanted & NAMES if place else can & wanted - NAMES)
            if language in languages and asked:
                found = self._engines[place][0].analyze(text, language, asked, score_threshold=SCORE_LEAST)
                for each in found:
                    yield each.start, each.end, each.entity_type, each.score


def read(source: BinaryIO) -> dict[str, Any] | None:
    """Return the next message; None at the end."""
    head = source.read(4)
    return json.loads(source.read(struct.unpack(">I", head)[0])) if len(head) == 4 else None


def write(sink: BinaryIO, message: object) -> None:
    """Send a message."""
    body = json.dumps(message).encode()
    sink.write(struct.pack(">I", len(body)) + body)
    sink.flush()


def main() -> None:
    """Serve until stdin ends."""
    start = json.loads(sys.argv[1])
    try:
        finder = Finder(start["languages"], start["models"])
    except Exception as error:  # because whatever stops it is the answer to who started it
        write(sys.stdout.buffer, {"entities": [], "error": f"{type(error).__name__}: {error}"})
        return
    write(sys.stdout.buffer, {"entities": finder.entities()})
    while (asked := read(sys.stdin.buffer)) is not None:
        found = [list(finder.find(text, asked["languages"], asked["entities"])) for text in asked["texts"]]
        write(sys.stdout.buffer, {"found": found})


if __name__ == "__main__":
    main()
