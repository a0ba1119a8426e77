# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks over a websocket to the port that is the first argument, before and after the commands that are the second one.

It runs on the test host, and prints whether the websocket was kept or closed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import websocket

SECONDS_TO_TAKE_EFFECT = 0.5
MASK = b"mask"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether what is said comes back."""
    try:
        writer.write(websocket.frame(websocket.TEXT, b"hello", MASK))
        kind, data = await asyncio.wait_for(websocket.read(reader), 20)
    except (OSError, asyncio.IncompleteReadError):
        return False
    return kind == websocket.TEXT and data.endswith(b" hello")


async def main() -> None:
    port, commands = sys.argv[1:]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(websocket.request("c2hvcC5leGFtcGxlLmNvbQ=="))
    await reader.readuntil(b"\r\n\r\n")
    if not await echo(reader, writer):
        sys.exit("the websocket does not work to begin with")
    subprocess.run(["sh", "-ec", commands], check=True, stdout=subprocess.DEVNULL)
    await asyncio.sleep(SECONDS_TO_TAKE_EFFECT)
    print("kept" if await echo(reader, writer) else "closed")
    writer.close()


asyncio.run(main())
