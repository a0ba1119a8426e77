# SPDX-License-Identifier: GPL-3.0-or-later
"""A client knows whether it has been accepted, on every kind of address, and what became of its request."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._caller import Caller, listen_for_answers

KINDS = {
    "127.0.0.1": lambda _folder: (socket.AF_INET, ("127.0.0.1", 0)),
    "0.0.0.0": lambda _folder: (socket.AF_INET, ("0.0.0.0", 0)),
    "::": lambda _folder: (socket.AF_INET6, ("::", 0)),
    "/": lambda folder: (socket.AF_UNIX, str(folder / "a socket")),
}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[tuple[socket.socket, str]]:
    """A socket that listens and of which nobody accepts, and its address as systemd writes it."""
    family, place = KINDS[request.param](tmp_path)
    with socket.socket(family) as found:
        found.bind(place)
        found.listen(8)
        name = found.getsockname()
        yield found, name if isinstance(name, str) else f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def test_a_client_waits_until_it_is_accepted(server: tuple[socket.socket, str]) -> None:
    listener, address = server
    with Caller(address) as caller:
        assert caller.wait_until_accepted(0.05) is None
        accepted = listener.accept()[0]
        assert caller.wait_until_accepted(1) is not None
        accepted.close()


def test_of_two_clients_only_the_one_that_is_accepted_knows_so(server: tuple[socket.socket, str]) -> None:
    listener, address = server
    with Caller(address) as first, Caller(address) as second:
        accepted = listener.accept()[0]
        # At a path it does not show which one it was.
        assert first.is_accepted() is not address.startswith("/")
        assert second.is_accepted() is False
        accepted.close()


@pytest.mark.parametrize("last_word", [b"", b"go away"])
def test_a_server_that_hangs_up_or_speaks_first_has_accepted(server: tuple[socket.socket, str], last_word: bytes) -> None:
    listener, address = server
    with Caller(address) as caller:
        accepted = listener.accept()[0]
        accepted.sendall(last_word)
        accepted.close()
        assert caller.is_accepted()


@pytest.mark.parametrize(
    ("answer", "is_answered"),
    [(b"HTTP/1.1 204 \r\n\r\n", True), (b"HTTP/1.1 200 \r\n\r\n" + b"x" * 500_000, True), (b"", False), (b"SSH-2.0", False), (b"HT", False)],
)
def test_a_request_is_answered_or_lost(server: tuple[socket.socket, str], answer: bytes, is_answered: bool) -> None:
    listener, address = server

    def serve() -> None:
        accepted = listener.accept()[0]
        assert accepted.recv(1 << 16).startswith(b"GET /health HTTP/1.1\r\nHost: ")
        with contextlib.suppress(OSError):
            accepted.sendall(answer)
        accepted.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with Caller(address) as caller:
        caller.ask("/health")
        listen_for_answers([caller], timeout=5)
        assert (caller.is_answered, caller.has_ended) == (is_answered, True)
    thread.join()


def test_nobody_waits_longer_than_he_is_told_to(server: tuple[socket.socket, str]) -> None:
    with Caller(server[1]) as caller:
        listen_for_answers([caller], timeout=0.05)
        assert (caller.is_answered, caller.has_ended) == (False, False)


@pytest.mark.parametrize("address", ["vsock:2:4000", "@abstract", "[fe80::1]:4000%eth0"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is nothing to connect to"):
        Caller(address)


def test_where_nobody_listens_there_is_nobody_to_connect_to(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Caller(str(tmp_path / "gone"))
