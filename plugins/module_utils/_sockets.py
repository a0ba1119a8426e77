# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues in front of listening sockets: how long they may get, and how long they are. Private to the collection.

What belongs here looks at a queue that is there and says what to do about it. Which sockets an app has, and what their
units say, belongs to the filter socket_units.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _findings
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Run, Systemd


@dataclasses.dataclass(frozen=True)
class Listener:
    """An address that a socket unit holds: how many may wait there by the unit and in fact, and how many do."""

    unit: str
    address: str
    wanted: int
    backlog: int
    waiting: int

    @property
    def is_lowered(self) -> bool:
        return self.backlog < self.wanted


def listeners(systemd: Systemd, run: Run, unit: str) -> list[Listener]:
    """The stream sockets of a socket unit, as far as the program `ss` can tell; none without it."""
    known = systemd.show(unit, "Listen", "Backlog")
    wanted = min(int(known.get("Backlog") or 0), _kernel_limit())
    found = []
    queues = _queues(run)
    for line in known.get("Listen", "").splitlines():
        address, _space, kind = line.rpartition(" ")
        if kind in ("(Stream)", "(SequentialPacket)") and address in queues:
            waiting, backlog = queues[address]
            found.append(Listener(unit, address, wanted, backlog, waiting))
    return found


def remedy(command: str) -> str:
    """What to change in an app that lowers its backlog, by the command that it runs as."""
    return _findings.how("lowered-backlog", _findings.runtime_of(command))


def _kernel_limit() -> int:
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as stream:
        return int(stream.read())


def _queues(run: Run) -> dict[str, tuple[int, int]]:
    """For each listening address: how many wait and how many may, as `ss` prints them."""
    program = shutil.which("ss", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if not program:
        return {}
    code, output, _errors = run([program, "--no-header", "--listening", "--numeric", "--tcp", "--unix"])
    found: dict[str, tuple[int, int]] = {}
    for line in output.splitlines() if code == 0 else []:
        row = re.match(r"\S+\s+LISTEN\s+(?P<waiting>\d+)\s+(?P<backlog>\d+)\s+(?P<address>\S+)", line)
        if row:
            # A port for both families is written *:80 there and [::]:80 by systemd.
            found[row["address"].replace("*:", "[::]:")] = int(row["waiting"]), int(row["backlog"])
    return found


def as_dict(listener: Listener) -> dict[str, t.Any]:
    """A listener as a module returns it."""
    return {"address": listener.address, "backlog": listener.backlog, "wanted_backlog": listener.wanted, "waiting": listener.waiting}
