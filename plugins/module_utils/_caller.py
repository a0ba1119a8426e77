# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of an app that can tell whether the app has accepted it. Private to the collection.

What belongs here is one connection to one address. Which address, and what follows from what it sees, belongs to the callers.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _processes

ESTABLISHED = "01"
# How the kernel lists a connection to a path that nobody has accepted yet.
WAITS_AT_PATH = "02"
NOT_ACCEPTED = "0"
ANSWER = b"HTTP/"


class Caller:
    """A connection to an address as a socket unit names it; raises OSError if it cannot be made, ValueError if it is of another kind."""

    def __init__(self, address: str, *, timeout: float = 2) -> None:
        self.address = address
        # Set once an answer has begun; a connection that ended without one has `has_ended` alone.
        self.is_answered = False
        self.has_ended = False
        if address.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            try:
                self.socket.connect(address)
            except OSError:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection(_reachable(address), timeout)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def is_accepted(self) -> bool:
        """Whether the app has taken this connection out of the queue."""
        self.socket.settimeout(0)
        try:
            # An app that has said something, or hung up, had accepted it.
            self.socket.recv(1, socket.MSG_PEEK)
            return True
        except BlockingIOError:
            pass
        except OSError:
            return True
        if self.address.startswith("/"):
            # Which of them is this one does not show, so all must have been taken.
            return not any(row[5] == WAITS_AT_PATH for row in _processes.paths_table() if row[7:] == [self.address])
        own, theirs = self.socket.getsockname()[1], self.socket.getpeername()[1]
        ends = (row for row in _processes.ports_table("tcp") if (_port(row[1]), _port(row[2]), row[3]) == (theirs, own, ESTABLISHED))
        return any(row[9] != NOT_ACCEPTED for row in ends)

    def wait_until_accepted(self, timeout: float) -> float | None:
        """How long it takes from now until the app has accepted this connection; None if it is longer than `timeout` seconds."""
        began = time.monotonic()
        while not self.is_accepted():
            now = time.monotonic()
            if now - began > timeout:
                return None
            # A host with many connections takes its time to list them.
            time.sleep(max(0.005, time.monotonic() - now))
        return time.monotonic() - began

    def ask(self, path: str) -> None:
        """Sends one whole request."""
        host = "localhost" if self.address.startswith("/") else self.address
        self.socket.settimeout(2)
        with contextlib.suppress(OSError):  # what came of it shows when the answer is read
            self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: holdfast-doctor\r\nConnection: close\r\n\r\n".encode())


def listen_for_answers(callers: t.Iterable[Caller], *, timeout: float) -> None:
    """Reads what comes until every connection has ended, or for `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            if not caller.has_ended:
                caller.socket.setblocking(False)
                selector.register(caller.socket, selectors.EVENT_READ, (caller, bytearray()))
        while selector.get_map() and time.monotonic() < deadline:
            for key, _events in selector.select(max(0, deadline - time.monotonic())):
                caller, begun = key.data
                if not _read(caller, begun):
                    caller.has_ended = True
                    selector.unregister(key.fileobj)


def _read(caller: Caller, begun: bytearray) -> bool:
    try:
        data = caller.socket.recv(1 << 16)
    except BlockingIOError:
        return True
    except OSError:
        return False
    begun += data[: len(ANSWER) - len(begun)]
    caller.is_answered = caller.is_answered or bytes(begun) == ANSWER
    return bool(data)


def _reachable(address: str) -> tuple[str, int]:
    found = _processes.PORT.match(address)
    if not found:
        raise ValueError(f"{address} is nothing to connect to")
    host = (found["host"] or "[::]").strip("[]")
    if host == "::":
        # It takes clients of both families, and a host may lack the address of one.
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return "::1", int(found["port"])
    return {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host), int(found["port"])  # noqa: S104


def _port(local: str) -> int:
    return int(local.rpartition(":")[2], 16)
