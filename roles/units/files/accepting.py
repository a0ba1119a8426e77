# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until an app accepts connections on a socket that it was given, for an app that cannot say so itself.

    accepting.py ADDRESS...    as ExecStartPost=, with the addresses of its sockets as in app_listen

To connect would tell nothing: two instances share a socket while one takes over from the other, and either could answer.
So what is looked at is whether a process of this instance waits for connections: the socket is in one of its epoll sets,
or one of its threads sleeps in accept().
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import sys
import time
import types
import typing as t

RETRY_SECONDS = 0.03
FIRST_FD = 3
MOST_TOLD = 5
# What an epoll set says of each member: its number where it was added, what is waited for there, and the inode (since Linux 4.13).
MEMBER = re.compile(r"^tfd:\s*(?P<fd>\d+)\s+events:\s*(?P<events>[0-9a-f]+)(?:.*\bino:(?P<inode>[0-9a-f]+))?", re.MULTILINE)
READABLE = 0x001
LISTENS = "0A"
TAKES_CONNECTIONS = 0x10000
# Where in the kernel a thread sleeps that accepts on a socket of TCP.
IN_ACCEPT = "inet_csk_accept"


class Instance:
    """The processes of one instance of the app, as far as its own user can see them."""

    def __init__(self, main: int, addresses: t.Sequence[str], *, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self.main = main
        self.addresses = addresses
        self.proc = proc
        self.cgroups = cgroups
        # They stay the same as long as the socket units hold them.
        self._inodes: frozenset[int] = frozenset()

    def accepts(self) -> bool:
        """Whether one of the processes waits for connections now."""
        self._inodes = self._inodes or self._of_addresses()
        # In a network of its own the process does not see the addresses.
        inodes = self._inodes or self._given()
        return any(self._accepts(process, inodes) for process in self.processes())

    def has_ended(self) -> bool:
        """Whether the main process is gone."""
        try:
            os.kill(self.main, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it runs as somebody else, and it runs
        return False

    def processes(self) -> list[int]:
        """The processes of the control group that systemd has made for the instance."""
        for folder in self._folders():
            found = [
                int(line)
                for place, _folders, files in os.walk(folder)
                if "cgroup.procs" in files
                for line in _read(f"{place}/cgroup.procs").split()
                if int(line) not in (0, os.getpid())
            ]
            if found:
                return found
        return [self.main]

    def describe(self, process: int) -> str:
        """A process in words, for a message."""
        words = _read(f"{self.proc}/{process}/cmdline").replace("\0", " ").strip() or "a process"
        with contextlib.suppress(OSError):
            os.listdir(f"{self.proc}/{process}/fd")
            return f"{words[:80]} (PID {process})"
        return f"{words[:80]} (PID {process}, into which nobody but root may look)"

    def _folders(self) -> t.Iterator[str]:
        """Where the kernel may list these processes. Only one of the hierarchies is systemd's, and a line without a name may be of either."""
        lines = _read(f"{self.proc}/{self.main}/cgroup").splitlines()
        for line in sorted(lines, key=lambda line: ":name=systemd:" not in line):
            _number, controllers, path = line.split(":", 2)
            if controllers == "name=systemd":
                yield f"{self.cgroups}/systemd{path}"
            elif not controllers:
                yield f"{self.cgroups}{path}"
                yield f"{self.cgroups}/unified{path}"

    def _of_addresses(self) -> frozenset[int]:
        """The inodes of the sockets that listen at the addresses."""
        wanted = {name for address in self.addresses for name in names(address)}
        found = []
        for table in ("tcp", "tcp6"):
            for line in _read(f"{self.proc}/net/{table}").splitlines()[1:]:
                fields = line.split()
                if fields[1] in wanted and fields[3] == LISTENS:
                    found.append(int(fields[9]))
        for line in _read(f"{self.proc}/net/unix").splitlines()[1:]:
            fields = line.split(None, 7)
            if fields[7:] and fields[7] in wanted and int(fields[3], 16) & TAKES_CONNECTIONS:
                found.append(int(fields[6]))
        return frozenset(found)

    def _given(self) -> frozenset[int]:
        """The inodes of the sockets where the main process was given its own."""
        links = self._links(self.main)
        found = (_inode(links.get(FIRST_FD + number, "")) for number in range(len(self.addresses)))
        return frozenset(inode for inode in found if inode is not None)

    def _accepts(self, process: int, inodes: t.Collection[int]) -> bool:
        links = self._links(process)
        for fd, target in links.items():
            if target == "anon_inode:[eventpoll]":
                for member in MEMBER.finditer(_read(f"{self.proc}/{process}/fdinfo/{fd}")):
                    inode = int(member["inode"], 16) if member["inode"] else _inode(links.get(int(member["fd"]), ""))
                    if inode in inodes and int(member["events"], 16) & READABLE:
                        return True
        has_one = any(_inode(target) in inodes for target in links.values())
        return has_one and any(self._sleeps_in_accept(f"{self.proc}/{process}/task/{thread}", links, inodes) for thread in self._threads(process))

    def _sleeps_in_accept(self, thread: str, links: t.Mapping[int, str], inodes: t.Collection[int]) -> bool:
        if not _read(f"{thread}/wchan").startswith(IN_ACCEPT):
            return False
        # Not everybody may read on which one, and most apps have no other.
        fields = _read(f"{thread}/syscall").split()
        return _inode(links.get(int(fields[1], 16), "")) in inodes if fields[1:] else True

    def _threads(self, process: int) -> list[str]:
        with contextlib.suppress(OSError):
            return os.listdir(f"{self.proc}/{process}/task")
        return []

    def _links(self, process: int) -> dict[int, str]:
        """What the file descriptors of a process are; none, if it has ended or is not to be looked into."""
        found = {}
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"{self.proc}/{process}/fd"):
                with contextlib.suppress(OSError):
                    found[int(fd)] = os.readlink(f"{self.proc}/{process}/fd/{fd}")
        return found


def names(address: str) -> list[str]:
    """How the kernel's tables write an address of app_listen. A port alone is one of IPv6, or of IPv4 where the host has no other."""
    if address.startswith(("/", "@")):
        return [re.sub("/+", "/", address)]
    host, _colon, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = [socket.inet_pton(family, host.strip("[]").partition("%")[0])] if host else [bytes(16), bytes(4)]
    return [f"{_words(one)}:{int(port):04X}" for one in packed]


def _words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))


def _inode(link: str) -> int | None:
    found = re.match(r"socket:\[(\d+)\]\Z", link)
    return int(found[1]) if found else None


def _read(path: str) -> str:
    """The text of a file; none, if it is gone or not to be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def main() -> None:
    instance = Instance(int(os.environ["MAINPID"]), sys.argv[1:])
    where = " or ".join(instance.addresses)
    started = time.monotonic()

    def give_up(_number: int, _frame: types.FrameType | None) -> None:
        processes = instance.processes()
        seen = ", ".join(map(instance.describe, processes[:MOST_TOLD])) + (f" and {len(processes) - MOST_TOLD} more" if processes[MOST_TOLD:] else "")
        sys.exit(
            f"app_wait_until_accepting: told to stop after {time.monotonic() - started:.0f} s in which no process of this instance has waited for connections "
            f"on {where}; there is {seen}. The app must take the socket that it is given, as file descriptor {FIRST_FD}"
        )

    # systemd's own timeout ends this.
    signal.signal(signal.SIGTERM, give_up)
    while not instance.accepts():
        if instance.has_ended():
            sys.exit(f"app_wait_until_accepting: the app (PID {instance.main}) has ended before it waited for connections on {where}")
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    main()
