"""The judged sets that retrieval is measured on, as `penstock embed quality` reads them.

    python -m tests.retrieval_sets FOLDER      writes every set as JSON lines, to measure or calibrate with

The data lies beside the repository, or where PENSTOCK_DATA says, and is never copied into it. SciFact: the whole corpus
of 5,183 abstracts with the 300 claims of the dev split (339 judgements, as BEIR has it) or the 809 of train; the
documentation set is whole, 232 pieces and 100 questions; the code set is whole, 737 pieces and 248 questions.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.embedding.search.quality import Asked, Judged, Passage

DATA: Final = Path(os.environ.get("PENSTOCK_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
_STRING: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def scifact(split: Literal["validation", "train"] = "validation") -> Judged:
    """Return all abstracts with the claims of a split; a claim's cited abstracts answer it."""
    csv.field_size_limit(1 << 24)
    with zipfile.ZipFile(DATA / "scifact" / "scifact.zip") as archive:
        documents = tuple(
            [
                Passage(
                    id=row["doc_id"],
                    title=row["title"],
                    text=" ".join([ast.literal_eval(each) for each in _STRING.findall(row["abstract"])]),
                )
                for row in _rows(archive, "corpus_train.csv")
            ]
        )
        claims: dict[str, tuple[str, set[str]]] = {}
        for row in _rows(archive, f"claims_{split}.csv"):
            claim = claims.setdefault(row["id"], (row["claim"], set()))
            claim[1].update(re.findall(r"\d+", row["cited_doc_ids"]))
    questions = [Asked(question=text, relevant=frozenset(cited)) for text, cited in claims.values()]
    return Judged(documents=documents, questions=tuple(questions))


def _rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    with archive.open(name) as file:
        return list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))


def documentation() -> Judged:
    """Return the pieces of a product's documentation, whose texts begin with their headings, and questions on them."""
    folder = DATA / "anthropic_docs_rag"
    pieces = json.loads((folder / "anthropic_docs.json").read_text())
    asked = json.loads((folder / "docs_evaluation_dataset.json").read_text())
    return Judged(
        documents=tuple([Passage(id=each["chunk_link"], text=each["text"]) for each in pieces]),
        questions=tuple(
            [Asked(question=each["question"], relevant=frozenset(each["correct_chunks"])) for each in asked]
        ),
    )


def code() -> Judged:
    """Return pieces of Rust files, and questions on them."""
    folder = DATA / "anthropic_codebase_rag"
    files = json.loads((folder / "codebase_chunks.json").read_text())
    lines = (folder / "evaluation_set.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines]
    return Judged(
        documents=tuple(
            [
                Passage(id=f"{file['original_uuid']}#{piece['original_index']}", text=piece["content"])
                for file in files
                for piece in file["chunks"]
            ]
        ),
        questions=tuple(
            [
                Asked(
                    question=each["query"],
                    relevant=frozenset([f"{uuid}#{index}" for uuid, index in each["golden_chunk_uuids"]]),
                )
                for each in asked
            ]
        ),
    )


SETS: Final[dict[str, Callable[[], Judged]]] = {
    "scifact-dev": scifact,
    "scifact-train": lambda: scifact("train"),
    "documentation": documentation,
    "code": code,
}


def main(folder: str) -> None:
    """Write every set."""
    for name, load in SETS.items():
        judged = load()
        with (Path(folder) / f"{name}.jsonl").open("wb") as file:
            for line in (*judged.documents, *judged.questions):
                file.write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
