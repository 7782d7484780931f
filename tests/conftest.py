"""Fixtures for every suite: the session's real Redis and PostgreSQL, started when the first test asks for them.

Promise: unreachable is a failure, never a skip. `redis_url` and `postgres_dsn` are the shared servers as they stand;
`fresh_redis` and `fresh_postgres` are functions that return an empty database per call.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.services import PostgresServer, RedisServer, shared_postgres, shared_redis


def pytest_configure() -> None:
    """Have SIGINT and SIGQUIT mean what they mean, here and in every program that is started.

    A shell has its background jobs ignore both, and what they start inherits it.
    """
    for number, meaning in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, meaning)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Give the shared Redis; a test that stops or kills must make a RedisServer of its own."""
    server = shared_redis()
    yield server
    server.close()
    shared_redis.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give the shared PostgreSQL; a test that stops or kills must make a PostgresServer of its own."""
    server = shared_postgres()
    yield server
    server.close()
    shared_postgres.cache_clear()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Give the URL of the shared Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_dsn(postgres_server: PostgresServer) -> str:
    """Give the DSN of the shared PostgreSQL."""
    return postgres_server.dsn


@pytest.fixture
def fresh_redis(redis_server: RedisServer) -> Callable[[], str]:
    """Give a function that returns the URL of an empty logical database."""
    return redis_server.fresh


@pytest.fixture
def fresh_postgres(postgres_server: PostgresServer) -> Callable[[], str]:
    """Give a function that returns the DSN of a new, empty database."""
    return postgres_server.fresh
