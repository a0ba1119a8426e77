# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: socket_units
version_added: 1.0.0
short_description: Turns the addresses of an app into its socket units
author: The holdfast.systemd developers (@holdfast)
description:
  - The first address, and all others with the same name or without one, belong to C(<app>.socket). Each further name gets a
    unit of its own, C(<app>-<name>.socket), because a socket unit has one name for all its sockets, and because a unit of
    its own can be added without a restart of the others.
  - Fails, and says which entry is wrong, unless each is a port, an address with a port, or an absolute path.
options:
  _input:
    description:
      - The entries of C(app_listen). Each is a port, C(address:port), C([v6]:port), C(/path), or a dictionary with the keys
        C(listen) (one of these), C(type) (V(stream), V(datagram) or V(sequential)), C(name), and for a path C(user), C(group) and C(mode).
    type: list
    elements: raw
    required: true
  app:
    description: The name of the app's units.
    type: str
    required: true
  user:
    description: The user who owns a socket that is a path, if the entry does not say.
    type: str
  group:
    description: The group of a socket that is a path, if the entry does not say.
    type: str
"""

EXAMPLES = r"""
- name: Show what socket units would hold
  ansible.builtin.debug:
    msg: "{{ [4000, {'listen': '/run/shop.sock', 'name': 'admin'}] | holdfast.systemd.socket_units('shop', user='shop', group='shop') }}"
"""

RETURN = r"""
_value:
  description: The socket units, each with its name and what follows from the addresses, as M(holdfast.systemd.unit) takes them.
  type: list
  elements: dict
  sample:
    - name: shop.socket
      sections:
        Unit: {}
        Socket:
          ListenStream: ["4000"]
    - name: shop-admin.socket
      sections:
        Unit: {}
        Socket:
          ListenStream: [/run/shop.sock]
          FileDescriptorName: admin
          SocketUser: shop
          SocketGroup: shop
          SocketMode: "0660"
"""

import ipaddress
import os
import re
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.module_utils._health import is_port

DIRECTIVES = {"stream": "ListenStream", "datagram": "ListenDatagram", "sequential": "ListenSequentialPacket"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}\Z")
LONGEST_PATH = 107
EXPECTED = "a port (4000), an address with a port (127.0.0.1:4000 or [::1]:4000) or an absolute path (/run/shop.sock) is expected"


def socket_units(entries: t.Any, app: str, user: str | None = None, group: str | None = None) -> list[dict[str, t.Any]]:
    """Turns app_listen into socket units; raises AnsibleFilterError for an entry that systemd could not use."""
    if isinstance(entries, (str, int)):
        entries = [entries]
    if not isinstance(entries, t.Sequence):
        raise AnsibleFilterError(f"app_listen: {entries!r} is not a list of addresses")
    if not entries:
        raise AnsibleFilterError("app_listen: the list is empty, so there would be no port to hold; give at least one address")
    units: dict[str | None, dict[str, t.Any]] = {}
    seen = set()
    for entry in entries:
        options = _options(entry)
        address, name = _address(options["listen"]), options["name"] or next(iter(units), None)
        # A port of TCP and the same port of UDP are two addresses; a path is one file.
        what = (address, None if address.startswith("/") else options["type"])
        if what in seen:
            raise AnsibleFilterError(f"app_listen: {address} is given twice")
        seen.add(what)
        unit = units.setdefault(name, {"name": f"{app}-{name}.socket" if units else f"{app}.socket", "sections": {"Unit": {}, "Socket": {}}})
        _add(unit["sections"]["Socket"], options, address, user, group)
    return list(units.values())


def _add(directives: dict[str, t.Any], options: dict[str, t.Any], address: str, user: str | None, group: str | None) -> None:
    directives.setdefault(DIRECTIVES[options["type"]], []).append(address)
    wanted = {"FileDescriptorName": options["name"]} if options["name"] else {}
    if address.startswith("/"):
        owner = {"SocketUser": options["user"] or user, "SocketGroup": options["group"] or group, "SocketMode": options["mode"] or "0660"}
        wanted.update({key: value for key, value in owner.items() if value})
    elif options["user"] or options["group"] or options["mode"]:
        raise AnsibleFilterError(f"app_listen: {address} is not a path, so it has no user, group and mode")
    for key, value in wanted.items():
        if directives.setdefault(key, value) != value:
            raise AnsibleFilterError(f"app_listen: {address} needs a name of its own, because a socket unit has one {key} for all its paths")


def _options(entry: t.Any) -> dict[str, t.Any]:
    defaults = {"type": "stream", "name": None, "user": None, "group": None, "mode": None}
    given = dict(entry) if isinstance(entry, t.Mapping) else {"listen": entry}
    if set(given) - {"listen", *defaults} or "listen" not in given:
        raise AnsibleFilterError(f"app_listen: {entry!r} must have the key listen, and may have {', '.join(defaults)}")
    options = {**defaults, **given}
    if options["type"] not in DIRECTIVES:
        raise AnsibleFilterError(f"app_listen: {entry!r} has the type {options['type']!r}; stream, datagram or sequential is expected")
    if options["name"] is not None and not NAME.match(str(options["name"])):
        raise AnsibleFilterError(f"app_listen: {options['name']!r} cannot be a name; use up to 31 letters, digits, '_' and '-', with a letter or digit first")
    # Without quotes YAML has read it as octal already, and 432 says nothing of what was meant.
    if options["mode"] is not None and not (isinstance(options["mode"], str) and re.match(r"0?[0-7]{3}\Z", options["mode"])):
        raise AnsibleFilterError(f"app_listen: {options['mode']!r} is not a mode; a quoted octal number such as '0660' is expected")
    return options


def _address(value: t.Any) -> str:
    address = str(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool) and not any(character.isspace() for character in address):
        if address.startswith("/"):
            if len(os.fsencode(address)) > LONGEST_PATH:
                raise AnsibleFilterError(f"app_listen: {address} is longer than the {LONGEST_PATH} bytes that the path of a socket may have")
            return address
        host, colon, port = address.rpartition(":")
        if is_port(port) and (not colon or _is_host(host)):
            return address
    raise AnsibleFilterError(f"app_listen: {value!r} is not an address to listen on; {EXPECTED}")


def _is_host(text: str) -> bool:
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        version = ipaddress.ip_address(text[1:-1] if bracketed else text).version
    except ValueError:
        return False
    return version == (6 if bracketed else 4)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"socket_units": socket_units}
