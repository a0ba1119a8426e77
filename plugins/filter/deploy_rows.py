# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deploy_rows
version_added: 1.0.0
short_description: Tells what a deploy has made of each host
author: The holdfast.systemd developers (@holdfast)
description:
  - Reads what the plays of the playbook C(deploy) have left in the variables of the hosts.
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
- name: Show what became of the hosts
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | holdfast.systemd.deploy_rows(hostvars) | holdfast.systemd.text_table(['host', 'result', 'reason']) }}"
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
    result:
      description:
        - V(deployed) or V(unchanged), where the release is live.
        - V(failed); what is live then is the release that V(release) names, if that is known.
        - V(gone back), where the release was live in this run and the one before it is again.
        - V(left out), where the host was down from the start and nobody minded.
        - V(not reached), where the host would have switched had another one not failed.
        - V(staged), where a run was not to switch.
      type: str
    release:
      description: The release that is live now; empty if there is none, or if that is not known.
      type: str
    previous:
      description: The one that was live before; empty if there was none or it is the same.
      type: str
    seconds:
      description: How long its switch took; null if there was none.
      type: float
    reason:
      description: Why it is not deployed; empty if it is.
      type: str
"""

import typing as t

Known = t.Mapping[str, t.Any]


def deploy_rows(hosts: t.Iterable[str], hostvars: t.Mapping[str, Known]) -> list[dict[str, t.Any]]:
    """What became of each host, as a row for each."""
    return [{"host": str(host), **_row(hostvars[host])} for host in hosts]


def _row(known: Known) -> dict[str, t.Any]:
    switched: Known = known.get("release_switched") or {}
    if "release" not in switched and not switched.get("unreachable"):
        # It was skipped, or it failed before it could tell anything.
        switched = known.get("release_forward") or {}
    before = (known.get("release_found") or {}).get("current") or ""
    if known.get("release_left_out"):
        return _told("left out", "", reason=known.get("release_left_out"))
    trouble: Known = known.get("release_trouble") or {}
    if trouble:
        release = switched.get("release", "") if switched else before
        previous = switched.get("previous", "")
        reason = str(trouble.get("reason") or "it did not say why")
        if known.get("release_returned"):
            reason = f"{reason.partition(chr(10))[0].rstrip('.')}; it was brought back since"
        return _told("failed", release, previous, switched.get("duration"), reason)
    if known.get("release_returned"):
        return _told("gone back", switched.get("release", ""), switched.get("previous", ""), switched.get("duration"), known.get("release_halted"))
    if switched:
        reason = "no release was live before it, so it stays" if known.get("release_stays") else ""
        result = "deployed" if switched.get("changed") else "unchanged"
        return _told(result, switched.get("release", ""), switched.get("previous", ""), switched.get("duration"), reason)
    if known.get("release_halted"):
        return _told("not reached", before, reason=known.get("release_halted"))
    return _told("staged" if known.get("release_staged") else "not reached", before)


def _told(result: str, release: str, previous: str = "", seconds: t.Any = None, reason: t.Any = "") -> dict[str, t.Any]:
    return {
        "result": result,
        "release": str(release),
        "previous": "" if previous == release else str(previous),
        "seconds": None if seconds is None else float(seconds),
        "reason": str(reason or ""),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"deploy_rows": deploy_rows}
