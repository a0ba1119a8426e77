# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy in front of an app that binds its own address: nobody is let through to nobody, and what is in hand ends well."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import sys
import typing as t
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/units/files/proxy.py"
SPEC = importlib.util.spec_from_file_location("proxy", PROGRAM)
assert SPEC
assert SPEC.loader
proxy = importlib.util.module_from_spec(SPEC)
sys.modules["proxy"] = proxy
SPEC.loader.exec_module(proxy)

# Each wait is for something that comes; this only ends a test that would hang.
AT_MOST = 20.0


class House:
    """The proxy between a held socket and an app that may be away."""

    def __init__(self, folder: Path, most: int) -> None:
        self.control = str(folder / "control")
        self.address = str(folder / "app")
        self.held = socket.create_server(("127.0.0.1", 0))
        self.held.setblocking(False)
        self.proxy = proxy.Proxy([self.held], self.address, most)
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.app: asyncio.AbstractServer | None = None
        self.admitting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await asyncio.start_unix_server(self.proxy.obey, self.control)
        self.admitting = asyncio.create_task(self.proxy.admit())

    async def start_app(self) -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.accepted.put((reader, writer))

        self.app = await asyncio.start_unix_server(take, self.address)

    def stop_app(self) -> None:
        assert self.app
        self.app.close()

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.held.getsockname())

    async def arrival(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self.accepted.get()

    async def tell(self, word: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, proxy.tell, self.control, word)

    async def answered_client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client with a kept connection, which has had one answer."""
        reader, writer = await self.client()
        writer.write(b"one")
        theirs, ours = await self.arrival()
        assert await theirs.readexactly(3) == b"one"
        ours.write(b"two")
        assert await reader.readexactly(3) == b"two"
        return reader, writer


def in_house(test: t.Callable[[House], t.Coroutine[t.Any, t.Any, None]], folder: Path, most: int = 10) -> None:
    async def run() -> None:
        house = House(folder, most)
        await house.open()
        await asyncio.wait_for(test(house), AT_MOST)
        assert house.admitting
        assert not house.admitting.done()

    asyncio.run(run())


async def is_let_through(house: House) -> bool:
    """Whether somebody comes to the app although nobody should, in as long as the proxy needs for many tries."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(house.arrival(), proxy.RETRY_SECONDS * 10)
        return True
    return False


def test_everything_arrives_in_both_directions(tmp_path: Path) -> None:
    much = bytes(range(256)) * 40_000

    async def test(house: House) -> None:
        await house.start_app()
        reader, writer = await house.client()
        theirs, ours = await house.arrival()
        for sender, receiver in ((writer, theirs), (ours, reader)):
            sender.write(much)
            assert await receiver.readexactly(len(much)) == much

    in_house(test, tmp_path)


def test_the_app_may_speak_first(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        reader, _writer = await house.client()
        _theirs, ours = await house.arrival()
        ours.write(b"hello")
        assert await reader.readexactly(5) == b"hello"

    in_house(test, tmp_path)


def test_a_client_with_nothing_more_to_say_still_gets_its_answer(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        reader, writer = await house.client()
        writer.write(b"all")
        writer.write_eof()
        theirs, ours = await house.arrival()
        assert await theirs.read() == b"all"
        ours.write(b"answer")
        ours.close()
        assert await reader.read() == b"answer"

    in_house(test, tmp_path)


def test_a_connection_that_the_app_closes_ends_whatever_the_client_does(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        reader, _writer = await house.client()
        _theirs, ours = await house.arrival()
        ours.close()
        assert await reader.read() == b""
        while house.proxy.connections:
            await asyncio.sleep(0.01)

    in_house(test, tmp_path)


def test_a_client_that_goes_takes_nothing_with_it(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        _reader, writer = await house.client()
        theirs, ours = await house.arrival()
        writer.transport.abort()
        assert await theirs.read() == b""
        ours.close()
        await house.answered_client()

    in_house(test, tmp_path)


def test_who_comes_while_the_app_is_away_waits_unaccepted(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        clients = [await house.client() for _number in range(3)]
        for _reader, writer in clients:
            writer.write(b"?")
        await asyncio.sleep(proxy.RETRY_SECONDS * 5)
        assert not house.proxy.connections
        await house.start_app()
        for _client in clients:
            theirs, ours = await house.arrival()
            assert await theirs.readexactly(1) == b"?"
            ours.write(b"!")
        assert [await reader.readexactly(1) for reader, _writer in clients] == [b"!"] * 3

    in_house(test, tmp_path)


def test_a_hold_lets_nobody_through_until_the_release(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        kept, to_kept = await house.answered_client()
        await house.tell("hold")
        await house.client()
        assert not await is_let_through(house)
        assert not kept.at_eof()
        await house.tell("release")
        await house.arrival()
        to_kept.write(b"more")

    in_house(test, tmp_path)


def test_a_hold_waits_for_those_who_were_let_through_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "FIRST_ANSWER_SECONDS", AT_MOST * 2)

    async def test(house: House) -> None:
        await house.start_app()
        reader, writer = await house.client()
        writer.write(b"?")
        _theirs, ours = await house.arrival()
        holding = asyncio.create_task(house.tell("hold"))
        await asyncio.sleep(proxy.RETRY_SECONDS * 5)
        assert not holding.done()
        ours.write(b"!")
        await holding
        assert await reader.readexactly(1) == b"!"

    in_house(test, tmp_path)


def test_a_hold_waits_for_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "FIRST_ANSWER_SECONDS", 0.1)

    async def test(house: House) -> None:
        await house.start_app()
        await house.client()  # and never says a word
        await house.arrival()
        await house.tell("hold")

    in_house(test, tmp_path)


def test_without_a_proxy_there_is_nobody_to_tell(tmp_path: Path) -> None:
    proxy.tell(str(tmp_path / "control"), "hold")


def test_more_connections_than_are_allowed_wait_for_one_to_end(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        await house.start_app()
        await house.client()
        await house.client()
        _theirs, ours = await house.arrival()
        assert not await is_let_through(house)
        ours.close()
        await house.arrival()

    in_house(test, tmp_path, most=1)


def test_a_stop_loses_nobody_and_waits_only_for_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "LINGER_SECONDS", 0.1)

    async def run() -> None:
        house = House(tmp_path, 10)
        await house.open()
        await house.start_app()
        kept, _writer = await house.answered_client()
        reader, writer = await house.client()
        writer.write(b"?")
        theirs, ours = await house.arrival()
        assert await theirs.readexactly(1) == b"?"
        assert house.admitting
        house.admitting.cancel()
        await asyncio.wait({house.admitting})
        waiting, to_waiting = await house.client()
        to_waiting.write(b"?")
        draining = asyncio.create_task(house.proxy.drain())
        assert await kept.read() == b""
        assert not draining.done()
        ours.write(b"late")
        assert await reader.readexactly(4) == b"late"
        await draining
        assert not await is_let_through(house)
        # Whoever came meanwhile is in the queue that systemd holds, for the next one.
        following = asyncio.create_task(house.proxy.admit())
        theirs, ours = await house.arrival()
        ours.write(b"!")
        assert await waiting.readexactly(1) == b"!"
        following.cancel()

    asyncio.run(asyncio.wait_for(run(), AT_MOST))


@pytest.mark.parametrize(
    ("address", "family", "place"),
    [
        ("/run/x.sock", socket.AF_UNIX, "/run/x.sock"),
        ("127.0.0.1:4001", socket.AF_INET, ("127.0.0.1", 4001)),
        ("[::1]:4001", socket.AF_INET6, ("::1", 4001)),
    ],
)
def test_addresses(address: str, family: int, place: t.Any) -> None:
    assert proxy.parse(address) == (family, place)


def test_a_connection_that_meets_itself_is_known() -> None:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        end.connect(end.getsockname())
        assert proxy.has_met_itself(end)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as end:
        assert not proxy.has_met_itself(end)


def test_the_wait_ends_with_the_app(tmp_path: Path) -> None:
    gone = 2**22 + 1  # above what the kernel gives
    with pytest.raises(SystemExit, match="ended before it accepted a connection on"):
        proxy.wait_for(str(tmp_path / "app"), gone)


def test_the_wait_ends_when_the_app_accepts(tmp_path: Path) -> None:
    with socket.create_server(str(tmp_path / "app"), family=socket.AF_UNIX):
        proxy.wait_for(str(tmp_path / "app"), 1)
