"""Run in the rivals' own environment: the published weights as ONNX, offline, for Infinity's `optimum` engine.

    python embedding_export.py SOURCE TARGET      writes TARGET (fp32) and TARGET-int8 (dynamically quantised)

The export is plain, the encoder's last states: fused attention is slower on this class of machine. It imports nothing
of ours.
"""

import shutil
import sys
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"


class States(torch.nn.Module):
    """The model, from its three inputs to its last states."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.model = AutoModel.from_pretrained(source, attn_implementation="eager").eval()

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(INPUTS, given, strict=True)))[OUTPUT]


def export(source: Path, target: Path) -> None:
    """Write both folders."""
    quantised = target.with_name(target.name + "-int8")
    for folder in (target, quantised):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        (folder / "onnx").mkdir(exist_ok=True)
    ids = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(
        States(source),
        (ids, ids, ids * 0),
        str(target / "onnx" / "model.onnx"),
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*INPUTS, OUTPUT)},
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        str(target / "onnx" / "model.onnx"),
        str(quantised / "onnx" / "model_quantized.onnx"),
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
