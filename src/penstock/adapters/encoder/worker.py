"""The helper process of OpenVinoEncoder: one model, compiled for this processor, that computes batch after batch.

Promises: weights whose SHA-256 is another than the one asked for are refused before anything is built of them; every
row that leaves is finite and of length 1; a batch is padded to a multiple of `STEP` tokens, so that few shapes occur
(each new one costs some milliseconds of compiling).
"""

from __future__ import annotations

import ctypes
import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.adapters.encoder.frames import HEAD, POOLED, TOKENS, Start
from penstock.adapters.encoder.graph import Bert, graph
from penstock.adapters.helper_process import Answer, serve

openvino: Any = import_module("openvino")  # by name: their types are partly unknown
safetensors: Any = import_module("safetensors")
STEP: Final = 8
OUTPUTS: Final = {POOLED: "pooled", TOKENS: "tokens"}
PRECISIONS: Final = {"bf16": "bf16", "fp32": "f32"}
Floats = NDArray[np.float32]


class Model:
    """A model that computes. "tokens" is compiled at its first use, in a tenth of a second."""

    def __init__(self, start: Start) -> None:
        """Read and check the weights, and compile. Raises ValueError for other ones, OSError."""
        self._start = start
        self._vocabulary = 0
        self._compiled = {POOLED: self._made(POOLED)}
        for texts, tokens in start.warm:
            self.vectors(POOLED, [np.zeros(tokens, np.int32)] * texts)

    def answer(self, question: bytes) -> bytes | memoryview:
        """Return the vectors of a batch."""
        wanted, count = HEAD.unpack_from(question)
        numbers = np.frombuffer(question, np.int32, offset=HEAD.size)
        lengths, ids = numbers[:count], numbers[count:]
        if len(lengths) != count or lengths.sum() != len(ids) or not count or lengths.min() < 1:
            raise ValueError("this is no batch")
        if ids.min() < 0 or ids.max() >= self._vocabulary:
            raise ValueError(f"a token's number is not between 0 and {self._vocabulary - 1}")
        return self.vectors(wanted, np.split(ids, np.cumsum(lengths)[:-1])).data.cast("B")

    def vectors(self, wanted: int, texts: list[NDArray[np.int32]]) -> Floats:
        """Return one row a text, or one a token."""
        lengths = np.array([len(text) for text in texts], np.int32)
        ids = np.zeros((len(texts), -(-int(lengths.max()) // STEP) * STEP), np.int32)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = text
        if wanted not in self._compiled:
            self._compiled[wanted] = self._made(wanted)
        request: Any = self._compiled[wanted]
        request.infer([ids, lengths], share_inputs=True)
        rows: Floats = request.get_output_tensor(0).data
        if wanted == TOKENS:
            rows = rows[np.arange(ids.shape[1]) < lengths[:, None]]
        return _of_length_one(rows)

    def _made(self, wanted: int) -> Any:  # noqa: ANN401 - OpenVINO has no types
        start = self._start
        folder = Path(start.folder)
        bert = msgspec.json.decode((folder / "config.json").read_bytes(), type=Bert)
        weights = checked(folder / "model.safetensors", start.weights_sha256)
        self._vocabulary = len(weights["embeddings.word_embeddings.weight"])
        model = graph(bert, weights, OUTPUTS[wanted], start.pooling)
        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": PRECISIONS[start.precision],
                "INFERENCE_NUM_THREADS": start.threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,  # else the processes of a machine all sit on its first core
            },
        )
        del model, weights
        ctypes.CDLL(None).malloc_trim(0)  # what was built on the way is 200 MB
        return compiled.create_infer_request()


def checked(path: Path, sha256: str) -> dict[str, NDArray[Any]]:
    """Return the weights of a safetensors file. Raises ValueError if they are not those that were asked for."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path.name} is not the file that was asked for: its SHA-256 is {found}, not {sha256}"
        )
    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.offset_keys() if "position_ids" not in name}


def _of_length_one(rows: Floats) -> Floats:
    """Return rows normalised anew: in bfloat16 their lengths are off by a thousandth."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ArithmeticError("the model gave a vector that is none")
    return np.ascontiguousarray(rows / lengths[:, None], np.float32)


def begin(start: bytes) -> tuple[bytes, Answer]:
    """Load the model."""
    return b"", Model(msgspec.json.decode(start, type=Start)).answer


if __name__ == "__main__":
    serve(begin)
