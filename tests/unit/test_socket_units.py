# SPDX-License-Identifier: GPL-3.0-or-later
"""app_listen becomes socket units, or is refused with the entry that is wrong."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.filter.socket_units import socket_units


def sockets(entries: t.Any) -> dict[str, dict[str, t.Any]]:
    return {unit["name"]: unit["sections"]["Socket"] for unit in socket_units(entries, "shop", user="me", group="us")}


OWNER = {"SocketUser": "me", "SocketGroup": "us", "SocketMode": "0660"}


@pytest.mark.parametrize(
    ("entries", "units"),
    [
        (["127.0.0.1:4000"], {"shop.socket": {"ListenStream": ["127.0.0.1:4000"]}}),
        ([4000], {"shop.socket": {"ListenStream": ["4000"]}}),
        (4000, {"shop.socket": {"ListenStream": ["4000"]}}),
        (["[::1]:65535", "/run/shop.sock"], {"shop.socket": {"ListenStream": ["[::1]:65535", "/run/shop.sock"], **OWNER}}),
        ([{"listen": 1, "type": "datagram"}, "2"], {"shop.socket": {"ListenDatagram": ["1"], "ListenStream": ["2"]}}),
        ([53, {"listen": 53, "type": "datagram"}], {"shop.socket": {"ListenStream": ["53"], "ListenDatagram": ["53"]}}),
        ([{"listen": 1, "name": "web"}, 2], {"shop.socket": {"ListenStream": ["1", "2"], "FileDescriptorName": "web"}}),
        (
            [{"listen": "/run/a", "type": "sequential", "name": "web", "user": "www", "mode": "0600"}],
            {"shop.socket": {"ListenSequentialPacket": ["/run/a"], "FileDescriptorName": "web", **OWNER, "SocketUser": "www", "SocketMode": "0600"}},
        ),
        (
            [{"listen": "1", "name": "web"}, {"listen": "2", "name": "web"}, {"listen": "3", "name": "admin"}],
            {
                "shop.socket": {"ListenStream": ["1", "2"], "FileDescriptorName": "web"},
                "shop-admin.socket": {"ListenStream": ["3"], "FileDescriptorName": "admin"},
            },
        ),
        (
            [1, {"listen": "/run/a", "name": "a", "group": "www"}, 2],
            {
                "shop.socket": {"ListenStream": ["1", "2"]},
                "shop-a.socket": {"ListenStream": ["/run/a"], "FileDescriptorName": "a", **OWNER, "SocketGroup": "www"},
            },
        ),
    ],
)
def test_addresses_become_socket_units(entries: t.Any, units: dict[str, t.Any]) -> None:
    assert sockets(entries) == units


@pytest.mark.parametrize(
    "entry",
    [
        *["70000", 0, -1, 65536, "127.0.0.1", "127.0.0.1:", ":80", "", " 80", "80 ", "80\nUser=root", "²", True, None, 1.5],
        *["notanip:80", "256.1.1.1:80", "127.1:80", "::1:80", "[::1]", "[127.0.0.1]:80", "relative/path", "/run/a b", "/run/" + "a" * 103],
        *[["80"], {"port": 80}, {"listen": 80, "typ": "stream"}, {"listen": 80, "type": "raw"}, {"listen": 80, "mode": "0600"}],
        *[{"listen": 80, "name": "a.b"}, {"listen": "/a", "mode": "rw"}, {"listen": "/a", "mode": 0o660}, {"listen": "/a", "mode": 660}],
    ],
)
def test_what_is_no_address_is_refused_by_its_variable(entry: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="app_listen"):
        sockets([entry])


OWN = {"listen": "/a", "mode": "0600"}


@pytest.mark.parametrize("entries", [[], None, {"listen": 80}, ["80", "80"], ["/a", {"listen": "/a", "type": "datagram"}], ["/b", OWN]])
def test_a_list_that_cannot_be_socket_units_is_refused(entries: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="app_listen"):
        sockets(entries)
