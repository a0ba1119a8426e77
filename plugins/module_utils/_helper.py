# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy user may do as root, for one app and nothing else. Private to the collection.

The role layout installs it as /usr/local/libexec/holdfast/<app>: _unit_file, _commands and this file in one, with the
names of the app at the end. sudo runs it for the deploy user with whatever words he likes, so nothing that he says is
believed: every word is matched whole, every path is made here, and of his surroundings nothing is taken over.

    check                                           whether he may come here at all
    start|stop|restart|reload|reset-failed UNIT...  units of the app
    journal SINCE LINES UNIT...                     what they have said
    run UNIT RELEASE TIMEOUT VARIABLE  <JSON        commands of a deploy, as the service would run them
    forget UNIT...                                  what such a run has left behind
    as-app FOLDER SECONDS COMMAND...                a command with the rights of the app's user

What belongs here is what takes root and cannot be had otherwise. Whatever the deploy user can do with his own rights does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import tempfile
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import UnitFileError, parse

# Root runs this as a program, where there is no AnsibleModule with a run_command.
# pylint: disable=ansible-bad-function

RELEASE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
LARGEST_INPUT = 1 << 20
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
RUNTIME_UNITS = "/run/systemd/system"
MANY = 1000
HOW_MANY_WORDS = {
    "check": range(1),
    **dict.fromkeys(("start", "stop", "restart", "reload", "reset-failed"), range(1, MANY)),
    "journal": range(3, MANY),
    "run": range(4, 5),
    "forget": range(1, MANY),
    "as-app": range(3, MANY),
}
PR_SET_NO_NEW_PRIVS = 38
# How the program timeout says that it ended a command, and a shell that there is none.
TIMED_OUT, NOT_RUN = 124, 127


class RefusedError(Exception):
    """What was asked for that this helper does not do."""


class Helper:
    """The privileged half of the deploys of one app."""

    def __init__(self, *, service: str, stand_in: str, units: t.Mapping[str, t.Sequence[str]], releases: str, user: str, group: str) -> None:
        self.service = service
        self.releases = releases
        self.user = user
        self.group = group
        # Which verbs each unit takes; those of a stand-in need not name a release that is still there, but for start.
        self.units = units
        name, suffix = stand_in.split("@")
        self.stand_in = re.compile(rf"{re.escape(name)}@(?P<release>{RELEASE}){re.escape(suffix)}")
        self.all_stand_ins = f"{name}@*{suffix}"
        self.commands_unit = re.compile(rf"{re.escape(service.rpartition('.')[0])}-deploy-[0-9]{{1,10}}\.service")

    def do(self, action: str, words: t.Sequence[str]) -> int:
        if len(words) not in HOW_MANY_WORDS.get(action, ()):
            raise RefusedError(f"{action!r} with {len(words)} words is nothing that it does")
        if action == "journal":
            return self._journal(*words)
        if action == "run":
            return self._run(*words)
        if action == "forget":
            return self._forget(words)
        if action == "as-app":
            return self._as_app(*words)
        return 0 if action == "check" else self._manage(action, words)

    # Units

    def _manage(self, verb: str, units: t.Sequence[str]) -> int:
        for unit in units:
            if verb not in self._verbs(unit):
                raise RefusedError(f"it does not {verb} {unit!r}")
        return _systemctl(verb, *units)

    def _verbs(self, unit: str) -> t.Collection[str]:
        stand_in = self.stand_in.fullmatch(unit)
        if stand_in:
            return ("start", "stop", "reset-failed") if self._is_staged(stand_in["release"]) else ("stop", "reset-failed")
        return self.units.get(unit, ())

    def _is_staged(self, release: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(os.path.join(self.releases, release)).st_mode)
        except OSError:
            return False

    def _journal(self, since: str, lines: str, *units: str) -> int:
        _whole(r"[0-9]{1,12}", since)
        _whole(r"[0-9]{1,4}", lines)
        for unit in units:
            if not (unit in self.units or unit == self.all_stand_ins or self.stand_in.fullmatch(unit)):
                self._own(unit)
        # What a process has said at its very end may be on its way still.
        _do(["timeout", "2", "journalctl", "--sync"], quiet=True)
        options = [f"--since=@{since}", f"--lines={lines}", "--output=cat", "--no-pager", "--quiet"]
        return _do(["journalctl", *(f"--unit={unit}" for unit in units), *options])

    # Commands of a deploy

    def _run(self, unit: str, release: str, timeout: str, variable: str) -> int:
        self._own(unit)
        _whole(RELEASE, release)
        _whole(r"[0-9a-z. ]{1,40}", timeout)
        _whole(r"app_(before|after)_switch", variable)
        if not self._is_staged(release):
            raise RefusedError(f"there is no release {release}")
        path = os.path.join(RUNTIME_UNITS, unit)
        _write(path, self._text(_given(), release, timeout, variable))
        try:
            return _systemctl("start", unit)
        finally:
            self._forget([unit])

    def _text(self, commands: t.Any, release: str, timeout: str, variable: str) -> str:
        """The unit, of nothing but what the service's own says, what is fixed, and commands that have no privileges."""
        if not isinstance(commands, list) or not all(command and isinstance(command, (str, list)) for command in commands):
            raise RefusedError("give the commands as a list of texts and lists")
        service = subprocess.run(
            ["systemctl", "--no-pager", "cat", "--", self.service], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout
        wanted = Commands(commands, self.service, release, os.path.join(self.releases, release), timeout, variable)
        try:
            wanted.refuse_privileges()
            # A program of the deploy user's with the bit for its group would have that group, and the app's user.
            text = wanted.unit(service, NoNewPrivileges="yes")
        except UnitFileError as error:
            raise RefusedError(str(error)) from error
        if parse(text)["Service"].get("User", [""])[-1] != self.user:
            raise RefusedError(f"{self.service} does not run as {self.user}")
        return text

    def _own(self, unit: str) -> None:
        """Refuses what is no unit of such commands, also one of another app that happens to have such a name."""
        if not self.commands_unit.fullmatch(unit):
            raise RefusedError(f"{unit!r} is no unit for commands")
        known = subprocess.run(
            ["systemctl", "show", "--property=FragmentPath", "--", unit], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout
        if known.strip() not in ("FragmentPath=", f"FragmentPath={RUNTIME_UNITS}/{unit}"):
            raise RefusedError(f"{unit} is somebody else's")

    def _forget(self, units: t.Sequence[str]) -> int:
        for unit in units:
            self._own(unit)
        for unit in units:
            _systemctl("stop", unit, quiet=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(RUNTIME_UNITS, unit))
            _systemctl("reset-failed", unit, quiet=True)
        return 0

    # The app's user

    def _as_app(self, folder: str, seconds: str, *command: str) -> int:
        _whole(r"[0-9]{1,6}(\.[0-9]{1,6})?", seconds)
        account, gid = pwd.getpwnam(self.user), grp.getgrnam(self.group).gr_gid
        if account.pw_uid == 0:
            raise RefusedError(f"{self.user} is root")
        # A program of the deploy user's with the bit for its group would have that group, and the app's user.
        if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise RefusedError("the kernel cannot take the way to more rights away")
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        environment = {"PATH": ENVIRONMENT["PATH"], "LANG": ENVIRONMENT["LANG"], "HOME": account.pw_dir, "USER": self.user, "LOGNAME": self.user}
        try:
            # Only now, so that no link leads to where the app's user may not go.
            os.chdir(folder)
            # In a session of its own it has no terminal of the caller's, into which it could type.
            done = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, timeout=float(seconds) or None, start_new_session=True, check=False)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{command[0]} cannot be run: {error}\n")
            return NOT_RUN
        return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _whole(pattern: str, word: str) -> None:
    if not re.fullmatch(pattern, word):
        raise RefusedError(f"{word!r} is not what belongs there")


def _given() -> t.Any:
    text = sys.stdin.buffer.read(LARGEST_INPUT + 1)
    if len(text) > LARGEST_INPUT:
        raise RefusedError("that is too much")
    try:
        return json.loads(text)
    except ValueError as error:
        raise RefusedError(f"this is no JSON: {error}") from error


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    # For root's eyes alone: a service may have a secret in its text.
    handle, temporary = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _systemctl(verb: str, *units: str, quiet: bool = False) -> int:
    return _do(["systemctl", "--no-pager", "--no-ask-password", verb, "--", *units], quiet=quiet)


def _do(command: list[str], *, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode


def main(*, service: str, stand_in: str, units: t.Mapping[str, t.Sequence[str]], releases: str, user: str, group: str) -> t.NoReturn:
    os.chdir("/")
    os.umask(0o022)
    action, *words = sys.argv[1:] or [""]
    try:
        raise SystemExit(Helper(service=service, stand_in=stand_in, units=units, releases=releases, user=user, group=group).do(action, words))
    except (RefusedError, OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{sys.argv[0]} refused this: {error}") from error
