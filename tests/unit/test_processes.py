# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds an address is found before anything is written, and nobody else is taken for it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _processes
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, Holder, holders

STREAM, DATAGRAM = "ListenStream", "ListenDatagram"
ME = [os.getpid()]
# Listens on another address of the same port, until its input ends.
HOLD = "import socket, sys; held = socket.create_server(('127.0.0.2', int(sys.argv[1]))); print(flush=True); sys.stdin.read()"


@pytest.fixture
def bound() -> t.Iterator[t.Callable[..., str]]:
    """Binds a socket in this process, and returns its port."""
    with contextlib.ExitStack() as stack:

        def bind(host: str, kind: int = socket.SOCK_STREAM) -> str:
            found = stack.enter_context(socket.socket(socket.AF_INET, kind))
            found.bind((host, 0))
            if kind == socket.SOCK_STREAM:
                found.listen()
            return str(found.getsockname()[1])

        yield bind


def pids(directive: str, address: str) -> list[int]:
    return [holder.pid for holder in holders(directive, address)]


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "0.0.0.0:{}", "{}", "[::]:{}"])
def test_who_listens_on_a_port_is_found_by_every_address_that_includes_it(bound: t.Callable[..., str], address: str) -> None:
    assert pids(STREAM, address.format(bound("127.0.0.1"))) == ME


@pytest.mark.parametrize(
    ("held", "wanted", "overlaps"),
    [
        *[("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "0.0.0.0", True), ("0.0.0.0", "127.0.0.1", True)],
        *[("::1", "::1", True), ("::1", "::2", False), ("::1", "::", True), ("::", "::1", True), ("::", "127.0.0.1", True), ("127.0.0.1", "::", True)],
        *[("127.0.0.1", "::1", False), ("0.0.0.0", "::1", False), ("::1", "127.0.0.1", False), ("::1", "0.0.0.0", False)],
        *[("::ffff:127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "::ffff:127.0.0.1", True), ("::ffff:127.0.0.1", "127.0.0.2", False)],
    ],
)
def test_addresses_overlap_as_the_kernel_sees_it(held: str, wanted: str, overlaps: bool) -> None:
    words = memoryview(ipaddress.ip_address(held).packed).cast("I")
    assert _processes.overlaps(ipaddress.ip_address(wanted), "".join(f"{word:08X}" for word in words)) is overlaps


def test_a_port_of_udp_and_the_same_port_of_tcp_are_two(bound: t.Callable[..., str]) -> None:
    tcp, udp = bound("127.0.0.1"), bound("127.0.0.1", kind=socket.SOCK_DGRAM)
    assert (pids(STREAM, tcp), pids(DATAGRAM, tcp)) == (ME, [])
    assert (pids(STREAM, udp), pids(DATAGRAM, udp)) == ([], ME)


@pytest.mark.parametrize(
    ("directive", "address"),
    [
        *[(STREAM, "%t/shop.sock"), (STREAM, "@abstract"), (STREAM, "[fe80::1]:{}%eth0"), (STREAM, "vsock:2:{}"), (STREAM, "1.2.3.444:{}")],
        *[("ListenNetlink", "kobject-uevent 1"), ("ListenFIFO", "/run/shop.fifo"), ("ListenMessageQueue", "/shop"), ("ListenSpecial", "/dev/null")],
        *[("ListenUSBFunction", "/dev/usb"), ("ListenNetlink", "{}")],
    ],
)
def test_what_is_neither_a_port_nor_a_path_is_held_by_nobody(bound: t.Callable[..., str], directive: str, address: str) -> None:
    assert pids(directive, address.format(bound("127.0.0.1"))) == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("directive", [STREAM, DATAGRAM, "ListenSequentialPacket"])
def test_a_path_is_held_whatever_the_kind_of_its_socket(tmp_path: Path, kind: int, directive: str) -> None:
    path = str(tmp_path / "a socket")
    with socket.socket(socket.AF_UNIX, kind) as found:
        found.bind(path)
        if kind != socket.SOCK_DGRAM:
            found.listen()
        assert pids(directive, path) == ME
    assert pids(directive, path) == []


def test_one_who_has_bound_as_another_user_is_found(bound: t.Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    port = bound("127.0.0.1")
    own = os.stat

    class Dropped:
        """Of a process that was root when it bound and has become somebody else."""

        st_uid, st_gid = 4711, 4711

    monkeypatch.setattr(_processes.os, "stat", lambda path, **options: Dropped if str(path) == f"/proc/{os.getpid()}" else own(path, **options))
    assert pids(STREAM, port) == ME


def test_all_who_hold_a_port_are_found(bound: t.Callable[..., str]) -> None:
    port = bound("127.0.0.1")
    with subprocess.Popen([sys.executable, "-c", HOLD, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert sorted(pids(STREAM, port)) == sorted([*ME, other.pid])


@pytest.mark.parametrize(
    ("cgroup", "unit", "user_unit"),
    [
        ("0::/system.slice/shop.service", "shop.service", ""),
        ("0::/system.slice/shop.service/worker", "shop.service", ""),
        ("0::/system.slice/system-shop.slice/shop@1.service", "shop@1.service", ""),
        ("0::/user.slice/user-1000.slice/session-3.scope", "", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", "", "shop.service of user@1000.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope", "", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope", "", ""),
        ("2:pids:/user.slice/user@1.service\n1:name=systemd:/user.slice/user@1.service/shop.service", "", "shop.service of user@1.service"),
        ("9:cpu:/\n1:name=systemd:/system.slice/shop.service\n0::/system.slice/shop.service", "shop.service", ""),
        ("0::/", "", ""),
    ],
)
def test_the_unit_of_a_process_is_one_that_may_be_stopped(cgroup: str, unit: str, user_unit: str) -> None:
    assert _processes.units_of(cgroup) == (unit, user_unit)


def test_a_holder_is_named_with_its_unit() -> None:
    assert str(Holder(7, "nginx", "nginx.service")) == "PID 7 (nginx, nginx.service)"
    assert str(Holder(7, "python3", "", "shop.service of user@1000.service")) == "PID 7 (python3, shop.service of user@1000.service)"
    assert str(Holder(7, "python3", "")) == "PID 7 (python3)"


def test_what_a_process_waits_for_with_epoll_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as waited, socket.create_server(("127.0.0.1", 0)) as other, select.epoll() as waits:
        waits.register(waited)
        inodes = [str(os.fstat(found.fileno()).st_ino) for found in (waited, other)]
        files = _processes.open_files(os.getpid())
        assert _processes.sockets(files) >= set(inodes)
        assert _processes.watched(os.getpid(), files, Account()).intersection(inodes) == {inodes[0]}


def test_everybody_who_takes_connections_is_listed(tmp_path: Path) -> None:
    path = str(tmp_path / "a socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as second,
        socket.socket(socket.AF_UNIX) as at,
    ):
        at.bind(path)
        at.listen()
        found = _processes.listening()
        told = [found.get(str(os.fstat(one.fileno()).st_ino)) for one in (first, second, at)]
        assert told == [f"127.0.0.1:{first.getsockname()[1]}", f"[::1]:{second.getsockname()[1]}", path]


def test_where_the_owner_alone_may_look_he_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """root in a container may lack CAP_SYS_PTRACE."""

    def refuse(path: object, **_options: t.Any) -> t.Any:
        raise PermissionError(path)

    environment, files = _processes.environment(os.getpid(), Account()), _processes.open_files(os.getpid())
    monkeypatch.setattr(_processes.os, "listdir", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert files
    assert set(_processes.open_files(os.getpid()).values()) >= {"/dev/null"} & set(files.values())
    assert _processes.environment(os.getpid(), Account()) == environment


def test_the_processes_of_a_control_group_are_found_in_those_below_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.service/worker").mkdir(parents=True)
    (tmp_path / "shop.service/cgroup.procs").write_text("9\n7\n")
    (tmp_path / "shop.service/worker/cgroup.procs").write_text("8\n")
    really = os.walk
    monkeypatch.setattr(_processes.os, "walk", lambda path: really(path.replace("/sys/fs/cgroup", str(tmp_path))))
    assert _processes.in_group("/shop.service") == [7, 8, 9]
    assert _processes.in_group("/gone.service") == []
    # Of a service that does not run none is known, and not all.
    assert _processes.in_group("") == []


def test_a_process_that_has_gone_tells_nothing() -> None:
    gone = 1 << 22
    assert (_processes.status(gone), _processes.open_files(gone), _processes.environment(gone, Account())) == ({}, {}, {})
