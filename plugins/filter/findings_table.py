# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: findings_table
version_added: 1.0.0
short_description: Writes what doctor_info tells as a table to read
author: The holdfast.systemd developers (@holdfast)
description:
  - How the app is, each finding with what was seen and what to do, and what could not be looked at.
options:
  _input:
    description: The result of M(holdfast.systemd.doctor_info), with the name of the app as C(app).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would go wrong
  ansible.builtin.debug:
    msg: "{{ (shop | combine({'app': 'shop'}) | holdfast.systemd.findings_table).splitlines() }}"
"""

RETURN = r"""
_value:
  description: The table.
  type: str
"""

import typing as t


def findings_table(found: dict[str, t.Any]) -> str:
    """Writes the result of doctor_info as lines of text."""
    findings, main = found.get("findings", []), found.get("main", {})
    lines = [
        _row("app", found.get("app", "")),
        _row("process", f"PID {main['pid']}, release {main['release'] or 'unknown'}, {main['command']}" if main.get("pid") else "none"),
    ]
    for socket in found.get("sockets", []):
        told = f", backlog {socket['backlog']} of {socket['wanted_backlog']}" if socket["wanted_backlog"] else ""
        served = {True: ", answered", False: ", not answered"}.get(socket["accepted"], "")
        lines.append(_row("socket", f"{socket['name']} {socket['address']}{told}{served}"))
    if found.get("tried") and not found["tried"]["failed"]:
        lines.append(_row("tried", _tried(found["tried"])))
    lines.append(_row("verdict", _verdict(findings)))
    for finding in findings:
        lines += [_row(finding["severity"], f"{finding['code']}: {finding['title']}"), _row("  seen", finding["seen"]), _row("  fix", finding["fix"])]
    lines += [_row("unseen", reason) for reason in found.get("unseen", [])]
    return "\n".join(lines) + "\n"


def _tried(tried: dict[str, t.Any]) -> str:
    if tried["late"] is None:
        return "a second instance started, and took no connection"
    drained = f", {tried['answered']} of {tried['in_hand']} requests in hand answered when it was stopped" if tried["in_hand"] else ""
    return f"a second instance took a connection {tried['late'] * 1000:.0f} ms after its start{drained}"


def _verdict(findings: t.Sequence[dict[str, t.Any]]) -> str:
    problems = sum(finding["severity"] == "problem" for finding in findings)
    advice = len(findings) - problems
    told = [f"{problems} problem{'s' if problems > 1 else ''}"] if problems else []
    told += [f"{advice} piece{'s' if advice > 1 else ''} of advice"] if advice else []
    return " and ".join(told) or "nothing found"


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}".rstrip().replace("\n", "\n" + " " * 10)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"findings_table": findings_table}
