# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes on this host: as whom to run one, where one runs, what it has open, and which one holds an address. Private to the collection.

What belongs here reads what the kernel tells of processes and sockets. What that means for an app belongs to the callers.
"""

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

# run_command can neither take another account nor end what takes too long.
# pylint: disable=ansible-bad-function

# How the helper of an app says that a command was ended, as the program timeout does.
TIMED_OUT = 124
# Where a command is looked for that root runs for somebody else.
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How the tables of the kernel say that a socket listens: one of TCP, one of UDP, and one at a path.
TABLES = {"ListenStream": ("tcp", "0A"), "ListenDatagram": ("udp", "07")}
ACCEPTS, DATAGRAM = "00010000", "0002"
EPOLL = "anon_inode:[eventpoll]"
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


def status(pid: int) -> dict[str, str]:
    """What the kernel tells everybody of a process, by its names for it; nothing if it has gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            return {name: value.strip() for name, _colon, value in (line.partition(":") for line in stream)}
    except OSError:
        return {}


def in_group(cgroup: str) -> list[int]:
    """The processes of a control group and of those below it; none where they cannot be seen."""
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd"):
        found: list[int] = []
        for folder, _folders, _files in os.walk(root + cgroup) if cgroup.strip("/") else ():
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", encoding="ascii") as stream:
                found += [int(line) for line in stream]
        if found:
            return sorted(found)
    return []


def environment(pid: int, account: Account) -> dict[str, str]:
    """What a process was started with, as far as it can be seen and the process has not written over it."""
    words = _read(pid, "environ", account).split("\0")
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def open_files(pid: int, account: Account | None = None) -> dict[str, str]:
    """What each open file of a process is, by its number; nothing where nobody lets the caller look, or the process has gone."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
    except PermissionError:
        lines = _as_its_owner(pid, ["find", f"/proc/{pid}/fd", "-printf", "%f %l\n"], account or Account()).splitlines()
        return {name: target for name, _space, target in (line.partition(" ") for line in lines) if target}
    except OSError:
        return {}
    return found


def sockets(files: t.Mapping[str, str]) -> set[str]:
    """The inodes of those open files that are sockets."""
    return {found[1] for found in (re.match(r"socket:\[(\d+)\]", target) for target in files.values()) if found}


def watched(pid: int, files: t.Mapping[str, str], account: Account) -> set[str]:
    """The inodes of what a process waits for with epoll."""
    told = [_read(pid, f"fdinfo/{number}", account) for number, target in files.items() if target == EPOLL]
    return {str(int(inode, 16)) for text in told for inode in re.findall(r"^tfd:.* ino:([0-9a-f]+)", text, re.MULTILINE)}


def _read(pid: int, name: str, account: Account) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except PermissionError:
        return _as_its_owner(pid, ["cat", f"/proc/{pid}/{name}"], account)
    except OSError:
        return ""


def _as_its_owner(pid: int, command: list[str], account: Account) -> str:
    """What a command prints that the owner of a process runs, who may look where root without CAP_SYS_PTRACE may not.

    A caller who is not root takes the account's way to him.
    """
    try:
        owner = os.stat(f"/proc/{pid}")
        if os.geteuid() != 0:
            done = account.run(command)
        else:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, user=owner.st_uid, group=owner.st_gid, extra_groups=[])
    except OSError:
        return ""
    return os.fsdecode(done.stdout)


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
    for inode, uid in listening_at(directive, address):
        pid = next((pid for pid in _processes(uid) if pid != 1 and inode in sockets(open_files(pid))), None)
        if pid:
            found[pid] = Holder(pid, _program(pid), *_units(pid))
    return list(found.values())


def can_be_seen(directive: str, address: str) -> bool:
    """Whether the tables of the kernel tell who listens on what a directive of a socket unit names."""
    if directive in TABLES and PORT.match(address):
        return True
    return address.startswith("/") and directive in ("ListenStream", "ListenDatagram", "ListenSequentialPacket")


def listening_at(directive: str, address: str) -> t.Iterator[tuple[str, int]]:
    """The sockets that listen on an address, or on one that includes it: inode and owner of each."""
    if address.startswith("/") and directive in ("ListenStream", "ListenDatagram", "ListenSequentialPacket") and os.path.exists(address):
        rows = paths_table()
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
    for row in ports_table(kind):
        local, state, uid, inode = row[1], row[3], row[7], row[9]
        if state == listens and int(local.rpartition(":")[2], 16) == port and overlaps(wanted, local.rpartition(":")[0]):
            yield inode, int(uid)


def listening() -> dict[str, str]:
    """The addresses and paths at which anybody takes connections, by the inodes of the sockets."""
    found = {row[6]: row[7] for row in paths_table() if row[7:] and row[3] == ACCEPTS}
    kind, listens = TABLES["ListenStream"]
    for row in ports_table(kind):
        if row[3] == listens:
            host, _colon, port = row[1].rpartition(":")
            bound = _address(host)
            found[row[9]] = f"[{bound}]:{int(port, 16)}" if isinstance(bound, ipaddress.IPv6Address) else f"{bound}:{int(port, 16)}"
    return found


def paths_table() -> list[list[str]]:
    """The kernel's table of sockets at paths, a list of columns for each; one without a path has no eighth."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as stream:
        return [line.rstrip("\n").split(maxsplit=7) for line in stream][1:]


def ports_table(kind: str) -> list[list[str]]:
    """The kernel's table of sockets of tcp or udp, a list of columns for each."""
    rows: list[list[str]] = []
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as stream:
            rows += [line.split() for line in stream][1:]
    return rows


def overlaps(wanted: ipaddress.IPv4Address | ipaddress.IPv6Address, local: str) -> bool:
    """Whether an address to listen on conflicts with one that the kernel lists in hexadecimal."""
    bound, wanted = (getattr(address, "ipv4_mapped", None) or address for address in (_address(local), wanted))
    if ipaddress.ip_address("::") in (bound, wanted):  # which takes IPv4 too
        return True
    return bound.version == wanted.version and (bound == wanted or bound.is_unspecified or wanted.is_unspecified)


def _address(local: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    words = [struct.pack("=I", int(word, 16)) for word in re.findall("[0-9A-Fa-f]{8}", local)]
    return ipaddress.ip_address(b"".join(words))


def _processes(uid: int) -> list[int]:
    """All processes, those of a user first: a server may have bound as root and be somebody else since."""
    owners = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError):
            owners[int(name)] = os.stat(f"/proc/{name}").st_uid
    return sorted(owners, key=lambda pid: (owners[pid] != uid, pid))


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
