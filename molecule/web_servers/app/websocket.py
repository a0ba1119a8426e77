# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the websocket protocol (RFC 6455) as the app and its clients need: short messages, each in one frame."""

from __future__ import annotations

import base64
import hashlib
import typing as t

if t.TYPE_CHECKING:
    import asyncio

TEXT, CLOSE = 1, 8
NORMAL, GOING_AWAY = 1000, 1001
FINAL = MASKED = 0x80
SHORTEST_OF_LONG = 126
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str:
    """What the server answers to the key of a client."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def request(key: str) -> bytes:
    """With what a client begins."""
    return (
        "GET /talk HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def frame(kind: int, data: bytes, mask: bytes = b"") -> bytes:
    """A frame; those of clients are masked, with four bytes."""
    if len(data) >= SHORTEST_OF_LONG:
        raise ValueError("only short messages are known here")
    return bytes([FINAL | kind, (MASKED if mask else 0) | len(data)]) + mask + _masked(data, mask)


def close_frame(code: int, mask: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"), mask)


async def read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The kind of the next frame, and its data."""
    first, second = await reader.readexactly(2)
    if second & ~MASKED >= SHORTEST_OF_LONG:
        raise ValueError("only short messages are known here")
    mask = await reader.readexactly(4) if second & MASKED else b""
    return first & 0x0F, _masked(await reader.readexactly(second & ~MASKED), mask)


def _masked(data: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[place % len(mask)] for place, byte in enumerate(data)) if mask else data
