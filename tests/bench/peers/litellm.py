"""LiteLLM's proxy, one worker, as bare as it goes: a config file and the master key, no database, no callbacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import payload
from tests.bench.peers.base import BENCH_VENV, Target

_COMMAND = BENCH_VENV / "bin" / "litellm"
_MASTER_KEY = "sk-bench-5f1c0a7e94d24b0c8e1f7a2b3c4d5e6f"  # 1.106 refuses a weak one


class LiteLLM(Target):
    """Key check and routing only: its virtual keys, budgets and spend logs need PostgreSQL and were off."""

    name = "litellm"
    title = "LiteLLM proxy 1.106.2, one worker"
    does = "checks the master key, routes; no database, so no budgets, no spend, no limits"
    start_limit_s = 120.0

    def requires(self) -> Sequence[Path]:
        return (_COMMAND,)

    def command(self) -> Sequence[str]:
        upstream = {
            "model": f"openai/{payload.UPSTREAM_MODEL}",
            "api_base": f"http://127.0.0.1:{self.upstream_port}/v1",
            "api_key": "sk-upstream",
        }
        config = self.folder / "config.yaml"  # JSON is YAML
        config.write_text(
            json.dumps(
                {
                    "model_list": [{"model_name": self.model, "litellm_params": upstream}],
                    "general_settings": {"master_key": _MASTER_KEY},
                    "litellm_settings": {"telemetry": False},
                }
            )
        )
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1")
        return (str(_COMMAND), "--config", str(config), *place)

    def environment(self) -> Mapping[str, str]:
        # Prices from the wheel, not from the network; no chatter in the log.
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {_MASTER_KEY}"}
