"""A BERT encoder's graph, from its weights as they are published, in OpenVINO's own operations: no PyTorch, no ONNX.

    ids [B, T] ─ embed ─ 6 × (attention ─ feed forward) ─┬─ pooled and normalised [B, H]    output "pooled"
    lengths [B] ─ which places count ────────────────────┴─ normalised each [B, T, H]       output "tokens"

Promise: what stands in a place past a text's length changes nothing; a token that happens to be the padding's counts
like any other, since lengths say where a text ends and not the tokens.

Attention is spelled out (two products and a softmax): OpenVINO joins it into one kernel by itself, 6–10 % faster here
than its ScaledDotProductAttention, and faster than one product for query, key and value (docs/decisions/019).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

openvino: Any = import_module(
    "openvino"
)  # by name: its types are partly unknown, and two classes are called Model
ops: Any = import_module("openvino.opset13")
Weights = Mapping[str, NDArray[Any]]
Node = Any
HIDDEN: Final = -3e4
"""What a place that does not count adds to its score: nothing is left of it after the softmax, in bfloat16 as well."""
SMALL: Final = 1e-24


class Bert(msgspec.Struct, frozen=True):
    """The shape of a BERT encoder, as its config.json says."""

    model_type: str
    hidden_act: str
    hidden_size: int
    num_attention_heads: int
    num_hidden_layers: int
    max_position_embeddings: int
    layer_norm_eps: float


def graph(bert: Bert, weights: Weights, output: str, pooling: str = "mean") -> Node:
    """Return the model with one output, "pooled" or "tokens". Raises ValueError for a model that is none of these."""
    if (bert.model_type, bert.hidden_act) != ("bert", "gelu") or pooling not in ("mean", "cls"):
        raise ValueError(f"no graph for {bert.model_type} with {bert.hidden_act} and {pooling} pooling")
    ids = ops.parameter([-1, -1], np.int32, name="ids")
    lengths = ops.parameter([-1], np.int32, name="lengths")
    places = ops.range(_int(0), ops.gather(ops.shape_of(ids, "i32"), _int(1), _int(0)), _int(1), "i32")
    counts = ops.convert(ops.less(ops.unsqueeze(places, _int(0)), ops.unsqueeze(lengths, _int(1))), "f32")
    hidden = ops.multiply(ops.subtract(_float(1), counts), _float(HIDDEN))
    states = _Layers(bert, weights).states(ids, places, ops.unsqueeze(hidden, _ints(1, 2)))
    if output == "tokens":
        last = ops.normalize_l2(states, _ints(2), SMALL, "max")
    else:
        last = ops.normalize_l2(_pooled(states, counts, pooling), _ints(1), SMALL, "max")
    return openvino.Model([ops.result(last)], [ids, lengths], output)


def _pooled(states: Node, counts: Node, pooling: str) -> Node:
    """Return one row a text; the sum points where the mean does, and is normalised anyway."""
    if pooling == "cls":
        return ops.gather(states, _int(0), _int(1))
    return ops.reduce_sum(ops.multiply(states, ops.unsqueeze(counts, _int(2))), _ints(1))


class _Layers:
    """The encoder itself."""

    def __init__(self, bert: Bert, weights: Weights) -> None:
        self._bert = bert
        self._weights = weights

    def states(self, ids: Node, places: Node, hidden: Node) -> Node:
        """Return the last layer's states [B, T, H]."""
        weights = self._weights
        whereabouts = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        words = ops.gather(_constant(weights["embeddings.word_embeddings.weight"]), ids, _int(0))
        states = ops.add(words, ops.gather(_constant(whereabouts), places, _int(0)))
        states = self._norm(states, "embeddings.LayerNorm")
        for number in range(self._bert.num_hidden_layers):
            layer = f"encoder.layer.{number}"
            mixed = self._dense(self._attention(states, hidden, layer), f"{layer}.attention.output.dense")
            states = self._norm(ops.add(states, mixed), f"{layer}.attention.output.LayerNorm")
            wide = ops.gelu(self._dense(states, f"{layer}.intermediate.dense"), "erf")
            states = self._norm(
                ops.add(states, self._dense(wide, f"{layer}.output.dense")), f"{layer}.output.LayerNorm"
            )
        return states

    def _attention(self, states: Node, hidden: Node, layer: str) -> Node:
        heads = self._bert.num_attention_heads
        size = self._bert.hidden_size // heads
        swap = _ints(0, 2, 1, 3)
        query, key, value = (
            ops.transpose(
                ops.reshape(
                    self._dense(states, f"{layer}.attention.self.{name}"), _ints(0, 0, heads, size), True
                ),
                swap,
            )
            for name in ("query", "key", "value")
        )
        scores = ops.multiply(ops.matmul(query, key, False, True), _float(size**-0.5))
        mixed = ops.matmul(ops.softmax(ops.add(scores, hidden), -1), value, False, False)
        return ops.reshape(ops.transpose(mixed, swap), _ints(0, 0, self._bert.hidden_size), True)

    def _dense(self, states: Node, name: str) -> Node:
        weight, bias = (_constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return ops.add(ops.matmul(states, weight, False, True), bias)

    def _norm(self, states: Node, name: str) -> Node:
        weight, bias = (_constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        centred = ops.mvn(states, _ints(-1), True, self._bert.layer_norm_eps, "inside_sqrt")
        return ops.add(ops.multiply(centred, weight), bias)


def _constant(value: NDArray[Any]) -> Node:
    return ops.constant(value)


def _int(value: int) -> Node:
    return ops.constant(np.int32(value))


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values, np.int32))


def _float(value: float) -> Node:
    return ops.constant(np.float32(value))
