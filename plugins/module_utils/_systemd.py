# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door to systemd: systemctl, journalctl, systemd-analyze and its list of directives. Private to the collection.

What belongs here asks systemd or tells it something. What follows from the answer belongs to the caller.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _files
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import lacking

UNIT_FOLDER = "/etc/systemd/system"
RUNTIME_UNIT_FOLDER = "/run/systemd/system"
CAP_SYS_ADMIN = 21
NEEDS_SYS_ADMIN_TO_FILTER = 255
BINARIES = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")

Run = t.Callable[..., tuple[int, str, str]]
Schema = dict[str, frozenset[str]]


class SystemdError(Exception):
    """A command that systemd refused, with what it said."""


class Systemd:
    """systemd on this host, asked through a function that runs a command (AnsibleModule.run_command).

    Anybody may look. What takes root goes through `way_in`, the helper of an app, for a caller who is not root.
    """

    def __init__(self, run: Run, way_in: tuple[str, ...] = ()) -> None:
        self._run = run
        self.way_in = way_in

    @staticmethod
    def is_running() -> bool:
        """Whether systemd is the init of this host; in a chroot or an image build it is not."""
        return os.path.isdir("/run/systemd/system")

    def may_filter(self) -> bool:
        """Whether systemd starts a service of another user whose system calls it has to filter.

        That takes CAP_SYS_ADMIN, which containers withhold. Up to version 254 systemd does without it, by NoNewPrivileges=.
        """
        try:
            with open("/proc/1/status", encoding="ascii", errors="replace") as stream:
                if any(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1 for line in stream if line.startswith("CapEff:")):
                    return True
        except OSError:
            return True
        binary = self._binary()
        if binary is None:
            return False
        _code, output, _errors = self._run([binary, "--version"])
        version = re.match(r"systemd (\d+)", output)
        return version is not None and int(version.group(1)) < NEEDS_SYS_ADMIN_TO_FILTER

    def refuse_without_rights(self) -> None:
        """Raises SystemdError for a caller who is not root and has no helper of the app."""
        if self.way_in:
            code, output, errors = self._run([*self.way_in, "check"])
            if code != 0:
                raise SystemdError(lacking((errors or output).strip() or self.way_in[-1]))

    # Units

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as systemd has it loaded now (or would load it); one that comes several times has several lines."""
        output = self._systemctl("show", "--property=" + ",".join(properties), "--", unit)
        found: dict[str, str] = {}
        for line in output.split("\n"):
            name, equals, value = line.partition("=")
            if equals:
                found[name] = f"{found[name]}\n{value}" if name in found else value
        return found

    def is_active(self, unit: str) -> bool:
        """Whether a unit is up."""
        return self.show(unit, "ActiveState").get("ActiveState") == "active"

    def start(self, *units: str) -> None:
        """Starts units and waits until they are up; raises SystemdError if one does not come up."""
        self._manage("start", *units)

    def stop(self, *units: str) -> None:
        """Stops units together and waits until they have stopped."""
        self._manage("stop", *units)

    def begin_to_stop(self, *units: str) -> None:
        """Tells units to stop, and does not wait until they have."""
        self._systemctl("stop", "--no-block", "--", *units)

    def kill(self, signal: str, unit: str) -> None:
        """Sends a signal to all processes of a unit."""
        self._systemctl("kill", f"--signal={signal}", "--", unit)

    def restart(self, unit: str) -> None:
        """Restarts a unit, or starts it, and waits until it is up; raises SystemdError if it does not."""
        self._manage("restart", unit)

    def reload(self, unit: str) -> None:
        """Asks a unit to reload itself, and waits until systemd says that it has."""
        self._manage("reload", unit)

    def loaded(self, pattern: str) -> list[str]:
        """The names of the units that systemd has in memory and that match a pattern."""
        listed = self._systemctl("list-units", "--all", "--plain", "--no-legend", "--", pattern)
        return [line.split()[0] for line in listed.splitlines() if line.strip()]

    def text(self, unit: str) -> str:
        """The unit file and its drop-ins, one after the other, as they are on disk."""
        return self._systemctl("cat", "--", unit)

    def run_once(self, unit: str, commands: Commands) -> None:
        """Runs commands in a oneshot unit that is there for this one run, and waits for its end; raises SystemdError if they fail."""
        if self.way_in:
            return self._ask("run", unit, commands.release, commands.timeout, commands.variable, data=json.dumps(list(commands.commands)))
        text = commands.unit(self.text(commands.service))
        os.makedirs(RUNTIME_UNIT_FOLDER, mode=0o755, exist_ok=True)
        # It says what the unit of the app says, with the secrets of its drop-ins.
        _files.write_atomically(os.path.join(RUNTIME_UNIT_FOLDER, unit), text, mode=0o600)
        try:
            self._systemctl("start", "--", unit)
        finally:
            self.forget_once(unit)
        return None

    def forget_once(self, *units: str) -> None:
        """Ends units of `run_once`, also those of a run that died, and takes their files away."""
        if self.way_in:
            return self._ask("forget", *units)
        self._run(["systemctl", "stop", "--", *units])
        for unit in units:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(RUNTIME_UNIT_FOLDER, unit))
        return self.forget_failures(*units)

    def disable(self, *units: str) -> None:
        """Takes away the links that start units at boot."""
        self._systemctl("disable", "--", *units)

    def forget_failures(self, *units: str) -> None:
        """Makes systemd forget that units have failed, so that it can forget the units."""
        with contextlib.suppress(SystemdError):  # it has nothing to forget of a unit that has not failed
            self._manage("reset-failed", *units)

    def daemon_reload(self) -> None:
        """Makes systemd read all unit files again."""
        self._systemctl("daemon-reload")

    def needs_reload(self, unit: str, path: str) -> bool:
        """Whether systemd has loaded something else than what is on disk at `path` (a file or a drop-in)."""
        name, _at, suffix = unit.partition("@.")
        if suffix:
            # A template itself is never loaded; its instances are.
            return any(self.needs_reload(instance, path) for instance in self.loaded(f"{name}@*.{suffix}"))
        known = self.show(unit, "FragmentPath", "DropInPaths", "NeedDaemonReload", "LoadState")
        loaded = path in [known.get("FragmentPath", ""), *known.get("DropInPaths", "").split()]
        if known.get("LoadState") == "not-found" and os.path.basename(os.path.dirname(path)) == f"{unit}.d":
            return False  # there is no such unit (yet), so nobody has loaded its drop-in
        # NeedDaemonReload alone misses a unit's first drop-in folder and a unit that was looked up before
        # its file existed.
        return known.get("NeedDaemonReload") == "yes" or loaded != os.path.exists(path)

    def journal(self, *units: str, since: float, lines: int = 20) -> list[str]:
        """The last lines that units and systemd itself wrote about them since a point in time (seconds)."""
        if not self.way_in:
            # What a process has said at its very end may be on its way still. Clients may be waiting too, so not for long.
            self._run(["timeout", "2", "journalctl", "--sync"])
        command = ["journalctl", *(f"--unit={unit}" for unit in units), f"--since=@{int(since)}", f"--lines={lines}", "--output=cat", "--no-pager", "--quiet"]
        code, output, _errors = self._run([*self.way_in, "journal", str(int(since)), str(lines), *units] if self.way_in else command)
        return output.splitlines() if code == 0 else []

    # Unit files

    @staticmethod
    def _binary() -> str | None:
        return next((path for path in BINARIES if os.path.exists(path)), None)

    def schema(self) -> Schema:
        """Every directive that this host's systemd knows, by section; empty where it has no systemd."""
        binary = self._binary()
        if binary is None:
            return {}
        code, output, errors = self._run([binary, "--dump-configuration-items"])
        if code != 0:
            raise SystemdError(f"{binary} --dump-configuration-items: {errors.strip()}")
        sections: dict[str, set[str]] = {}
        for line in output.splitlines():
            if line.startswith("["):
                directives = sections.setdefault(line.strip("[]"), set())
            elif "=" in line:
                directives.add(line.partition("=")[0])
        return {section: frozenset(found) for section, found in sections.items()}

    def verify(self, files: t.Mapping[str, str]) -> tuple[list[str], list[str]]:
        """What systemd says of unit files before they are installed: what it would ignore or refuse, and the rest.

        `files` are texts by their paths relative to the folder of units (shop.service, shop.service.d/10-x.conf), so
        that systemd sees the whole set under its final names. A program that does not exist yet is no complaint.
        """
        root = tempfile.mkdtemp(prefix="units-")
        folder = root + UNIT_FOLDER
        try:
            for name, text in files.items():
                path = os.path.join(folder, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as stream:
                    stream.write(text)
            units = sorted({self._whole_unit(folder, name.partition(".d/")[0]) for name in files} - {""})
            code, said = self._verbose("systemd-analyze", "verify", "--man=no", *(os.path.join(folder, unit) for unit in units))
            lines = said.replace(folder + "/./", "").replace(folder + "/", "").splitlines()
            for name in files:
                # The section [Install] is read only when a unit is enabled.
                if "\n[Install]" in "\n" + files[name] and "@." not in name and name in units:
                    refused, said = self._verbose("systemctl", f"--root={root}", "enable", "--", name)
                    trouble = re.findall(r"^.*(?:ignoring|Failed|not a valid).*$", said.replace(folder + "/", ""), re.MULTILINE)
                    lines += [f"{name}: [Install] is ignored: {line}" for line in trouble or ([said.strip()] if refused else [])]
        finally:
            shutil.rmtree(root)
        # It looks at units of others too, and at the lines of a unit of which only a drop-in is ours to judge.
        foreign = tuple(f"{unit}:{digit}" for unit in units if unit not in files for digit in "123456789")
        ours = dict.fromkeys(line for line in lines if any(name in line for name in [*units, *files]) and not line.startswith(foreign))
        told = [line for line in ours if not re.search(r"Command .* is not executable", line)]
        serious = [line for line in told if _is_serious(line)]
        if code != 0 and not serious and len(told) == len(ours):
            serious = told
        return serious, [line for line in told if line not in serious]

    def _whole_unit(self, folder: str, unit: str) -> str:
        """Puts the unit that a drop-in extends beside it; returns its name, or nothing where there is no such unit."""
        path = os.path.join(folder, unit)
        if not os.path.exists(path):
            installed = self.show(unit, "FragmentPath").get("FragmentPath", "") if self.is_running() and "@." not in unit else ""
            installed = installed or next((found for found in (f"{UNIT_FOLDER}/{unit}", f"/usr/lib/systemd/system/{unit}") if os.path.exists(found)), "")
            if not installed:
                return ""
            shutil.copyfile(installed, path)
        return unit

    def _verbose(self, *command: str) -> tuple[int, str]:
        plain = {"SYSTEMD_LOG_COLOR": "0", "SYSTEMD_COLORS": "0", "LANG": "C"}
        code, output, errors = self._run(list(command), environ_update=plain)
        # Version 247 has colours all the same.
        return code, re.sub(r"\x1b\[[0-9;]*m", "", output + errors)

    def _manage(self, verb: str, *units: str) -> None:
        if self.way_in:
            self._ask(verb, *units)
        else:
            self._systemctl(verb, "--", *units)

    def _ask(self, *arguments: str, data: str | None = None) -> None:
        """Asks the helper of the app."""
        code, output, errors = self._run([*self.way_in, *arguments], data=data)
        if code != 0:
            raise SystemdError(f"{self.way_in[-1]} {' '.join(arguments)}: {(errors or output).strip()}")

    def _systemctl(self, *arguments: str) -> str:
        code, output, errors = self._run(["systemctl", "--no-pager", *arguments])
        if code != 0:
            raise SystemdError(f"systemctl {' '.join(arguments)}: {(errors or output).strip()}")
        return output


def _is_serious(line: str) -> bool:
    """Whether systemd-analyze says that something of a unit would not be in effect."""
    if re.search(r"ignor|Dependency \S+ (is )?dropped|fatal error|bad unit file setting|Refusing|not loaded", line, re.IGNORECASE):
        return True
    # A line of a file is named for what is wrong with it, or for what has a newer way to say it.
    return bool(re.match(r"\S+:\d+: ", line)) and not re.search(r"updating|please use|unsafe|deprecated|obsolete", line, re.IGNORECASE)
