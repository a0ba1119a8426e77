# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes connections from the sockets that systemd holds on to an app that binds an address of its own.

    proxy.py serve CONTROL ADDRESS CONNECTIONS   does so, at most for so many connections at once
    proxy.py hold CONTROL                        lets clients wait from now on, for the app is about to stop
    proxy.py release CONTROL ADDRESS             lets them through, as soon as the app accepts connections

CONTROL is the Unix socket on which the first is told what the others are for.
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

BLOCK = 1 << 16
RETRY_SECONDS = 0.02
# How long a hold waits for the first word of the app to those who have just been let through.
FIRST_ANSWER_SECONDS = 1.0
# How long a kept connection that has had its answer stays open once the proxy is to stop.
LINGER_SECONDS = 1.0


class Connection:
    """A client's connection, and the one to the app that belongs to it."""

    def __init__(self, client: socket.socket, app: socket.socket) -> None:
        self.client = client
        self.app = app
        self.is_answered = False
        # Since when the app owes nothing; None while it does.
        self.quiet_since: float | None = None
        self.task: asyncio.Task[None] = asyncio.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        upload = asyncio.create_task(self._upload())
        try:
            # Once the app has closed, nobody would read what the client might still send.
            await self._download()
        finally:
            upload.cancel()
            # The event loop must have forgotten the sockets before their numbers are used again.
            await asyncio.wait({upload})
            self.client.close()
            self.app.close()

    async def _upload(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while block := await loop.sock_recv(self.client, BLOCK):
                self.quiet_since = None
                await loop.sock_sendall(self.app, block)
        # A client may have nothing more to say and still wait for the answer.
        with contextlib.suppress(OSError):
            self.app.shutdown(socket.SHUT_WR)

    async def _download(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while block := await loop.sock_recv(self.app, BLOCK):
                await loop.sock_sendall(self.client, block)
                self.is_answered, self.quiet_since = True, loop.time()


class Proxy:
    """Accepts a client only once the app has accepted a connection for it. Until then the client waits in systemd's queue."""

    def __init__(self, listeners: t.Sequence[socket.socket], address: str, most: int) -> None:
        self.listeners = listeners
        self.address = address
        self.connections: set[Connection] = set()
        self._room = asyncio.Semaphore(most)
        self._released = asyncio.Event()
        self._released.set()
        self._is_admitting = False

    async def admit(self) -> None:
        """Lets one client after the other through, until it is cancelled, which loses none."""
        while True:
            await self._room.acquire()
            listener = await self._someone_waits()
            app = await self._reach()
            try:
                client, _peer = listener.accept()
            except OSError as error:
                app.close()
                self._room.release()
                self._is_admitting = False
                if not isinstance(error, (BlockingIOError, ConnectionError)):
                    raise
                continue
            self._start(client, app)

    def _start(self, client: socket.socket, app: socket.socket) -> None:
        for end in (client, app):
            end.setblocking(False)
            if end.family != socket.AF_UNIX:
                # What arrives has been gathered into blocks once already.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, app)
        self.connections.add(connection)
        connection.task.add_done_callback(lambda _task: self._end(connection))
        self._is_admitting = False

    def _end(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._room.release()

    async def _someone_waits(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[socket.socket] = loop.create_future()

        def tell(listener: socket.socket) -> None:
            if not found.done():
                found.set_result(listener)

        for listener in self.listeners:
            loop.add_reader(listener, tell, listener)
        try:
            return await found
        finally:
            for listener in self.listeners:
                loop.remove_reader(listener)

    async def _reach(self) -> socket.socket:
        """A connection to the app, however long that is away."""
        while True:
            await self._released.wait()
            self._is_admitting = True
            try:
                return await self._connect()
            except OSError:
                self._is_admitting = False
                await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self) -> socket.socket:
        family, place = parse(self.address)
        app = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if family == socket.AF_UNIX:
                app.connect(place)  # done at once, or refused as long as the app's queue is full
            else:
                await asyncio.get_running_loop().sock_connect(app, place)
            if has_met_itself(app):
                raise ConnectionRefusedError
        except BaseException:
            app.close()
            raise
        return app

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Does what a caller wants, and hangs up when it is done."""
        if await reader.readline() == b"hold\n":
            self._released.clear()
            await self._all_are_answered()
        else:
            self._released.set()
        writer.close()

    async def _all_are_answered(self) -> None:
        """Those who were let through last may still wait in the app's own queue, which ends with the app."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIRST_ANSWER_SECONDS
        while (self._is_admitting or not all(connection.is_answered for connection in self.connections)) and loop.time() < deadline:
            await asyncio.sleep(RETRY_SECONDS)

    async def drain(self) -> None:
        """Waits until all connections have ended, and ends those that only are kept."""
        now = asyncio.get_running_loop().time
        while self.connections:
            for connection in self.connections:
                if connection.quiet_since is not None and now() - connection.quiet_since > LINGER_SECONDS:
                    connection.task.cancel()
            await asyncio.sleep(RETRY_SECONDS)


def parse(address: str) -> tuple[socket.AddressFamily, t.Any]:
    """An address as in app_proxy_to, as a socket takes it."""
    if address.startswith("/"):
        return socket.AF_UNIX, address
    host, _colon, port = address.rpartition(":")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host.strip("[]"), int(port))


def has_met_itself(end: socket.socket) -> bool:
    """Whether a connection to a port on which nobody listens has got this very port as its own, which the kernel then connects to itself."""
    return end.family != socket.AF_UNIX and end.getsockname() == end.getpeername()


async def serve(control: str, address: str, most: str) -> None:
    listeners = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
    proxy = Proxy(listeners, address, int(most))
    await asyncio.start_unix_server(proxy.obey, control)
    admitting = asyncio.create_task(proxy.admit())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, admitting.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await admitting
    await proxy.drain()


def tell(control: str, word: str) -> None:
    """Has the proxy do something, and waits until that is done."""
    with socket.socket(socket.AF_UNIX) as proxy:
        try:
            proxy.connect(control)
        except (FileNotFoundError, ConnectionRefusedError):
            return  # there is none, so nobody is let through
        proxy.sendall(f"{word}\n".encode())
        proxy.recv(1)


def wait_for(address: str, process: int) -> None:
    """Waits until the app accepts connections; systemd's own timeout ends this. Gives up when the app's process has ended."""
    family, place = parse(address)
    while True:
        with contextlib.suppress(OSError), socket.socket(family) as app:
            app.connect(place)
            if not has_met_itself(app):
                return
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            sys.exit(f"the app has ended before it accepted a connection on {address}")
        except PermissionError:
            pass  # it runs as somebody else, and it runs
        time.sleep(RETRY_SECONDS)


def main() -> None:
    verb, control, *rest = sys.argv[1:]
    if verb == "serve":
        asyncio.run(serve(control, *rest))
    elif verb == "hold":
        tell(control, "hold")
    else:
        wait_for(rest[0], int(os.environ["MAINPID"]))
        tell(control, "release")


if __name__ == "__main__":
    main()
