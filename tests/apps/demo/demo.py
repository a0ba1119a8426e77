# SPDX-License-Identifier: GPL-3.0-or-later
"""A well-behaved HTTP server, and on request a badly behaved one.

It serves the sockets that systemd passes (or binds PORT, a number or a path, where there are none), keeps
connections alive, says READY=1 when it serves and WATCHDOG=1 while it does, and drains on SIGTERM: whoever is connected gets an answer.
On SIGHUP it does the same and then becomes the release that `current` leads to. The release that answers stands in the
header X-Release and in the body. /run?PROGRAM answers what a program of the release prints, and /hang never does:
nothing else is done from then on.

Settings come from the environment; a file demo.env in the release's folder overrides it, so that one
release can misbehave beside another that does not:

DEMO_START_SECONDS   time to start up, before READY=1 (0)
DEMO_REQUEST_SECONDS time to answer one request (0.005); /slow?SECONDS takes as long as it says
                     and then loads code that nothing has loaded before
DEMO_LINGER_SECONDS  how long an idle connection is kept during the drain (1)
DEMO_BACKLOG         calls listen() with this number, as many servers do (unset: leaves the socket alone)
DEMO_STATUS          the status of every answer (200)
DEMO_RELEASE         the release to claim (the name of the folder it runs in)
DEMO_FLAG            a file that makes it end, as SIGTERM does, once it is there (unset: none)
DEMO_FAULT           exit-at-start, never-ready, crash-after-ready (DEMO_CRASH_SECONDS later), ignore-sigterm
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path


def settings() -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name.startswith("DEMO_")}
    override = Path("demo.env")
    if override.exists():
        values.update(line.split("=", 1) for line in override.read_text().splitlines() if "=" in line)
    return values


def listeners() -> list[socket.socket]:
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
    port = os.environ.get("PORT", "4000")
    if not port.startswith("/"):
        return [socket.create_server(("127.0.0.1", int(port)), backlog=4096)]
    Path(port).unlink(missing_ok=True)
    return [socket.create_server(port, family=socket.AF_UNIX, backlog=4096)]


def notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(state.encode())


async def run(program: str) -> bytes:
    process = await asyncio.create_subprocess_exec(program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    return (await process.communicate())[0]


class Connection:
    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server = server
        self.idle = True
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self.serve(accepted))
        self.task.add_done_callback(lambda _task: server.forget(self))

    async def serve(self, accepted: socket.socket) -> None:
        reader, self.writer = await asyncio.open_connection(sock=accepted)
        try:
            while await self.answer(reader, self.writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone, which is its right between two requests
        finally:
            self.writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.idle = True
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.idle = False
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        await reader.readexactly(int(headers.get("content-length", "0")))
        path = request.split(" ")[1]
        slow = path.startswith("/slow?")
        await asyncio.sleep(float(path.partition("?")[2]) if slow else self.server.request_seconds)
        # As apps do that load code late, when the link may long lead elsewhere.
        lazy = f"X-Lazy: {os.path.realpath(importlib.import_module('lazy').PLACE)}\r\n" if slow else ""
        keep = headers.get("connection", "").lower() != "close" and not self.server.draining
        if path == "/hang":
            notify("STATUS=hanging")
            time.sleep(3600)
        body = await run(path.partition("?")[2]) if path.startswith("/run?") else f"release {self.server.release}\n".encode()
        head = (
            f"HTTP/1.1 {self.server.status} \r\nX-Release: {self.server.release}\r\nX-Pid: {os.getpid()}\r\n{lazy}"
            f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return keep

    def close_if_idle(self) -> None:
        if not self.idle or not self.writer or self.writer.is_closing():
            return
        # A request that has arrived and that nobody has read yet is in hand too. select() cannot look at the thousandth file.
        arrived = select.poll()
        arrived.register(self.writer.get_extra_info("socket"), select.POLLIN)
        if not arrived.poll(0):
            self.writer.close()


class Server:
    def __init__(self, config: dict[str, str]) -> None:
        self.config = config
        self.fault = config.get("DEMO_FAULT", "")
        self.request_seconds = float(config.get("DEMO_REQUEST_SECONDS", "0.005"))
        self.status = config.get("DEMO_STATUS", "200")
        self.release = config.get("DEMO_RELEASE", Path.cwd().name)
        self.listeners = listeners()
        self.connections: set[Connection] = set()
        self.draining = False
        self.reloading = False
        self.finished = asyncio.Event()

    def accept(self, listener: socket.socket) -> None:
        # From here on the client counts on an answer, so the drain counts from here and not from the
        # moment in which the handler starts.
        while True:
            try:
                accepted, _address = listener.accept()
            except BlockingIOError:
                return
            accepted.setblocking(False)
            self.connections.add(Connection(self, accepted))

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.finish_when_empty()

    def look_for_flag(self, flag: Path) -> None:
        if flag.exists():
            flag.unlink()
            self.drain()
        else:
            asyncio.get_running_loop().call_later(0.1, self.look_for_flag, flag)

    def finish_when_empty(self) -> None:
        if self.draining and not self.connections:
            self.finished.set()

    def say_that_it_is_alive(self, seconds: float) -> None:
        notify("WATCHDOG=1")
        asyncio.get_running_loop().call_later(seconds, self.say_that_it_is_alive, seconds)

    def reload(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self.reloading = True
        self.drain()

    def drain(self) -> None:
        if not self.reloading:
            notify("STOPPING=1")
        self.draining = True
        loop = asyncio.get_running_loop()
        for listener in self.listeners:
            loop.remove_reader(listener)
            if not self.reloading:
                listener.close()
        # A client may just be sending on a connection that looks idle; it is answered and told to close.
        loop.call_later(float(self.config.get("DEMO_LINGER_SECONDS", "1")), lambda: self.close_idle(list(self.connections)))
        self.finish_when_empty()

    def close_idle(self, connections: list[Connection]) -> None:
        # One at a time: the loop closes what it is told to in its next round, and until then a request may still come. A
        # timer has its turn after what was read in a round, and what it asks for comes after the handlers of that.
        if connections:
            asyncio.get_running_loop().call_soon(connections.pop().close_if_idle)
            asyncio.get_running_loop().call_later(0, self.close_idle, connections)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        if self.fault != "ignore-sigterm":
            loop.add_signal_handler(signal.SIGTERM, self.drain)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        for listener in self.listeners:
            listener.setblocking(False)
            if "DEMO_BACKLOG" in self.config:
                listener.listen(int(self.config["DEMO_BACKLOG"]))
            loop.add_reader(listener, self.accept, listener)
        if "DEMO_FLAG" in self.config:
            self.look_for_flag(Path(self.config["DEMO_FLAG"]))
        if self.fault != "never-ready":
            notify(f"READY=1\nSTATUS=serving release {self.release}")
        if "WATCHDOG_USEC" in os.environ:
            self.say_that_it_is_alive(int(os.environ["WATCHDOG_USEC"]) / 1e6 / 4)
        if self.fault == "crash-after-ready":
            loop.call_later(float(self.config.get("DEMO_CRASH_SECONDS", "0.5")), os._exit, 1)
        await self.finished.wait()
        if self.reloading:
            os.chdir(Path.cwd().parents[1] / "current")
            os.execv(sys.executable, [sys.executable, str(Path.cwd() / "demo.py")])


async def main() -> None:
    config = settings()
    if config.get("DEMO_FAULT") == "exit-at-start":
        sys.exit("demo: this release is broken and stops at once")
    time.sleep(float(config.get("DEMO_START_SECONDS", "0")))
    await Server(config).run()


asyncio.run(main())
