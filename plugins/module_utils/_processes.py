# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes on this host: as whom to run one, where one runs, and which one holds an address. Private to the collection."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import ipaddress
import os
import pwd
import re
import signal
import struct
import subprocess
import time
import typing as t

# How the helper of an app says that a command was ended, as the program timeout does.
TIMED_OUT = 124
# Where a command is looked for that root runs for somebody else.
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Account:
    """Whose rights a command runs with; empty names mean the caller's own. A caller who is not root gets them through `way_in`."""

    user: str = ""
    group: str = ""
    way_in: tuple[str, ...] = ()

    def run(self, command: t.Sequence[str], *, folder: str = "/", timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
        """Runs a command with these rights and nothing to read; raises subprocess.TimeoutExpired, or OSError if it cannot be run."""
        if not self.user:
            return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        if not self.way_in:
            return self._run_as_root(command, folder, timeout)
        # The helper ends what takes too long, for the caller may not.
        asked = [*self.way_in, "as-app", folder, f"{timeout or 0:.3f}", *command]
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if timeout and done.returncode == TIMED_OUT:
            raise subprocess.TimeoutExpired(command, timeout)
        return done

    def _run_as_root(self, command: t.Sequence[str], folder: str, timeout: float | None) -> subprocess.CompletedProcess[bytes]:
        account = pwd.getpwnam(self.user)
        return subprocess.run(
            # The way into the folder is taken with these rights too, so that no link leads to where they do not.
            ["sh", "-c", 'cd -- "$0" && exec "$@"', folder, *command],
            user=account.pw_uid,
            group=grp.getgrnam(self.group).gr_gid if self.group else account.pw_gid,
            extra_groups=[],
            # Nothing of root's surroundings, and no terminal of root's, into which it could type.
            env={"PATH": SEARCHED, "LANG": "C.UTF-8", "HOME": account.pw_dir, "USER": self.user, "LOGNAME": self.user},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )


@contextlib.contextmanager
def acting_as(user: str, group: str) -> t.Iterator[None]:
    """Does what follows with the rights of an account; raises KeyError if there is none of this name."""
    gid = grp.getgrnam(group).gr_gid
    with _acting_as(pwd.getpwnam(user).pw_uid, gid, [gid]):
        yield


@contextlib.contextmanager
def acting_as_owner(folder: str) -> t.Iterator[None]:
    """Does what follows with no more rights than the owner of a folder has, who may have put links in the way of root."""
    found = os.lstat(folder)
    if os.geteuid() != 0 or found.st_uid == 0:
        yield
        return
    gid, groups = found.st_gid, [found.st_gid]
    with contextlib.suppress(KeyError):  # an account that is gone still owns
        account = pwd.getpwuid(found.st_uid)
        gid, groups = account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)
    with _acting_as(found.st_uid, gid, groups):
        yield


@contextlib.contextmanager
def _acting_as(uid: int, gid: int, groups: list[int]) -> t.Iterator[None]:
    before = os.geteuid(), os.getegid(), os.getgroups()
    if (uid, gid) == before[:2]:
        yield
        return
    _become(uid, gid, groups)
    try:
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    # Only root may change its groups, and whoever acts as another is still root at heart.
    os.seteuid(os.getuid())
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def places(pid: int, account: Account) -> list[str]:
    """The physical folder that a process works in, the program that it executes, and the paths that it was started with.

    An interpreter that works elsewhere shows only by the last ones which release it runs. As far as they can be seen.
    """
    links = [f"/proc/{pid}/cwd", f"/proc/{pid}/exe"]
    try:
        return [os.readlink(link) for link in links] + _arguments(pid)
    except PermissionError:
        # root in a container may lack CAP_SYS_PTRACE, and others lack it anyway; the process's own user needs none.
        done = account.run(["readlink", *links])
        return os.fsdecode(done.stdout).splitlines() + _arguments(pid)
    except OSError:
        return []


def command_line(pid: int) -> str:
    """The program and the arguments of a process; empty if it has gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return os.fsdecode(stream.read().replace(b"\0", b" "))
    except OSError:
        return ""


def memory(pid: int) -> tuple[int, int]:
    """How much memory a process uses, and how much this host could still give away, in bytes."""
    return _amount(f"/proc/{pid}/status", "VmRSS"), _amount("/proc/meminfo", "MemAvailable")


def _amount(path: str, name: str) -> int:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return next((int(line.split()[1]) << 10 for line in stream if line.startswith(f"{name}:")), 0)
    except OSError:
        return 0


def _arguments(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return [os.fsdecode(word) for word in stream.read().split(b"\0") if word.startswith(b"/")]
    except OSError:
        return []


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that listens on an address, and the service that it belongs to, if any."""

    pid: int
    program: str
    unit: str

    def __str__(self) -> str:
        return f"PID {self.pid} ({self.program}{', ' + self.unit if self.unit else ''})"

    def end(self, *, timeout: float = 30) -> None:
        """Asks the process to end and waits for it; raises OSError if it does not."""
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while os.path.exists(f"/proc/{self.pid}"):
            if time.monotonic() > deadline:
                raise OSError(f"PID {self.pid} ({self.program}) did not end within {timeout:g} s")
            time.sleep(0.05)


def holder(address: str) -> Holder | None:
    """Who listens on an address, written as for ListenStream=: a port, address:port or a path."""
    for inode, uid in _listening(address):
        for pid in _processes_of(uid):
            if inode in _sockets(pid, uid) and pid != 1:
                return Holder(pid, _program(pid), _unit(pid))
    return None


def _listening(address: str) -> t.Iterator[tuple[str, int]]:
    """The sockets that listen on an address, or on one that includes it: inode and owner of each."""
    if address.startswith("/"):
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as stream:
            fields = [line.split() for line in stream]
        yield from ((words[6], os.lstat(address).st_uid) for words in fields if words[-1] == address and words[3] == "00010000" and os.path.exists(address))
        return
    host, _colon, port = address.rpartition(":")
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = [line.split() for line in stream][1:]
        except FileNotFoundError:
            continue
        for row in rows:
            local, state, uid, inode = row[1], row[3], row[7], row[9]
            if state == "0A" and int(local.rpartition(":")[2], 16) == int(port) and _overlaps(host.strip("[]"), local.rpartition(":")[0]):
                yield inode, int(uid)


def _overlaps(host: str, local: str) -> bool:
    """Whether an address to listen on conflicts with one that the kernel lists in hexadecimal."""
    words = [struct.pack("=I", int(local[start : start + 8], 16)) for start in range(0, len(local), 8)]
    bound = ipaddress.ip_address(b"".join(words))
    wanted = ipaddress.ip_address(host) if host else None
    if wanted is None or wanted.is_unspecified or bound.is_unspecified:
        return True
    mapped = getattr(bound, "ipv4_mapped", None)
    return wanted in (bound, mapped)


def _processes_of(uid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                found.append(int(name))
        except FileNotFoundError:
            continue
    return found


def _sockets(pid: int, uid: int) -> set[str]:
    try:
        targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except PermissionError:
        # As for places(): the owner may look where root without CAP_SYS_PTRACE may not.
        command = ["find", f"/proc/{pid}/fd", "-printf", "%l\n"]
        gid = os.stat(f"/proc/{pid}").st_gid
        targets = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, user=uid, group=gid, extra_groups=[]
        ).stdout.splitlines()
    except OSError:
        return set()
    return {found[1] for found in (re.match(r"socket:\[(\d+)\]", target) for target in targets) if found}


def _program(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()


def _unit(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
        found = re.findall(r"/([^/\n]+\.service)(?:/[^\n]*)?$", stream.read(), re.MULTILINE)
    return found[-1] if found else ""
