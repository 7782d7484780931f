"""TensorZero's Rust gateway, which its Python wheel carries whole and serves over real HTTP on loopback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import payload
from tests.bench.peers.base import BENCH_VENV, Target

_PYTHON = BENCH_VENV / "bin" / "python"
_HOST = Path(__file__).with_name("tensorzero_host.py")

_CONFIG = """\
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true

[models.bench]
routing = ["upstream"]

[models.bench.providers.upstream]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{upstream_port}/v1/"
api_key_location = "env::UPSTREAM_KEY"
"""


class TensorZero(Target):
    """Its defaults but for the observability store: no caller keys, no limits, no cost."""

    name = "tensorzero"
    title = "TensorZero 2026.6.0 (Rust, from its wheel)"
    does = "parses, routes, renders; observability off, no caller keys, no limits; uses several threads"
    model = "tensorzero::model_name::bench"
    path = f"/openai{payload.CHAT_PATH}"

    def requires(self) -> Sequence[Path]:
        return (_PYTHON,)

    def command(self) -> Sequence[str]:
        config = self.folder / "tensorzero.toml"
        config.write_text(_CONFIG.format(model=payload.UPSTREAM_MODEL, upstream_port=self.upstream_port))
        # -P: the folder of the script must not come before the packages, or `tensorzero` would be this module.
        return (str(_PYTHON), "-P", str(_HOST), str(config), str(self._port_file))

    def environment(self) -> Mapping[str, str]:
        return {"UPSTREAM_KEY": "sk-upstream"}

    def discover(self) -> None:
        self.port = int(
            self._port_file.read_text()
        )  # missing until the gateway is up: an OSError, tried again

    @property
    def _port_file(self) -> Path:
        return self.folder / "port"
