# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: listen_environment
version_added: 1.0.0
short_description: What an app can be told of its sockets
author: The holdfast.systemd developers (@holdfast)
description:
  - The families of the sockets that systemd passes, and the port of the first one that is of TCP.
  - systemd passes the sockets of one unit in their order there. The order of several units is nobody's, so their families are also told by
    the names that the process finds in C(LISTEN_FDNAMES).
options:
  _input:
    description: The socket units, as P(holdfast.systemd.socket_units#filter) makes them.
    type: list
    elements: dict
    required: true
  _options:
    description: Further directives of each C([Socket]), which win.
    type: dict
  proxy_to:
    description: The address that the app binds instead, behind a proxy. Then it gets no socket.
    type: str
"""

EXAMPLES = r"""
- name: Show what an app is told
  ansible.builtin.debug:
    msg: "{{ [4000, '/run/shop.sock'] | holdfast.systemd.socket_units('shop') | holdfast.systemd.listen_environment }}"
"""

RETURN = r"""
_value:
  description: What the app is told.
  type: dict
  contains:
    variables:
      description: Environment variables. C(APP_LISTEN_FAMILY) has a word for each socket, C(inet), C(inet6) or C(unix), with C(:) between them.
      type: dict
      sample:
        APP_LISTEN_FAMILY: inet6:unix
        PORT: "4000"
    by_name:
      description: The families by the name of the sockets, if the order in which they are passed cannot be known and matters; else nothing.
      type: dict
      sample:
        shop.socket: inet6
        admin: unix
"""

import re
import typing as t


def listen_environment(units: t.Sequence[t.Mapping[str, t.Any]], options: t.Any = None, proxy_to: str | None = None) -> dict[str, dict[str, str]]:
    """Tells families and the port; with `proxy_to` only the port that the app is to bind."""
    if proxy_to is not None:
        return {"variables": _port([proxy_to]), "by_name": {}}
    sockets = [{**unit["sections"]["Socket"], **(options or {})} for unit in units]
    families = [_families(socket) for socket in sockets]
    words = [word for found in families for word in found]
    variables = _port([address for socket in sockets for address in _addresses(socket.get("ListenStream"))])
    if words:
        variables["APP_LISTEN_FAMILY"] = ":".join(words)
    names = [str(socket.get("FileDescriptorName") or unit["name"]) for unit, socket in zip(units, sockets)]
    return {"variables": variables, "by_name": dict(zip(names, map(":".join, families))) if len(units) > 1 and len(set(words)) > 1 else {}}


def _families(socket: t.Mapping[str, t.Any]) -> list[str]:
    return [_family(key, address) for key, value in socket.items() if key.startswith("Listen") for address in _addresses(value)]


def _family(key: str, address: str) -> str:
    if key not in ("ListenStream", "ListenDatagram", "ListenSequentialPacket"):
        return key.removeprefix("Listen").lower()
    if address.startswith(("/", "@")):
        return "unix"
    # A port alone is one of IPv6 that takes IPv4 too.
    return "inet6" if address.startswith("[") or address.isdigit() else "inet"


def _addresses(value: t.Any) -> list[str]:
    given = [str(address) for address in ([value] if isinstance(value, (str, int)) else value or [])]
    # An empty text takes away those before it.
    first = len(given) - given[::-1].index("") if "" in given else 0
    return given[first:]


def _port(addresses: t.Iterable[str]) -> dict[str, str]:
    ports = (re.match(r"(?:.*:)?([0-9]+)\Z", address) for address in addresses if not address.startswith(("/", "@", "vsock:")))
    return next(({"PORT": found[1]} for found in ports if found), {})


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"listen_environment": listen_environment}
