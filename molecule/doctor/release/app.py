# SPDX-License-Identifier: GPL-3.0-or-later
"""An app in several makes, each well by itself, and on request with one fault. It serves what systemd passes.

DOCTORED_MAKE   asyncio (the default), threads (one for each client), or workers (processes that wait with select(), as gunicorn's do)
DOCTORED_FAULT  backlog       calls listen() with 5
                own-port      leaves the sockets alone and binds DOCTORED_PORT
                reuse-port    serves the sockets, and opens DOCTORED_PORT twice beside
                early-ready   says READY=1 a second before it takes connections
                no-handler    does not catch SIGTERM
                ignores       ignores SIGTERM
                cuts-off      ends at once on SIGTERM, whatever it has in hand
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import select
import signal
import socket
import sys
import threading
import time
import typing as t

FAULT, PORT = os.environ.get("DOCTORED_FAULT", ""), int(os.environ.get("DOCTORED_PORT", "0"))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
REQUEST_SECONDS = 0.02


def given() -> list[socket.socket]:
    # Also behind a wrapper, whose number is not this one.
    return [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]


def ready() -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(b"READY=1")


def own(*, reuse: bool = False) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", PORT))
    found.listen(4096)
    return found


class Asyncio:
    """One process, one loop."""

    def __init__(self) -> None:
        self.hands: set[t.Any] = set()
        self.end = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hands.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(REQUEST_SECONDS)
            writer.write(ANSWER)
            await writer.drain()
        writer.close()
        self.hands.discard(writer)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        if FAULT == "ignores":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif FAULT == "cuts-off":
            loop.add_signal_handler(signal.SIGTERM, os._exit, 0)
        elif FAULT != "no-handler":
            loop.add_signal_handler(signal.SIGTERM, self.end.set)
        if FAULT == "early-ready":
            ready()
            time.sleep(1)
        sockets = [own()] if FAULT == "own-port" else given()
        beside = [own(reuse=True), own(reuse=True)] if FAULT == "reuse-port" else []
        backlog = 5 if FAULT == "backlog" else 4096
        start = {socket.AF_UNIX: asyncio.start_unix_server}
        servers = [await start.get(one.family, asyncio.start_server)(self.answer, sock=one, backlog=backlog) for one in [*sockets, *beside]]
        ready()
        await self.end.wait()
        for server in servers:
            server.close()
        # Who has connected at the last moment has not been heard yet.
        await asyncio.sleep(0.2)
        deadline = time.monotonic() + 5
        while self.hands and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(REQUEST_SECONDS)
        self.wfile.write(ANSWER)

    def address_string(self) -> str:
        return "-"

    def log_message(self, *words: t.Any) -> None:
        pass


class Threads(http.server.ThreadingHTTPServer):
    """One process, a thread for each client."""

    daemon_threads = False

    def __init__(self, found: socket.socket) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = found


def threads() -> None:
    servers = [Threads(found) for found in given()]
    serving = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    for thread in serving:
        thread.start()
    ready()
    end.wait()
    for server in servers:
        server.shutdown()
        server.server_close()


def workers() -> None:
    sockets = given()
    found = [pid for pid in (os.fork() for _number in range(2)) if pid]
    if len(found) < 2:
        return work(sockets)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    ready()
    for pid in found:
        os.waitpid(pid, 0)
    return None


def work(sockets: list[socket.socket]) -> None:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    while not told:
        for found in select.select(sockets, [], [], 0.05)[0]:
            with contextlib.suppress(OSError):
                client = found.accept()[0]
                client.settimeout(5)
                if client.recv(1 << 16):
                    time.sleep(REQUEST_SECONDS)
                    client.sendall(ANSWER)
                client.close()
    os._exit(0)


async def serve() -> None:
    await Asyncio().run()


if sys.argv[1:] == ["fork"] and os.fork():
    sys.exit()
{"threads": threads, "workers": workers}.get(os.environ.get("DOCTORED_MAKE", ""), lambda: asyncio.run(serve()))()
