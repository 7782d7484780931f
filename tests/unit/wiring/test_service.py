"""What one process is told from outside, and the sockets it is given."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from penstock.kernel.errors import Invalid
from penstock.wiring.service import READY, _Orders, inherited, listen
from tests.support import run


def told(work):
    """Run `work(orders, theirs)` with the orders of a process under a supervisor."""

    async def running():
        ours, theirs = socket.socketpair()
        orders = _Orders(ours)
        try:
            return await work(orders, theirs)
        finally:
            orders.close()
            theirs.close()

    return run(running())


def test_the_first_signal_drains_and_the_second_hurries():
    async def work(orders, _theirs):
        os.kill(os.getpid(), signal.SIGTERM)
        await orders.stop.wait()
        first = orders.hurry.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await orders.hurry.wait()
        return first

    assert told(work) is False


def test_sighup_stops_nothing():
    async def work(orders, theirs):
        os.kill(os.getpid(), signal.SIGHUP)
        await orders.tell_ready()
        return theirs.recv(64), orders.stop.is_set()

    assert told(work) == (READY, False)


def test_a_process_whose_supervisor_is_gone_drains():
    async def work(orders, theirs):
        theirs.close()
        await orders.stop.wait()
        return orders.hurry.is_set()

    assert told(work) is False


def test_a_listening_socket_is_taken_over_with_its_queue():
    with listen("127.0.0.1", 0) as first:
        address = first.getsockname()
        with socket.create_connection(address) as client:
            with inherited(os.dup(first.fileno())) as second:
                first.close()
                accepted, _ = second.accept()
                accepted.sendall(b"hello")
                accepted.close()
            assert client.recv(16) == b"hello"


@pytest.mark.parametrize("kind", ["file", "socket", "nothing"])
def test_what_does_not_listen_is_refused_and_left_open(tmp_path, kind):
    with (tmp_path / "f").open("w") as file, socket.socket() as plain:
        fd = {"file": file.fileno(), "socket": plain.fileno(), "nothing": 1023}[kind]
        with pytest.raises(Invalid, match="socket"):
            inherited(fd)
        if kind != "nothing":
            os.fstat(fd)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_named(host):
    with pytest.raises(Invalid) as refusal:
        listen(host, 0)
    assert host in str(refusal.value.value)
