# SPDX-License-Identifier: GPL-3.0-or-later
"""An app for a web server to stand in front of, on the socket that systemd passes.

It keeps connections alive, talks to websockets, and drains as apps do: on SIGTERM it closes what is idle at once,
whether or not a request is just on its way there. It goes on with its websockets for WEBSOCKET_SECONDS and then closes
them with 1001. It needs START_SECONDS to start, and ends at once where a file `broken` lies beside it. An answer takes
ANSWER_SECONDS, so that there is always one in hand.

Each answer says in X-Release which release it is of, in X-Request-Number the how manieth it is on its connection, and in
X-Hung-Up how often this process has done what /hang-up asks for: to close a kept connection instead of answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import typing as t
from pathlib import Path

import websocket

# A connection that was opened for a request that has not come yet. Some clients open one more than they need.
SECONDS_FOR_THE_FIRST_REQUEST = 1
SECONDS_TO_SAY_GOODBYE = 1


def notify(state: str) -> None:
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.send(state.encode())


class Connection:
    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server = server
        self.requests = 0
        self.is_idle = True
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self.serve(accepted))
        self.task.add_done_callback(lambda _task: server.forget(self))

    async def serve(self, accepted: socket.socket) -> None:
        reader, self.writer = await asyncio.open_connection(sock=accepted)
        # The other side may go whenever it likes.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self.answer(reader, self.writer):
                pass
        self.writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request, and says whether there may be another one."""
        self.is_idle = True
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.is_idle = False
        self.requests += 1
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("upgrade", "").lower() == "websocket":
            await self.talk(reader, writer, headers["sec-websocket-key"])
            return False
        if request.split(" ")[1] != "/hang-up":
            await asyncio.sleep(float(os.environ["ANSWER_SECONDS"]))
        elif self.requests > 1:
            self.server.hung_up += 1
            return False
        keep = headers.get("connection", "").lower() != "close" and not self.server.is_draining
        body = f"release {self.server.release}\n".encode()
        head = (
            f"HTTP/1.1 200 OK\r\nX-Release: {self.server.release}\r\nX-Request-Number: {self.requests}\r\nX-Hung-Up: {self.server.hung_up}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return keep

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        """Says each message again, and what the app is doing, until one of the two sides has enough."""
        head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {websocket.accept_key(key)}\r\n\r\n"
        writer.write(head.encode())
        while not self.server.has_talked_enough.is_set():
            said = await self.server.unless_enough(websocket.read(reader))
            if said is None:
                break
            kind, data = said
            if kind == websocket.CLOSE:
                writer.write(websocket.frame(websocket.CLOSE, data))
                return
            doing = "draining" if self.server.is_draining else "serving"
            writer.write(websocket.frame(websocket.TEXT, f"{self.server.release} {doing} ".encode() + data))
        writer.write(websocket.close_frame(websocket.GOING_AWAY))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_until_the_end(reader), SECONDS_TO_SAY_GOODBYE)

    def close_if_idle(self, *, had: int) -> None:
        """Closes it between two requests, if it has had this many."""
        if self.is_idle and self.requests >= had and self.writer:
            self.writer.close()


async def _until_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


class Server:
    def __init__(self) -> None:
        self.release = Path.cwd().name
        self.hung_up = 0
        self.is_draining = False
        self.listeners = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
        self.connections: set[Connection] = set()
        self.has_talked_enough = asyncio.Event()
        self.has_ended = asyncio.Event()

    def accept(self, listener: socket.socket) -> None:
        # The drain counts from here, and not from the moment in which a request has arrived.
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted = listener.accept()[0]
                accepted.setblocking(False)
                self.connections.add(Connection(self, accepted))

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.end_when_empty()

    def end_when_empty(self) -> None:
        if self.is_draining and not self.connections:
            self.has_ended.set()

    def drain(self) -> None:
        notify("STOPPING=1")
        self.is_draining = True
        loop = asyncio.get_running_loop()
        for listener in self.listeners:
            loop.remove_reader(listener)
            listener.close()
        self.close_idle(had=1)
        loop.call_later(SECONDS_FOR_THE_FIRST_REQUEST, lambda: self.close_idle(had=0))
        loop.call_later(float(os.environ["WEBSOCKET_SECONDS"]), self.has_talked_enough.set)
        self.end_when_empty()

    def close_idle(self, *, had: int) -> None:
        for connection in self.connections:
            connection.close_if_idle(had=had)

    async def unless_enough(self, coming: t.Coroutine[t.Any, t.Any, tuple[int, bytes]]) -> tuple[int, bytes] | None:
        """What a websocket says, or nothing once it is told to go."""
        message, enough = asyncio.create_task(coming), asyncio.create_task(self.has_talked_enough.wait())
        try:
            await asyncio.wait({message, enough}, return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else None
        finally:
            message.cancel()
            enough.cancel()
            await asyncio.gather(message, enough, return_exceptions=True)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        for listener in self.listeners:
            listener.setblocking(False)
            loop.add_reader(listener, self.accept, listener)
        notify(f"READY=1\nSTATUS=serving release {self.release}")
        await self.has_ended.wait()


async def main() -> None:
    await Server().run()


if Path("broken").exists():
    sys.exit("this release is broken and stops at once")
time.sleep(float(os.environ["START_SECONDS"]))
asyncio.run(main())
