# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of each family that an app can listen on, and a client for them."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from guide import App

ASK = """
import socket, sys
where, port = sys.argv[1], int(sys.argv[2])
if where.startswith("/"):
    client = socket.socket(socket.AF_UNIX)
    client.connect(where)
else:
    client = socket.create_connection((where, port), timeout=60)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n")
print(client.makefile().readline().split()[1])
"""
# What app_listen has, and where clients find it.
FAMILIES: dict[str, t.Callable[[App], tuple[str, list[str]]]] = {
    "inet": lambda app: (f"127.0.0.1:{app.port}", ["127.0.0.1"]),
    "inet6": lambda app: (f"[::1]:{app.port}", ["::1"]),
    "both": lambda app: (str(app.port), ["127.0.0.1", "::1"]),
    "unix": lambda app: (f"/run/{app.name}.sock", [f"/run/{app.name}.sock"]),
}
# An app listens on addresses of IPv4 in everything else that is done to it.
CASES = [pytest.param(family, marks=[] if family == "unix" else pytest.mark.long) for family in FAMILIES]


def status(app: App, address: str) -> str:
    return str(app.host.check_output("python3 -c %s %s %s", ASK, address, str(app.port)))
