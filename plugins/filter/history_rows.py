# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: history_rows
version_added: 1.0.0
short_description: Tells how the switches of all hosts ended, in one row for each
author: The holdfast.systemd developers (@holdfast)
description:
  - Reads the fact C(app_history), which the entry point C(history) of the role P(holdfast.systemd.release#role) leaves on
    each host.
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
- name: Show who has deployed what
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | holdfast.systemd.history_rows(hostvars) | holdfast.systemd.text_table(['time', 'host', 'release', 'who']) }}"
"""

RETURN = r"""
_value:
  description: A row for each switch, the oldest first, and one without a time for each host that could not be asked.
  type: list
  elements: dict
  contains:
    host:
      description: The name of the host.
      type: str
    time:
      description: When the switch began, in UTC.
      type: str
    release:
      description: The release that was to be live.
      type: str
    from:
      description: The release that was live before; empty on a first deploy.
      type: str
    action:
      description: V(deploy), V(rollback) or V(restart).
      type: str
    strategy:
      description: How the release took over.
      type: str
    who:
      description: Who deployed.
      type: str
    seconds:
      description: How long it took; null if it was interrupted.
      type: float
    result:
      description: V(ok), V(failed) or V(interrupted), or V(unreachable) or V(unknown) of a host that could not be asked.
      type: str
    reason:
      description: Why it did not succeed; empty if it did.
      type: str
"""

import typing as t

Known = t.Mapping[str, t.Any]
SAME = ("time", "action", "strategy", "who", "result", "reason")


def history_rows(hosts: t.Iterable[str], hostvars: t.Mapping[str, Known]) -> list[dict[str, t.Any]]:
    """How each switch ended, as a row for each."""
    rows = [row for host in hosts for row in _rows(str(host), hostvars[host].get("app_history") or {})]
    return sorted(rows, key=lambda row: (row["time"], row["host"]))


def _rows(host: str, found: Known) -> t.Iterator[dict[str, t.Any]]:
    if "history" not in found:
        result = "unreachable" if found.get("unreachable") else "unknown"
        nothing = dict.fromkeys((*SAME, "release", "from"), "")
        yield {"host": host, **nothing, "seconds": None, "result": result, "reason": str(found.get("msg") or "it was not asked")}
        return
    for record in found["history"]:
        told = {name: record.get(name) or "" for name in SAME}
        yield {"host": host, "release": record["id"], "from": record.get("from") or "", "seconds": record.get("duration"), **told}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"history_rows": history_rows}
