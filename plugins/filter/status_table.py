# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_table
version_added: 1.0.0
short_description: Writes what release_info tells as a table to read
author: The holdfast.systemd developers (@holdfast)
description:
  - What is live and since when, the sockets and their queues, the releases, and the last switches.
options:
  _input:
    description: The result of M(holdfast.systemd.release_info), with the name of the app as C(app).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the state of an app
  ansible.builtin.debug:
    msg: "{{ (shop | combine({'app': 'shop'}) | holdfast.systemd.status_table).splitlines() }}"
"""

RETURN = r"""
_value:
  description: The table.
  type: str
"""

import typing as t

LAST = 5


def status_table(found: dict[str, t.Any]) -> str:
    """Writes the result of release_info as lines of text."""
    current, running = found.get("current") or "none", found.get("running") or "none"
    lines = [
        _row("app", found.get("app", "")),
        _row("current", current),
        _row("running", f"{running}{'' if running == current else '  (not the current one)'}"),
        _row("service", f"{found.get('service', 'unknown')} since {found.get('since') or 'ever'}, PID {found.get('pid', 0)}"),
        *([_row("status", found["status_text"])] if found.get("status_text") else []),
        _row("previous", found.get("previous") or "none"),
    ]
    if found.get("pending"):
        lines.append(_row("pending", f"{found['pending']}  (a switch is under way, or died)"))
    for socket in found.get("sockets", []):
        lines.append(_row("socket", f"{socket['name']} {socket['state']} since {socket['since'] or 'ever'}"))
        for listener in socket["listeners"]:
            lowered = f", lowered by the app from {listener['wanted_backlog']}" if listener["backlog"] < listener["wanted_backlog"] else ""
            lines.append(_row("", f"{listener['address']}: {listener['waiting']} waiting, backlog {listener['backlog']}{lowered}"))
    for release in reversed(found.get("releases", [])):
        marks = [word for word, true in (("live", release["id"] == found.get("current")), ("bad", release["bad"])) if true]
        lines.append(_row("release", f"{release['id']} staged {release['staged_at']}{'  (' + ', '.join(marks) + ')' if marks else ''}"))
    for record in reversed(found.get("history", [])[-LAST:]):
        took = "" if record["duration"] is None else f" in {record['duration']:.1f} s"
        reason = f": {record['reason']}" if record["reason"] else ""
        lines.append(
            _row(record["action"], f"{record['time']} {record['from'] or 'nothing'} -> {record['id']} by {record['who']}, {record['result']}{took}{reason}")
        )
    return "\n".join(lines) + "\n"


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}".rstrip().replace("\n", "\n" + " " * 10)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"status_table": status_table}
