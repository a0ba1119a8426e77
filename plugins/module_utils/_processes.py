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
# How the tables of the kernel say that a socket listens: one of TCP, one of UDP, and one at a path.
TABLES = {"ListenStream": ("tcp", "0A"), "ListenDatagram": ("udp", "07")}
ACCEPTS, DATAGRAM = "00010000", "0002"
PORT = re.compile(r"(?:(?P<host>\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\]):)?(?P<port>\d{1,5})\Z")


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
    """The process that listens on an address, and the service that it belongs to, if any.

    Only the service manager of a user can keep a service of that user from starting again.
    """

    pid: int
    program: str
    unit: str = ""
    user_unit: str = ""

    def __str__(self) -> str:
        unit = self.unit or self.user_unit
        return f"PID {self.pid} ({self.program}{', ' + unit if unit else ''})"

    def end(self, *, timeout: float = 30) -> None:
        """Asks the process to end and waits for it; raises OSError if it does not."""
        with contextlib.suppress(ProcessLookupError):  # it may have gone with another
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while os.path.exists(f"/proc/{self.pid}"):
            if time.monotonic() > deadline:
                raise OSError(f"PID {self.pid} ({self.program}) did not end within {timeout:g} s")
            time.sleep(0.05)


def holders(directive: str, address: str) -> list[Holder]:
    """Who listens on what a directive of a socket unit names: a port, address:port or a path. Of anything else nobody is known."""
    found = {}
    for inode, uid in _listening(directive, address):
        pid = next((pid for pid in _processes(uid) if pid != 1 and inode in _sockets(pid)), None)
        if pid:
            found[pid] = Holder(pid, _program(pid), *_units(pid))
    return list(found.values())


def _listening(directive: str, address: str) -> t.Iterator[tuple[str, int]]:
    """The sockets that listen on an address, or on one that includes it: inode and owner of each."""
    if address.startswith("/") and directive in ("ListenStream", "ListenDatagram", "ListenSequentialPacket") and os.path.exists(address):
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as stream:
            rows = [line.rstrip("\n").split(maxsplit=7) for line in stream]
        # A path is one file, of whichever kind; the connections that a server has accepted bear its name too.
        yield from ((row[6], os.lstat(address).st_uid) for row in rows if row[7:] == [address] and (row[3] == ACCEPTS or row[4] == DATAGRAM))
    found = PORT.match(address)
    if not found or directive not in TABLES:
        return
    try:
        wanted, port = ipaddress.ip_address((found["host"] or "::").strip("[]")), int(found["port"])
    except ValueError:  # 1.2.3.444
        return
    kind, listens = TABLES[directive]
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = [line.split() for line in stream][1:]
        except FileNotFoundError:
            continue
        for row in rows:
            local, state, uid, inode = row[1], row[3], row[7], row[9]
            if state == listens and int(local.rpartition(":")[2], 16) == port and overlaps(wanted, local.rpartition(":")[0]):
                yield inode, int(uid)


def overlaps(wanted: ipaddress.IPv4Address | ipaddress.IPv6Address, local: str) -> bool:
    """Whether an address to listen on conflicts with one that the kernel lists in hexadecimal."""
    words = [struct.pack("=I", int(local[start : start + 8], 16)) for start in range(0, len(local), 8)]
    bound = ipaddress.ip_address(b"".join(words))
    bound, wanted = (getattr(address, "ipv4_mapped", None) or address for address in (bound, wanted))
    if ipaddress.ip_address("::") in (bound, wanted):  # which takes IPv4 too
        return True
    return bound.version == wanted.version and (bound == wanted or bound.is_unspecified or wanted.is_unspecified)


def _processes(uid: int) -> list[int]:
    """All processes, those of a user first: a server may have bound as root and be somebody else since."""
    owners = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError):
            owners[int(name)] = os.stat(f"/proc/{name}").st_uid
    return sorted(owners, key=lambda pid: (owners[pid] != uid, pid))


def _sockets(pid: int) -> set[str]:
    targets = []
    try:
        owner = os.stat(f"/proc/{pid}")
    except OSError:
        return set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    except PermissionError:
        # As for places(): the owner may look where root without CAP_SYS_PTRACE may not.
        command = ["find", f"/proc/{pid}/fd", "-printf", "%l\n"]
        targets = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, user=owner.st_uid, group=owner.st_gid, extra_groups=[]
        ).stdout.splitlines()
    except OSError:
        return set()
    return {found[1] for found in (re.match(r"socket:\[(\d+)\]", target) for target in targets) if found}


def _program(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()


def _units(pid: int) -> tuple[str, str]:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
        return units_of(stream.read())


def units_of(cgroup: str) -> tuple[str, str]:
    """The service of a process by its control groups: that of the system, or else that of a user."""
    for line in reversed(cgroup.splitlines()):  # the last ones are systemd's own
        services = re.findall(r"/([^/]+\.service)(?=/|$)", line)
        if services and re.match(r"user@\d+\.service", services[0]):
            return "", f"{services[1]} of {services[0]}" if len(services) > 1 else ""
        if services:
            return services[0], ""
    return "", ""
