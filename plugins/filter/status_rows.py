# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_rows
version_added: 1.0.0
short_description: Tells in a few words how an app is on each host
author: The holdfast.systemd developers (@holdfast)
description:
  - Reads the fact C(app_status), which the entry point C(status) of the role P(holdfast.systemd.release#role) leaves on each host.
options:
  _input:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  _hostvars:
    description: The variables of all hosts by their names, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the app on all hosts
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | holdfast.systemd.status_rows(hostvars) | holdfast.systemd.text_table(['host', 'release', 'healthy']) }}"
"""

RETURN = r"""
_value:
  description: A row for each host.
  type: list
  elements: dict
  contains:
    host:
      description: The name of the host.
      type: str
    app:
      description: The name of the app.
      type: str
    release:
      description: The release that is live; empty if none is.
      type: str
    previous:
      description: The release that a rollback would go to; empty if there is none.
      type: str
    since:
      description: Since when the service is in its state, as systemd writes it.
      type: str
    healthy:
      description: V(yes), V(no), V(unreachable) if the host is down, V(unknown) if it could not be asked, or empty where nothing is live.
      type: str
    socket:
      description: The state of the socket units; of several in different states, each with its name.
      type: str
    backlog:
      description: How many clients wait, of how many that may, and what the number was before the app lowered it.
      type: str
    disk:
      description: How much room is free on the file system of the app's folder, of how much.
      type: str
    reason:
      description: Why the host could not be asked; empty if it could.
      type: str
"""

import typing as t

Known = t.Mapping[str, t.Any]
UNITS = "BKMGT"
STEP = 1024
# Below that, a digit behind the point says something.
SHORT = 10


def status_rows(hosts: t.Iterable[str], hostvars: t.Mapping[str, Known]) -> list[dict[str, str]]:
    """How the app is on each host, as a row for each."""
    return [{"host": str(host), **_row(hostvars[host].get("app_status") or {})} for host in hosts]


def _row(found: Known) -> dict[str, str]:
    app = str(found.get("app", ""))
    if "current" not in found:
        healthy = "unreachable" if found.get("unreachable") else "unknown"
        nothing = dict.fromkeys(("release", "previous", "since", "socket", "backlog", "disk"), "")
        return {"app": app, **nothing, "healthy": healthy, "reason": str(found.get("msg") or "it was not asked")}
    return {
        "app": app,
        "release": found["current"] + (f" ({found['pending']} is under way)" if found.get("pending") else ""),
        "previous": found.get("previous") or "",
        "since": found.get("since") or "",
        "healthy": ("yes" if found.get("healthy") else "no") if found["current"] else "",
        "socket": _sockets(found.get("sockets", [])),
        "backlog": _backlog([listener for socket in found.get("sockets", []) for listener in socket["listeners"]]),
        "disk": f"{_size(found['disk']['free'])} of {_size(found['disk']['total'])}" if found.get("disk") else "",
        "reason": "",
    }


def _sockets(sockets: t.Sequence[Known]) -> str:
    states = {socket["state"] for socket in sockets}
    return states.pop() if len(states) == 1 else ", ".join(f"{socket['name']} {socket['state']}" for socket in sockets)


def _backlog(listeners: t.Sequence[Known]) -> str:
    """The queue that has least room, since it is full first."""
    if not listeners:
        return ""
    least = min(listeners, key=lambda listener: (listener["backlog"] - listener["waiting"], -listener["wanted_backlog"]))
    lowered = f", lowered from {least['wanted_backlog']}" if least["backlog"] < least["wanted_backlog"] else ""
    return f"{least['waiting']} of {least['backlog']}{lowered}"


def _size(count: float) -> str:
    power = 0
    while count >= STEP and power < len(UNITS) - 1:
        count, power = count / STEP, power + 1
    digits = 1 if power and count < SHORT else 0
    return f"{count:.{digits}f}{UNITS[power]}"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"status_rows": status_rows}
