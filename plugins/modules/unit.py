#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: unit
version_added: 1.0.0
short_description: Renders, checks and installs systemd unit files and drop-ins
author: The holdfast.systemd developers (@holdfast)
description:
  - Writes unit files below C(/etc/systemd/system) from dictionaries, each whole or not at all.
  - Every directive is looked up in what the target's own systemd knows, and the whole set is given to
    C(systemd-analyze verify) under its final names, before anything on disk changes. What systemd would ignore is refused.
  - Makes systemd reload its configuration when, and only when, what it has loaded differs from what is on disk;
    also when an earlier run died between the two. A set of units costs one reload.
  - Starts and restarts nothing, unless O(socket_change=restart) or O(takeover=true) asks for it. Use
    M(ansible.builtin.systemd_service) for that.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
options:
  name:
    description: The name of the unit with its suffix, of any type, for instance V(shop.service), V(shop@.service) or V(shop.timer).
    type: str
  sections:
    description:
      - The sections of the file, each a dictionary of directives; both are written in the order given.
      - Text is written as it stands, so systemd's quoting, specifiers (V(%h)) and variables (V($HOME)) keep their meaning.
      - A list repeats its directive. An empty list or an empty string writes the empty assignment that resets a directive.
        A null leaves it out. Booleans become C(yes) and C(no), numbers are written as they are.
      - C(Environment) may be a dictionary of variables. Each value reaches the process as it is, with quotes, blanks,
        backslashes and percent signs.
      - A command (C(ExecStart), C(ExecStartPre), C(ExecReload) and so on) may be a list of its arguments, the program first. They reach
        the process as they are; nothing in them is expanded. The prefixes V(-), V(@), V(:), V(+) and V(!) may stand before the program,
        in a list as in text.
      - Several commands are a list of such lists. A list that begins with an empty string is a reset and then commands as text.
      - A line break, a NUL byte, a backslash at the end and a name that is none are refused. For a variable with line breaks
        use an environment file.
    type: dict
  dropin:
    description: Write a drop-in of this name for the unit, for instance V(10-limits), instead of the unit's own file.
    type: str
  replace:
    description:
      - Begin every directive whose value is a list or a dictionary with its reset, so that a drop-in replaces what the unit has.
      - A command, and C(Environment), begins with its reset as text too.
    type: bool
    default: false
  state:
    description:
      - V(absent) removes the file. Without O(dropin) it also stops and disables the unit and removes its drop-ins.
    type: str
    choices: [present, absent]
    default: present
  secrets:
    description:
      - Values that never appear in a diff, a log or a result. The file then can be read by root alone. They go with O(name), not
        with O(units).
      - Whoever may ask systemd can still see the variables of a unit. Prefer an environment file, or C(LoadCredential=).
    type: dict
    suboptions:
      environment:
        description: Variables that join C(Environment) in the section C([Service]).
        type: dict
      credentials:
        description: Credentials, written as C(SetCredential=) in the section C([Service]).
        type: dict
  units:
    description: Several files at once, each with the options O(name), O(sections), O(dropin), O(replace), O(state) and O(unknown).
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      sections:
        description: See O(sections).
        type: dict
      dropin:
        description: See O(dropin).
        type: str
      replace:
        description: See O(replace).
        type: bool
        default: false
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
      unknown:
        description: See O(unknown), which counts where this is not given.
        type: str
        choices: [fail, drop]
  unknown:
    description:
      - What to do with a directive that the target's systemd does not know.
      - V(fail) refuses it and names the nearest one that is known. V(drop) leaves it out and tells so in RV(dropped).
      - V(drop) also leaves out what filters system calls (such as C(SystemCallFilter), C(LockPersonality) and C(PrivateDevices)) where systemd
        runs without C(CAP_SYS_ADMIN), as in most containers. From version 255 on it would not start the service there.
        Where no systemd runs, the rights of the first process count.
      - A section that does not belong to the type of the unit is always refused.
    type: str
    choices: [fail, drop]
    default: fail
  socket_change:
    description:
      - What to do when an active socket unit would need a new socket, because what it listens on or an option of
        the socket changes. What systemd applies in place (such as C(Service=), C(FileDescriptorName=), C(FlushPending=) and the
        limits) is not such a change.
      - V(refuse) fails before anything is written. V(restart) stops the service, restarts the socket and starts the
        service, and tells in RV(gap_seconds) how long the port was closed.
      - To remove an active socket unit whose service is one of the O(units) that stay is such a change too.
    type: str
    choices: [refuse, restart]
    default: refuse
  takeover:
    description:
      - What to do when another process holds an address that a socket unit is to listen on, as an app does that used to bind
        its own port. V(false) fails before anything is written, and names the process.
      - V(true) stops it (the unit that it belongs to, which also is disabled, or else the process), starts the socket unit, and tells in
        RV(gap_seconds) how long the port was closed. A service of a user, which that user's own systemd runs, is never stopped.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Install a socket and its service
  holdfast.systemd.unit:
    units:
      - name: shop.socket
        sections:
          Socket:
            ListenStream: [127.0.0.1:4000, "[::1]:4000"]
            FileDescriptorName: web
          Install:
            WantedBy: sockets.target
      - name: shop.service
        sections:
          Unit:
            Description: The shop on %H
          Service:
            ExecStartPre: [-/usr/bin/logger, "starting, 100 % sure"]
            ExecStart: /srv/shop/current/bin/shop start
            Environment:
              GREETING: say "hello"
            NonBlocking: true

- name: Give it more memory, and other commands than it has
  holdfast.systemd.unit:
    name: shop.service
    dropin: 10-limits
    replace: true
    sections:
      Service:
        MemoryMax: 2G
        ExecStartPre: [[/usr/bin/logger, one], [/usr/bin/logger, two]]

- name: Use what only newer versions know where they know it
  holdfast.systemd.unit:
    name: shop.service
    dropin: 20-restart
    unknown: drop
    sections:
      Service:
        RestartMode: direct

- name: Pass a secret
  holdfast.systemd.unit:
    name: shop.service
    dropin: 30-token
    secrets:
      environment:
        TOKEN: "{{ vault_token | default('none') }}"

- name: Listen elsewhere, at the price of a gap
  holdfast.systemd.unit:
    name: shop.socket
    socket_change: restart
    sections:
      Socket:
        ListenStream: 127.0.0.1:4001

- name: Run something every night
  holdfast.systemd.unit:
    units:
      - name: shop-report.timer
        sections:
          Timer:
            OnCalendar: "*-*-* 03:00:00"
          Install:
            WantedBy: timers.target
      - name: shop-report.service
        sections:
          Service:
            Type: oneshot
            ExecStart: [/bin/echo, "a report"]

- name: Remove it all
  holdfast.systemd.unit:
    units:
      - name: shop-report.timer
        state: absent
      - name: shop-report.service
        state: absent
      - name: shop.socket
        state: absent
      - name: shop.service
        state: absent
"""

RETURN = r"""
path:
  description: The path of the file.
  returned: when O(name) was given
  type: str
  sample: /etc/systemd/system/shop.service
units:
  description: What became of each file.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name of the unit.
      type: str
    path:
      description: The path of the file.
      type: str
    changed:
      description: Whether this file was changed.
      type: bool
dropped:
  description: The directives that were left out because the target's systemd does not know them, or may not enforce them.
  returned: always
  type: list
  elements: str
  sample: ["shop.service [Service] RestartMode"]
reloaded:
  description: Whether systemd was made to reload its configuration, or would be.
  returned: always
  type: bool
offline:
  description: Whether systemd does not run on this host, as when an image is built; then nothing was stopped or reloaded.
  returned: always
  type: bool
gap_seconds:
  description: How long a port was closed, from before it closed until it was open again.
  returned: when a socket unit was restarted or an address was taken over
  type: float
"""

import contextlib
import dataclasses
import difflib
import os
import re
import shutil
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _files, _processes, _unit_file
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import UNIT_FOLDER, Schema, Systemd, SystemdError

# systemd's own alphabet for unit names (systemd.unit(5)).
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|target|path|timer|mount|automount|swap|slice|scope|device)\Z")
DROPIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
# Directives of [Socket] that a reload puts into effect. All others are properties of the socket itself, which is
# open already, and a name that is not here counts as one of them.
APPLIES_IN_PLACE = re.compile(
    r"Service|FileDescriptorName|FlushPending|RemoveOnStop|MaxConnections(PerSource)?|TriggerLimit\w+|PollLimit\w+"
    r"|DeferTrigger\w*|PassFileDescriptorsToExec|TimeoutSec|Exec\w+\Z"
)
# Directives of which systemd makes a filter of system calls.
FILTERS = re.compile(
    r"(SystemCall\w+|Restrict(AddressFamilies|Namespaces|Realtime|SUIDSGID)|LockPersonality|MemoryDenyWriteExecute|PrivateDevices"
    r"|Protect(Clock|Hostname|KernelLogs|KernelModules|KernelTunables))\Z"
)


class Refused(Exception):
    """Why a unit cannot be installed, and what to do."""


@dataclasses.dataclass(frozen=True)
class UnitFile:
    """A unit file or drop-in: where it is, what it should be (None for absent), and what it is."""

    name: str
    path: str
    wanted: str | None
    found: str | None
    secrets: frozenset[str]
    mode: int
    found_mode: int

    @property
    def is_dropin(self) -> bool:
        return os.path.dirname(self.path) != UNIT_FOLDER

    @property
    def is_removal(self) -> bool:
        return self.wanted is None and not self.is_dropin

    @property
    def differs(self) -> bool:
        dropins = self.is_removal and os.path.isdir(self.path + ".d")
        return self.wanted != self.found or dropins or (self.wanted is not None and self.mode != self.found_mode)

    @property
    def diff(self) -> dict[str, str]:
        # A file that only root could read was written with secrets, whose names may be gone by now.
        hidden = self.secrets if self.found_mode & 0o044 else None
        before = _unit_file.masked(self.found or "", variables=hidden)
        after = _unit_file.masked(self.wanted or "", variables=self.secrets)
        return {"before_header": self.path, "after_header": self.path, "before": before, "after": after}

    def needs_new_socket(self) -> bool:
        """Whether the change is one that an open socket cannot follow."""
        before, after = (_unit_file.parse(text or "").get("Socket", {}) for text in (self.found, self.wanted))
        return any(before.get(key) != after.get(key) for key in {*before, *after} if not APPLIES_IN_PLACE.match(key))

    def listens_on(self) -> list[tuple[str, str]]:
        """The addresses of a socket unit, each after its directive."""
        sockets = _unit_file.parse(self.wanted or "").get("Socket", {})
        return [(key, address) for key, addresses in sockets.items() if key.startswith("Listen") for address in addresses if address]

    def install(self) -> None:
        folder = os.path.dirname(self.path)
        if self.wanted is not None:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            _files.write_atomically(self.path, self.wanted, mode=self.mode)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        if self.is_dropin:
            with contextlib.suppress(OSError):  # other drop-ins may live there
                os.rmdir(folder)
        else:
            shutil.rmtree(self.path + ".d", ignore_errors=True)

    def put_back(self) -> None:
        """Undoes install()."""
        dataclasses.replace(self, wanted=self.found, mode=self.found_mode).install()


class Reader:
    """Makes unit files of the module's options, by what the target's systemd knows."""

    def __init__(self, schema: Schema, *, drop_unknown: bool, may_filter: bool = True) -> None:
        self.schema = schema
        self.drop_unknown = drop_unknown
        self.may_filter = may_filter
        self.dropped: list[str] = []

    def read(self, options: dict[str, t.Any]) -> UnitFile:
        name, dropin = options["name"], options["dropin"]
        if not UNIT_NAME.match(name):
            raise Refused(f"name: {name!r} is not the name of a unit; one such as shop.service is expected, with its suffix")
        if dropin is not None and not DROPIN_NAME.match(dropin):
            raise Refused(f"dropin: {dropin!r} cannot be the name of a drop-in; use letters, digits, '.', '_' and '-'")
        path = os.path.join(UNIT_FOLDER, f"{name}.d", f"{dropin.removesuffix('.conf')}.conf") if dropin else os.path.join(UNIT_FOLDER, name)
        secrets = {kind: value or {} for kind, value in (options.get("secrets") or {}).items()}
        wanted: str | None = None
        if options["state"] == "present":
            drop_unknown = self.drop_unknown if options.get("unknown") is None else options["unknown"] == "drop"
            wanted = self._render(name, options["sections"] or {}, secrets, replace=options["replace"], drop_unknown=drop_unknown)
            if not wanted and dropin and options["sections"]:
                wanted = None  # this systemd knows nothing of what it would change, so there is no drop-in
            elif not wanted:
                raise Refused(f"{name}: sections must hold at least one directive; use state=absent to remove the file")
        found, found_mode = None, 0o644
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="surrogateescape") as stream:
            found, found_mode = stream.read(), os.fstat(stream.fileno()).st_mode & 0o777
        mode = 0o600 if any(secrets.values()) else 0o644
        return UnitFile(name, path, wanted, found, frozenset(secrets.get("environment") or {}), mode, found_mode)

    def _render(self, name: str, sections: dict[str, t.Any], secrets: dict[str, dict[str, t.Any]], *, replace: bool, drop_unknown: bool) -> str:
        try:
            _unit_file.render(sections)  # what is no section or directive at all is said before what is unknown
            known = self._known(name, _with_secrets(sections, secrets), drop_unknown=drop_unknown)
            return _unit_file.render(known, replace=replace)
        except _unit_file.UnitFileError as error:
            raise Refused(f"{name}: {error}") from error

    def _known(self, name: str, sections: dict[str, t.Any], *, drop_unknown: bool) -> dict[str, t.Any]:
        if not self.schema:
            return sections
        own = name.rpartition(".")[2].capitalize()
        possible = [section for section in ("Unit", own, "Install") if section in self.schema]
        result: dict[str, t.Any] = {}
        for section, directives in sections.items():
            if section.startswith("X-"):
                result[section] = directives
                continue
            if section not in possible:
                nearest = difflib.get_close_matches(section, possible, 1) or possible
                raise Refused(f"{name}: a unit of this type has no section [{section}]; did you mean [{' or '.join(nearest)}]?")
            known = {key for key in self.schema[section] if self.may_filter or not drop_unknown or not FILTERS.match(key)}
            result[section] = {key: value for key, value in (directives or {}).items() if key in known or key.startswith("X-")}
            for key in sorted(set(directives or {}) - set(result[section])):
                if not drop_unknown:
                    raise Refused(self._complaint(name, section, key, possible))
                self.dropped.append(f"{name} [{section}] {key}")
        return result

    def _complaint(self, name: str, section: str, key: str, possible: t.Sequence[str]) -> str:
        message = f"{name}: systemd on this host does not know the directive {key} in [{section}]"
        elsewhere = [other for other in possible if key in self.schema[other]]
        nearest = difflib.get_close_matches(key, self.schema[section], 1, 0.5)
        if elsewhere:
            return f"{message}; it belongs in [{elsewhere[0]}]"
        return f"{message}; did you mean {nearest[0]}?" if nearest else message


def _with_secrets(sections: dict[str, t.Any], secrets: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    environment, credentials = secrets.get("environment") or {}, secrets.get("credentials") or {}
    if not environment and not credentials:
        return sections
    service = dict(sections.get("Service") or {})
    if environment:
        given = service.get("Environment") or {}
        if not isinstance(given, dict):
            raise Refused("sections: Environment must be a dictionary where secrets.environment joins it")
        service["Environment"] = {**given, **environment}
    if credentials:
        given = service.get("SetCredential")
        given = [] if given is None else given if given and isinstance(given, list) else [given or ""]
        service["SetCredential"] = given + [_unit_file.credential(name, str(value)) for name, value in credentials.items()]
    return {**sections, "Service": service}


class Units:
    def __init__(self, module: AnsibleModule) -> None:
        parameters = module.params
        self.check_mode: bool = module.check_mode
        self.warn = module.warn
        self.systemd = Systemd(module.run_command)
        self.running = Systemd.is_running()
        self.restart_sockets: bool = parameters["socket_change"] == "restart"
        self.takeover: bool = parameters["takeover"]
        self.single = parameters["units"] is None
        reader = Reader(self.systemd.schema(), drop_unknown=parameters["unknown"] == "drop", may_filter=self.systemd.may_filter())
        self.files = [reader.read(options) for options in ([parameters] if self.single else parameters["units"])]
        self.dropped = reader.dropped
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise Refused("units: a file is given twice")

    def run(self) -> dict[str, t.Any]:
        changed = [file for file in self.files if file.differs]
        self._verify([file for file in changed if file.wanted is not None])
        sockets = self._sockets_to_restart(changed)
        holders = self._holders()
        gap = None
        if not self.check_mode:
            if sockets or holders:
                self._stop_removed(changed)
                gap = self._reopen(changed, sockets, holders)
            else:
                self._install(changed)
        reloaded = self._reload(bool(changed))
        result: dict[str, t.Any] = {
            "changed": bool(changed or holders) or reloaded,
            "units": [{"name": file.name, "path": file.path, "changed": file in changed} for file in self.files],
            "dropped": self.dropped,
            "reloaded": reloaded or gap is not None,
            "offline": not self.running,
            "diff": [file.diff for file in changed],
        }
        if gap is not None:
            result["gap_seconds"] = gap
        if self.single:
            result["path"] = self.files[0].path
        return result

    def _verify(self, files: t.Sequence[UnitFile]) -> None:
        if not files or not shutil.which("systemd-analyze"):
            return
        # All present files of the set, so that one that has not changed is there for those that refer to it.
        texts = {os.path.relpath(file.path, UNIT_FOLDER): file.wanted for file in self.files if file.wanted is not None}
        serious, others = self.systemd.verify(texts)
        if serious:
            raise Refused("systemd would not take these units as they are meant:\n" + "\n".join(f"  {line}" for line in serious))
        for line in others:
            self.warn(f"systemd-analyze verify: {line}")

    def _sockets_to_restart(self, changed: t.Sequence[UnitFile]) -> list[str]:
        """The active socket units that a change would leave without their socket."""
        if not self.running:
            return []
        if not self.restart_sockets:
            self._refuse_to_close(changed)
        affected = [file for file in changed if file.name.endswith(".socket") and not file.is_removal and file.needs_new_socket()]
        active = list(dict.fromkeys(file.name for file in affected if "@." not in file.name and self.systemd.is_active(file.name)))
        if active and not self.restart_sockets:
            before = self.systemd.show(active[0], "Listen").get("Listen", "")
            raise Refused(
                f"app_listen: {active[0]} is active and holds {before}; this change needs a new socket, so the port would be closed while the "
                f"service stops, the socket restarts and the service starts. With app_socket_change: restart that is done in this order and the "
                f"gap is measured. A further address does not disturb this one if it gets a name, and so a socket unit of its own"
            )
        return active

    def _refuse_to_close(self, changed: t.Sequence[UnitFile]) -> None:
        stays = {file.name for file in self.files if not file.is_removal}
        for file in changed:
            if file.is_removal and file.name.endswith(".socket") and "@." not in file.name and self.systemd.is_active(file.name):
                known = self.systemd.show(file.name, "Listen", "Triggers")
                if stays.intersection(known.get("Triggers", "").split()):
                    raise Refused(
                        f"app_listen: {file.name} is active and holds {known.get('Listen', '')}; it is no longer in the list, so its port would be "
                        "closed for good. With app_socket_change: restart that is done"
                    )

    def _holders(self) -> dict[str, list[_processes.Holder]]:
        """Who holds the addresses of a socket unit that is not up yet, by socket unit."""
        if not self.running:
            return {}
        holders: dict[str, list[_processes.Holder]] = {}
        for file in self.files:
            if file.name.endswith(".socket") and file.wanted and not file.is_dropin and "@." not in file.name and not self.systemd.is_active(file.name):
                for directive, address in file.listens_on():
                    for holder in _processes.holders(directive, address):
                        held = f"app_listen: {address} is already held by {holder}"
                        if holder.user_unit:
                            raise Refused(f"{held}; that user's own systemd would start it again, so stop it there, and disable it")
                        if not self.takeover:
                            raise Refused(f"{held}; stop it, or set app_takeover: true, which stops it and starts {file.name} in one step")
                        holders.setdefault(file.name, []).append(holder)
        return holders

    def _install(self, changed: t.Sequence[UnitFile]) -> None:
        stays, goes = ([file for file in changed if file.is_removal is removal] for removal in (False, True))
        for file in stays:
            file.install()
        if stays and goes and self.running:
            # Until systemd knows that a unit that stays no longer needs one that goes, they would stop together.
            self.systemd.daemon_reload()
        self._stop_removed(goes)
        for file in goes:
            file.install()

    def _stop_removed(self, changed: t.Sequence[UnitFile]) -> None:
        if not self.running:
            return
        removed = [file.name for file in changed if file.is_removal]
        # A template itself is never loaded; its instances are.
        instances = [instance for name in removed if "@." in name for instance in self.systemd.loaded(name.replace("@.", "@*."))]
        removed = [name for name in removed if "@." not in name] + instances
        if removed:
            # Together, for a socket would start the service again that is stopped before it.
            known = [name for name in removed if self.systemd.show(name, "LoadState").get("LoadState") != "not-found"]
            if known:
                self.systemd.stop(*known)
                installed = [file.name for file in changed if file.is_removal and file.found is not None and file.name in known]
                if installed:  # a unit of the distribution, of which only drop-ins are ours, stays as enabled as it was
                    self.systemd.disable(*installed)
                self.systemd.forget_failures(*known)

    def _reopen(self, changed: t.Sequence[UnitFile], sockets: t.Sequence[str], holders: t.Mapping[str, t.Sequence[_processes.Holder]]) -> float:
        """Installs files, with the ports closed for as short a time as it takes; returns that time in seconds."""
        others = list({holder.unit or holder.pid: holder for found in holders.values() for holder in found}.values())
        services = [service for socket in sockets for service in self.systemd.show(socket, "Triggers").get("Triggers", "").split()]
        services = [service for service in dict.fromkeys(services) if self.systemd.is_active(service)]
        if services:
            self.systemd.stop(*services)
        closed = time.monotonic()
        try:
            if sockets:
                self.systemd.stop(*sockets)
            for holder in others:
                self._stop_holder(holder)
            for file in changed:
                file.install()
            self.systemd.daemon_reload()
            self.systemd.start(*sockets, *holders)
        except (SystemdError, OSError) as error:
            for file in changed:
                file.put_back()
            self.systemd.daemon_reload()
            stopped = [*sockets, *services, *(holder.unit for holder in others if holder.unit)]
            if stopped:
                self.systemd.start(*stopped)
            raise Refused(f"the new sockets could not be opened, and the units are as before: {error}") from error
        gap = time.monotonic() - closed
        self._retire([holder.unit for holder in others if holder.unit not in {file.name for file in self.files}])
        if services:
            self.systemd.start(*services)
        return round(gap, 3)

    def _stop_holder(self, holder: _processes.Holder) -> None:
        if holder.unit:
            self.systemd.stop(holder.unit)
        else:
            holder.end()

    def _retire(self, units: t.Collection[str]) -> None:
        """Keeps units from taking back at boot the addresses that they have lost."""
        for unit in units:
            if unit and self.systemd.show(unit, "UnitFileState").get("UnitFileState") == "enabled":
                self.systemd.disable(unit)

    def _reload(self, changed: bool) -> bool:
        if not self.running:
            return False
        if self.check_mode:
            return changed or self._is_stale()
        if not self._is_stale():
            return False
        self.systemd.daemon_reload()
        return True

    def _is_stale(self) -> bool:
        return any(self.systemd.needs_reload(file.name, file.path) for file in self.files)


def main() -> t.NoReturn:
    secrets = {"environment": {"type": "dict", "no_log": True}, "credentials": {"type": "dict", "no_log": True}}
    options: dict[str, t.Any] = {
        "name": {"type": "str"},
        "sections": {"type": "dict"},
        "dropin": {"type": "str"},
        "replace": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    module = AnsibleModule(
        argument_spec={
            **options,
            "units": {
                "type": "list",
                "elements": "dict",
                "options": {**options, "name": {"type": "str", "required": True}, "unknown": {"type": "str", "choices": ["fail", "drop"]}},
            },
            "secrets": {"type": "dict", "no_log": True, "options": secrets},
            "unknown": {"type": "str", "choices": ["fail", "drop"], "default": "fail"},
            "socket_change": {"type": "str", "choices": ["refuse", "restart"], "default": "refuse"},
            "takeover": {"type": "bool", "default": False},
        },
        required_one_of=[("name", "units")],
        mutually_exclusive=[("name", "units"), ("sections", "units"), ("dropin", "units"), ("secrets", "units")],
        supports_check_mode=True,
    )
    try:
        result = Units(module).run()
    except (Refused, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
