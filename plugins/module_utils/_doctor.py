# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at an app as it runs, which must not disturb it: the facts that _findings judges. Private to the collection.

What belongs here asks systemd, the kernel and `ss`, and writes down what they say. It starts, stops and changes nothing, and the
only thing that an app notices is a client who connects and hangs up. What cannot be seen is said to be unseen and is no fault.
"""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _findings, _processes, _sockets
from ansible_collections.holdfast.systemd.plugins.module_utils._caller import Caller
from ansible_collections.holdfast.systemd.plugins.module_utils._findings import Address, Facts, Process, ServiceUnit, SocketUnit
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._service import Service
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Run, Systemd

DROP_IN_FOLDERS = ("/etc/systemd/system", "/run/systemd/system")
SERVICE_PROPERTIES = (
    *("LoadState", "Type", "ActiveState", "MainPID", "ControlGroup", "User", "Group", "KillSignal", "KillMode", "ExecStart", "ExecStartPost"),
    *("ExecStop", "StartLimitIntervalUSec"),
)
SOCKET_PROPERTIES = ("ActiveState", "Triggers", "ReusePort", "FlushPending", "TriggerLimitIntervalUSec", "Listen")
# How long a client may wait before it counts that nobody has accepted it: an app that serves elsewhere, and one that may only be busy.
PATIENCE = 2
PATIENCE_WITH_BUSY = 10
LONGEST_CONFIGURATION = 1 << 20


class Doctor:
    """Looks at one app. `unseen` has afterwards what could not be looked at, and why."""

    def __init__(self, systemd: Systemd, run: Run, releases: Releases, *, service: str, sockets: t.Sequence[str], stand_in: str | None = None) -> None:
        self.systemd = systemd
        self.run = run
        self.releases = releases
        self.app = Service(systemd, releases, service=service, sockets=sockets, stand_in=stand_in)
        self.unseen: list[str] = []

    def look(self, *, runtime: str, strategy: str, has_check: bool) -> Facts:
        """All that can be seen of the app now."""
        known = self.systemd.show(self.app.service, *SERVICE_PROPERTIES)
        account = Account(known.get("User", ""), known.get("Group", ""), self.systemd.way_in)
        service = self._service(known)
        inodes: dict[str, frozenset[str]] = {}
        shown = {name: self.systemd.show(name, *SOCKET_PROPERTIES) for name in self.app.sockets}
        for one in shown.values():
            for directive, address in _listens(one):
                inodes[address] = _of_systemd(directive, address)
        found = _processes.in_group(known.get("ControlGroup", "")) or ([service.main] if service.main else [])
        listening = _processes.listening()
        processes = [process for process in (self._process(pid, account, inodes, listening, service.signal) for pid in found) if process]
        sockets = [self._socket(name, one, inodes, service, processes) for name, one in shown.items()]
        commands = [*(process.command for process in processes), known.get("ExecStart", "")]
        return Facts(
            service=service,
            sockets=sockets,
            processes=processes,
            runtime=_findings.runtime_of(" ".join(commands)) if runtime == "generic" else runtime,
            strategy=strategy,
            has_check=has_check,
            current=self.releases.current() or "",
            running=(self.app.release() or "") if service.is_running else "",
            is_switching=self.releases.pending() is not None,
            stale=[unit for unit in [self.app.service, *self.app.sockets, *map(self.app.stand_in_of, self.app.stand_ins())] if self._is_stale(unit)],
            preloads=self._preloads(commands, service.main, account),
        )

    # Units

    def _service(self, known: t.Mapping[str, str]) -> ServiceUnit:
        return ServiceUnit(
            name=self.app.service,
            type=known.get("Type", ""),
            state="" if known.get("LoadState") == "not-found" else known.get("ActiveState", ""),
            main=int(known.get("MainPID") or 0),
            signal=int(known.get("KillSignal") or 15),
            kill_mode=known.get("KillMode", "control-group"),
            start_limit=known.get("StartLimitIntervalUSec", "0"),
            waits_until_ready=bool(known.get("ExecStartPost")),
            stops_by_command=bool(known.get("ExecStop")),
        )

    def _socket(
        self, name: str, known: t.Mapping[str, str], inodes: t.Mapping[str, frozenset[str]], service: ServiceUnit, processes: t.Sequence[Process]
    ) -> SocketUnit:
        is_given = self.app.service in known.get("Triggers", "").split()
        patience = PATIENCE if any(process.binds for process in processes) else PATIENCE_WITH_BUSY
        queues = {listener.address: listener for listener in _sockets.listeners(self.systemd, self.run, name)}
        addresses = []
        for directive, address in _listens(known):
            if not _processes.can_be_seen(directive, address):
                self.unseen.append(f"{address} of {name}: the kernel does not tell who has a socket of this kind")
                continue
            listeners = {inode for inode, _uid in _processes.listening_at(directive, address)}
            queue = queues.get(address)
            addresses.append(
                Address(
                    unit=name,
                    address=address,
                    is_open=bool(listeners),
                    wanted=queue.wanted if queue else 0,
                    backlog=queue.backlog if queue else 0,
                    rivals=[str(process) for process in processes if (listeners - inodes[address]).intersection(process.binds)],
                    # To connect while the app is stopped would start it.
                    accepted=self._is_accepted(address, patience) if is_given and listeners and directive == "ListenStream" and service.is_running else None,
                )
            )
        return SocketUnit(
            name=name,
            state=known.get("ActiveState", ""),
            is_given=is_given,
            reuse_port=known.get("ReusePort") == "yes",
            flush_pending=known.get("FlushPending") == "yes",
            trigger_limit=known.get("TriggerLimitIntervalUSec", "0"),
            addresses=addresses,
        )

    def _is_accepted(self, address: str, patience: float) -> bool | None:
        try:
            with Caller(address) as caller:
                return caller.wait_until_accepted(patience) is not None
        except (OSError, ValueError) as error:
            self.unseen.append(f"{address}: nobody here can connect to it ({error})")
            return None

    def _is_stale(self, unit: str) -> bool:
        known = self.systemd.show(unit, "NeedDaemonReload", "DropInPaths", "LoadState")
        if known.get("NeedDaemonReload") == "yes":
            return True
        # That alone misses a unit's first folder of drop-ins. One of the same name in another folder may stand for it.
        loaded = {os.path.basename(path) for path in known.get("DropInPaths", "").split()}
        there = [path for folder in DROP_IN_FOLDERS for path in glob.glob(f"{folder}/{glob.escape(unit)}.d/*.conf")]
        return known.get("LoadState") == "loaded" and any(os.path.basename(path) not in loaded for path in there if os.path.realpath(path) != os.devnull)

    # Processes

    def _process(self, pid: int, account: Account, inodes: t.Mapping[str, frozenset[str]], listening: t.Mapping[str, str], signal: int) -> Process | None:
        status = _processes.status(pid)
        if not status:  # it has ended meanwhile
            return None
        files = _processes.open_files(pid, account)
        own = _processes.sockets(files)
        watched = _processes.watched(pid, files, account)
        given = frozenset().union(*inodes.values())
        if not files:
            self.unseen.append(f"PID {pid} ({status.get('Name', '')}): nobody here may look at what it has open")
        listen_pid = _processes.environment(pid, account).get("LISTEN_PID", "")
        return Process(
            pid=pid,
            name=status.get("Name", ""),
            command=_processes.command_line(pid).strip(),
            program=next(iter(_processes.places(pid, account)[1:2]), ""),
            # One that blocks the signal reads it when it likes.
            handles=_has(status.get("SigCgt", ""), signal) or _has(status.get("SigBlk", ""), signal),
            ignores=_has(status.get("SigIgn", ""), signal),
            listen_pid=int(listen_pid) if listen_pid.isdigit() else None,
            is_seen=bool(files),
            has=frozenset(address for address, known in inodes.items() if known & own),
            waits=frozenset(address for address, known in inodes.items() if known & watched),
            binds={inode: address for inode, address in listening.items() if inode in own and inode not in given},
        )

    # gunicorn

    def _preloads(self, commands: t.Sequence[str], main: int, account: Account) -> bool | None:
        """Whether gunicorn loads the app before it says that it is ready; None where that does not show, or it is not gunicorn."""
        # It may write over its command, and then only the unit tells its arguments.
        arguments = [found[1] for found in (re.search(r"(?:^|[\s/\"'])gunicorn\S*(\s.*)", command, re.DOTALL) for command in commands) if found]
        if not arguments or not main:
            return None
        told = " ".join([*arguments, _processes.environment(main, account).get("GUNICORN_CMD_ARGS", "")])
        if re.search(r"(^|\s)--preload\b", told):
            return True
        named = re.search(r"(?:^|\s)(?:-c|--config)[ =]?(?:file:)?([^\s;\"']+)", told)
        path = named[1] if named else "gunicorn.conf.py"
        folder = next(iter(_processes.places(main, account)[:1]), "")
        if not folder or path.startswith("python:"):
            return None
        try:
            with self.releases.acting_as_owner(), open(os.path.join(folder, path), encoding="utf-8", errors="replace") as stream:
                text = stream.read(LONGEST_CONFIGURATION)
        except FileNotFoundError:
            return None if named else False
        except OSError:
            return None
        said = re.findall(r"^\s*preload_app\s*=\s*(\w+)", text, re.MULTILINE)
        # What is worked out when it starts, nobody can know here.
        return {"True": True, "False": False}.get(said[-1]) if said else None if "preload_app" in text else False


def _listens(known: t.Mapping[str, str]) -> list[tuple[str, str]]:
    """The directives and addresses of a socket unit."""
    lines = [line.rpartition(" ") for line in known.get("Listen", "").splitlines()]
    return [(f"Listen{kind.strip('()')}", address) for address, _space, kind in lines]


def _of_systemd(directive: str, address: str) -> frozenset[str]:
    """The sockets at an address that systemd has opened, by inode."""
    there = dict(_processes.listening_at(directive, address))
    held = _processes.sockets(_processes.open_files(1))
    if held:
        return frozenset(held.intersection(there))
    # Whoever may not look into systemd still sees who has made a socket, though not for a path, which can be given away.
    return frozenset(inode for inode, uid in there.items() if uid == 0 or address.startswith("/"))


def _has(mask: str, signal: int) -> bool:
    try:
        return bool(int(mask, 16) >> (signal - 1) & 1)
    except ValueError:
        return False
