"""Ours on the distributed pair: limits in a real Redis, money and records in a real PostgreSQL with fsync on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.bench.peers.base import Target
from tests.bench.peers.penstock import Penstock
from tests.services import PostgresServer, RedisServer


class PenstockShared(Penstock):
    """One gateway process over Redis and PostgreSQL; the engines' own CPU stands in a column of its own."""

    name = "penstock_shared"
    title = "Penstock on Redis + PostgreSQL"
    does = "the same as Penstock, limits in Redis, holds and settlements committed in PostgreSQL (fsync on)"

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self._pepper = secrets.token_hex(32)
        self._stores = ""
        self._engines: tuple[int, ...] = ()

    @property
    def engine_pids(self) -> Sequence[int]:
        return self._engines

    @contextmanager
    def running(self) -> Iterator[Target]:
        with RedisServer() as redis, PostgresServer(durable=True) as postgres:
            records = f'records_url = "{postgres.dsn}"'
            self._stores = f'state_url = "{redis.url}"\n{records}\n\n[ledger]\nurl = "{postgres.dsn}"\n'
            self._engines = tuple(server.pid for server in (redis, postgres) if server.pid is not None)
            with super().running() as target:
                yield target

    def stores(self) -> str:
        return self._stores

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "PENSTOCK_SECRET_PEPPER": self._pepper}
