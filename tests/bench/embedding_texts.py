"""The texts of the embedding bench: of exactly 16, 64 and 256 tokens, and mixed as customers and documents mix.

The mix: 100 abstracts of SciFact (cut where the model ends, 256 tokens) and 700 questions of BANKING77's test part, in
one seeded order; about 45 tokens on average. Promise: the same texts on every run, and none of them twice.
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from penstock.ports.encoder import Tokenized
from tests.bench.peers.base import ROOT, NotRunnable

Tokenize = Callable[[list[str]], list[Tokenized]]
TOKENS_MOST = 256
# Each is one token of the model's vocabulary.
_WORDS = (
    "water river lake tower bridge garden music paper engine window letter number market doctor "
    "summer winter morning evening brother sister teacher student kitchen station village mountain "
    "island forest valley castle church school hospital library museum theatre bottle button camera "
    "ticket pocket mirror carpet candle basket hammer ladder needle"
)
WORDS = _WORDS.split()


def data(name: str) -> Path:
    """Return a folder of the public data sets: below `PENSTOCK_DATA`, or beside the repository."""
    folder = Path(os.environ.get("PENSTOCK_DATA") or ROOT.parent / "shared" / "data") / name
    if not folder.is_dir():
        raise NotRunnable(f"no data set {name}: say in PENSTOCK_DATA where the data sets are")
    return folder


def exactly(tokens: int, count: int) -> list[str]:
    """Return different texts of exactly so many tokens, the model's two marks included."""
    chance = random.Random(tokens)
    return [" ".join(chance.choices(WORDS, k=tokens - 2)) for _ in range(count)]


def mixed(tokenize: Tokenize, count: int = 800) -> list[str]:
    """Return the mix: one abstract for every seven questions."""
    texts = [f"{title} {text}" for _, title, text in abstracts()[: count // 8]]
    with (data("banking77") / "test.csv").open(encoding="utf-8", newline="") as file:
        questions = list(dict.fromkeys(row["text"] for row in csv.DictReader(file)))
    texts += questions[: count - len(texts)]
    random.Random(7).shuffle(texts)
    return [cut(text, made) for text, made in zip(texts, tokenize(texts), strict=True)]


def cut(text: str, made: Tokenized) -> str:
    """Return as much of a text as the model reads. A cut word may be one token more, hence the one less."""
    if len(made.ids) <= TOKENS_MOST:
        return text
    return text[: made.spans[TOKENS_MOST - 3][1]]


def abstracts() -> list[tuple[str, str, str]]:
    """Return SciFact's 5,183 documents: id, title, abstract."""
    rows = _rows("corpus_train.csv")
    return [(row["doc_id"], row["title"], _joined(row["abstract"])) for row in rows]


def claims() -> dict[str, tuple[str, frozenset[str]]]:
    """Return SciFact's 300 claims of the validation part: each text, and the documents it cites."""
    return {
        row["id"]: (row["claim"], frozenset(re.findall(r"\d+", row["cited_doc_ids"])))
        for row in _rows("claims_validation.csv")
    }


def _joined(sentences: str) -> str:
    """Return the sentences of an abstract as text: they are a list as numpy prints it, line by line."""
    return " ".join(line.strip(" []'\"\n") for line in sentences.splitlines())


def _rows(name: str) -> list[dict[str, str]]:
    with (
        zipfile.ZipFile(data("scifact") / "scifact.zip") as whole,
        io.TextIOWrapper(whole.open(name), "utf-8", newline="") as file,
    ):
        return list(csv.DictReader(file))
