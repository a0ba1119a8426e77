# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of web servers, each of which listens on one of the ports that are the arguments. They run on the test host.

Each web server is asked 5 times a second, whether or not it has answered: by turns with GET and with POST, over a new
connection and over one that is kept; and one websocket talks to it all the time, and comes back when it is closed. On SIGTERM
they wait for what is still to come. Each line that is printed says in JSON what became of one request or message.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import sys
import time
import typing as t

import websocket

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PAUSE = 0.2


def tell(port: int, what: str, began: float, **more: t.Any) -> None:
    print(json.dumps({"port": port, "what": what, "began": began, "ended": time.time(), **more}), flush=True)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status of an answer, and its headers."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}


class Client:
    """Asks one web server, as many browsers would."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.has_enough = asyncio.Event()
        self.kept: list[Stream] = []

    async def run(self) -> None:
        websockets = asyncio.create_task(self.keep_talking())
        asked = []
        for method, keep in itertools.cycle(itertools.product(("GET", "POST"), (False, True))):
            if self.has_enough.is_set():
                break
            asked.append(asyncio.create_task(self.ask(method, keep=keep)))
            await asyncio.sleep(PAUSE)
        await asyncio.gather(websockets, *asked)

    async def ask(self, method: str, *, keep: bool) -> None:
        began, seen = time.time(), {"method": method, "keep": keep, "status": "lost", "release": "", "number": 0}
        try:
            reader, writer = await self.kept_or_new() if keep else await self.new()
            how = "" if keep else "Connection: close\r\n"
            body = "Content-Length: 5\r\n\r\norder" if method == "POST" else "\r\n"
            writer.write(f"{method} / HTTP/1.1\r\nHost: shop.example.com\r\n{how}{body}".encode())
            status, headers = await read_head(reader)
            await reader.readexactly(int(headers.get("content-length", "0")))
            seen.update(status=str(status), release=headers.get("x-release", ""), number=int(headers.get("x-request-number", "0")))
            if keep and headers.get("connection", "").lower() != "close":
                self.kept.append((reader, writer))
            else:
                writer.close()
        except ConnectionRefusedError:
            seen["status"] = "refused"
        except (OSError, asyncio.IncompleteReadError):
            pass
        tell(self.port, "request", began, **seen)

    async def new(self) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def kept_or_new(self) -> Stream:
        while self.kept:
            reader, writer = self.kept.pop()
            # Unless the web server has closed it meanwhile.
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await self.new()

    async def keep_talking(self) -> None:
        while not self.has_enough.is_set():
            began = time.time()
            try:
                reader, writer = await self.new()
                try:
                    await self.talk(reader, writer, began)
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                tell(self.port, "cut", began, error=repr(error))
                await asyncio.sleep(PAUSE)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(websocket.request(key))
        status, headers = await read_head(reader)
        tell(self.port, "upgrade", began, status=str(status), accepted=headers.get("sec-websocket-accept") == websocket.accept_key(key))
        if status != 101:
            await asyncio.sleep(PAUSE)
            return
        for number in itertools.count():
            said = time.time()
            over = self.has_enough.is_set()
            mask = os.urandom(4)
            writer.write(websocket.close_frame(websocket.NORMAL, mask) if over else websocket.frame(websocket.TEXT, str(number).encode(), mask))
            kind, data = await websocket.read(reader)
            if kind == websocket.CLOSE:
                tell(self.port, "closed", said, code=int.from_bytes(data, "big"))
                if not over:
                    with contextlib.suppress(OSError):
                        writer.write(websocket.frame(websocket.CLOSE, data, mask))
                        await writer.drain()
                return
            release, doing, echo = data.decode().split(" ")
            tell(self.port, "echo", said, release=release, doing=doing, right=echo == str(number))
            await asyncio.sleep(PAUSE)


async def main() -> None:
    clients = [Client(int(port)) for port in sys.argv[1:]]

    def end() -> None:
        for client in clients:
            client.has_enough.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    await asyncio.gather(*(client.run() for client in clients))


asyncio.run(main())
