# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a deploy, and the unit that runs them as the service would. Private to the collection.

Everything here is pure but for a look whether the release brings a program. It is a part of the helper that an app with
a deploy user gets, so it needs nothing but the standard library and _unit_file. Starting that unit belongs to _systemd, and
when that is done to _switch.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import UnitFileError, parse, render

# What a command of a deploy does not take over from the service: how that is started, watched and ended.
NOT_FOR_COMMANDS = re.compile(
    r"(Exec\w+|Type|Restart\w*|Sockets|NonBlocking|WatchdogSec|NotifyAccess|PIDFile|BusName|RuntimeMaxSec|Timeout\w+|RemainAfterExit|"
    r"SuccessExitStatus|FileDescriptorStore\w+|WorkingDirectory|RuntimeDirectoryPreserve|OpenFile)\Z"
)
# A program in whose word nothing is expanded or escaped, with no prefix that means root (+ and !) or another shell (|).
UNPRIVILEGED = re.compile(r"""(?P<quote>"?)[-@:]*[A-Za-z0-9._/][^\s"'\\%$;]*(?P=quote)(?=\s|\Z)""")
# systemd takes the quotes off before it looks for a prefix.
PRIVILEGES = re.compile(r"""[\s"'@:-]*[+!|]""")
# What begins another command in the same line, with prefixes of its own.
SEPARATOR = re.compile(r"(^|\s);(\s|$)")


@dataclasses.dataclass(frozen=True)
class Commands:
    """Commands to run one after the other in a release; each is text as systemd reads it, or a list of arguments."""

    commands: t.Sequence[t.Any]
    service: str
    release: str
    folder: str
    timeout: str
    variable: str

    def __str__(self) -> str:
        return "; ".join(command if isinstance(command, str) else shlex.join(map(str, command)) for command in self.commands)

    def unit(self, text: str, **more: str) -> str:
        """A unit with the account, environment, directories and limits of the service, whose text is given, these commands, and more directives."""
        name = self.service.rpartition(".")[0]
        # In the unit of another name these mean something else.
        for specifier, meaning in (("%n", self.service), ("%N", name), ("%p", name)):
            text = re.sub(rf"(?<!%)((?:%%)*){specifier}", rf"\g<1>{meaning}", text)
        # Where the service names its own release, such as an environment file in it, these commands mean theirs.
        current = os.path.join(os.path.dirname(os.path.dirname(self.folder)), "current")
        text = re.sub(rf"{re.escape(current)}(?![\w.-])", self.folder, text)
        taken = {key: values for key, values in parse(text).get("Service", {}).items() if not NOT_FOR_COMMANDS.match(key)}
        if any(map(_is_privileged, self.commands)):
            # The app's user may write below /run, and so could give root a LD_PRELOAD.
            taken["EnvironmentFile"] = [name for name in taken.get("EnvironmentFile", []) if not name.lstrip("-").startswith("/run/")]
        own = {
            "Type": "oneshot",
            "WorkingDirectory": self.folder,
            "TimeoutStartSec": self.timeout,
            # It belongs to the live app too.
            "RuntimeDirectoryPreserve": "yes",
            "ExecStart": self._starts(),
        }
        return render({"Unit": {"Description": f"{self.variable} of {name} {self.release}"}, "Service": {**taken, **own, **more}})

    def refuse_privileges(self) -> None:
        """Raises UnitFileError for a command that would, or could be made to, run with more rights than the app has."""
        for given in self.commands:
            # Each alone, so that none is judged by the text of another.
            *_section, line = render({"Service": {"ExecStart": ["", _in_release(given, self.folder)]}}).strip("\n").split("\n")
            command = line.partition("=")[2].strip(" \t")
            if command.splitlines() != [command]:
                raise UnitFileError(f"{command!r}: whoever is not root gives each command as one line, without separators of lines")
            if not UNPRIVILEGED.match(command) or _is_privileged(given):
                raise UnitFileError(f"{command!r}: whoever is not root gives the path of a program as it is, with no other prefix than '-', '@' and ':'")
            if SEPARATOR.search(command):
                raise UnitFileError(f"{command!r}: whoever is not root gives each command alone, without ' ; '; an argument that is one goes into a list")

    def _starts(self) -> list[t.Any]:
        # It begins with a reset, so that several texts are several commands and not the words of one.
        return ["", *(_in_release(command, self.folder) for command in self.commands)]


def _is_privileged(command: t.Any) -> bool:
    """Whether a command says that it runs with more rights than the app's user has."""
    return bool(PRIVILEGES.match(str(command if isinstance(command, str) else command[0])))


def _in_release(command: t.Any, folder: str) -> t.Any:
    """A command with its program looked up in the release."""
    if not isinstance(command, str):
        return [_program_in_release(str(command[0]), folder), *command[1:]]
    found = re.match(r"(\S+)(.*)\Z", command.strip(), re.DOTALL)
    return _program_in_release(found[1], folder) + found[2] if found else command


def _program_in_release(word: str, folder: str) -> str:
    program = word.lstrip("@:+!|-")
    path = os.path.join(folder, program)
    if not program or program.startswith(("/", '"', "'")) or not ("/" in program or os.path.exists(path)):
        return word
    return word[: len(word) - len(program)] + path
