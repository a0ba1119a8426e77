# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits until an app accepts connections: which socket is looked for, whose processes count, and what waiting looks like."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/units/files/accepting.py"
SPEC = importlib.util.spec_from_file_location("accepting", PROGRAM)
assert SPEC
assert SPEC.loader
accepting = importlib.util.module_from_spec(SPEC)
sys.modules["accepting"] = accepting
SPEC.loader.exec_module(accepting)

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
UNIX_HEADING = "Num       RefCount Protocol Flags    Type St Inode Path\n"
EPOLL = "anon_inode:[eventpoll]"
# Numbers that cannot be processes of this machine.
MAIN, WORKER, OTHER = 4194401, 4194402, 4194403


class Kernel:
    """A fake /proc and /sys/fs/cgroup, with the processes of one instance and of another on the same socket."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroups"
        for table in ("tcp", "tcp6"):
            self.write(self.proc / "net" / table, HEADING)
        self.write(self.proc / "net/unix", UNIX_HEADING)
        self.write(self.cgroups / "system.slice/shop.service/cgroup.procs", f"{MAIN}\n{WORKER}\n")
        for process in (MAIN, WORKER, OTHER):
            self.process(process, {3: "socket:[77]"})
        self.write(self.proc / f"{MAIN}/cgroup", "0::/system.slice/shop.service\n")

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(self, process: int, links: dict[int, str]) -> None:
        folder = self.proc / f"{process}/fd"
        folder.mkdir(parents=True, exist_ok=True)
        for fd, target in links.items():
            (folder / str(fd)).unlink(missing_ok=True)
            (folder / str(fd)).symlink_to(target)
        self.write(self.proc / f"{process}/cmdline", "venv/bin/python\0server.py\0")

    def listens(self, table: str, *lines: str) -> None:
        self.write(self.proc / "net" / table, HEADING + "".join(f"{line}\n" for line in lines))

    def waits(self, process: int, *members: str, fd: int = 5) -> None:
        self.process(process, {fd: EPOLL})
        self.write(self.proc / f"{process}/fdinfo/{fd}", "pos:\t0\nflags:\t02000002\nmnt_id:\t17\n" + "".join(f"{line}\n" for line in members))

    def sleeps(self, process: int, where: str, syscall: str | None = None, thread: int = 1) -> None:
        self.write(self.proc / f"{process}/task/{thread}/wchan", where)
        if syscall is not None:
            self.write(self.proc / f"{process}/task/{thread}/syscall", syscall)

    def instance(self, *addresses: str) -> t.Any:
        return accepting.Instance(MAIN, addresses or ["127.0.0.1:4000"], proc=str(self.proc), cgroups=str(self.cgroups))


def line(address: str, state: str = "0A", inode: int = 77) -> str:
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000 100 0 0 10 0"


def member(fd: int = 3, inode: int | None = 77, events: str = "19") -> str:
    return f"tfd: {fd:8} events: {events:>8} data: {fd:16x}" + ("" if inode is None else f"  pos:0 ino:{inode:x} sdev:9")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    found = Kernel(tmp_path)
    found.listens("tcp", line("0100007F:0FA0"), line("0100007F:1F90", inode=78))
    return found


@pytest.mark.skipif(sys.byteorder != "little", reason="the kernel writes words as this machine has them")
@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("127.0.0.1:4000", ["0100007F:0FA0"]),
        ("0.0.0.0:80", ["00000000:0050"]),
        ("[::1]:4000", ["00000000000000000000000001000000:0FA0"]),
        ("[fe80::1%eth0]:4000", ["000080FE000000000000000001000000:0FA0"]),
        ("4000", ["0" * 32 + ":0FA0", "0" * 8 + ":0FA0"]),
        ("/run//shop.sock", ["/run/shop.sock"]),
    ],
)
def test_an_address_is_looked_for_as_the_kernel_writes_it(address: str, names: list[str]) -> None:
    assert accepting.names(address) == names


def test_a_socket_that_nobody_waits_on_is_not_enough(kernel: Kernel) -> None:
    assert not kernel.instance().accepts()


@pytest.mark.parametrize("process", [MAIN, WORKER])
def test_a_process_of_the_instance_with_the_socket_in_an_epoll_set_accepts(kernel: Kernel, process: int) -> None:
    kernel.waits(process, member(9, 5), member())
    assert kernel.instance().accepts()


def test_the_other_instance_on_the_same_socket_does_not_count(kernel: Kernel) -> None:
    kernel.waits(OTHER, member())
    assert not kernel.instance().accepts()


@pytest.mark.parametrize(
    "what",
    [
        member(4, 78),  # a port of the app's own, at which it may be reached much earlier
        member(events="40000000"),  # a member that has fired and is not waited for
        member(events="1c"),  # only whether it can be written to
        member(8, None),  # a number that is not open any more
    ],
)
def test_to_wait_for_something_else_does_not_count(kernel: Kernel, what: str) -> None:
    kernel.process(MAIN, {4: "socket:[78]"})
    kernel.waits(MAIN, what)
    assert not kernel.instance().accepts()


def test_an_old_kernel_tells_only_the_number(kernel: Kernel) -> None:
    kernel.waits(MAIN, member(3, None))
    assert kernel.instance().accepts()


@pytest.mark.parametrize(
    ("where", "syscall", "accepts"),
    [
        ("inet_csk_accept", None, True),
        ("inet_csk_accept", "288 0x3 0x7ffea9f4c7b0 0x7ffea9f4c7a4 0x80000 0x0 0x0 0x7ffea9f4c778 0x7f9e76928f63", True),
        ("inet_csk_accept", "288 0x4 0x7ffea9f4c7b0 0x7ffea9f4c7a4 0x80000 0x0 0x0 0x7ffea9f4c778 0x7f9e76928f63", False),
        ("inet_csk_accept", "running", True),
        ("poll_schedule_timeout.constprop.0", None, False),
        ("hrtimer_nanosleep", None, False),
        ("0", None, False),
    ],
)
def test_a_thread_that_sleeps_in_accept_accepts(kernel: Kernel, where: str, syscall: str | None, accepts: bool) -> None:
    kernel.process(WORKER, {4: "socket:[78]"})
    kernel.sleeps(WORKER, "futex_wait_queue", thread=1)
    kernel.sleeps(WORKER, where, syscall, thread=2)
    assert kernel.instance().accepts() is accepts


def test_a_socket_that_is_only_bound_or_connected_is_none_to_accept_on(kernel: Kernel) -> None:
    kernel.listens("tcp", line("0100007F:0FA0", "01", 90), line("0100007F:0FA0", "07", 91), line("0100007F:0FA0", "0A", 77))
    kernel.waits(MAIN, member(8, 90), member(9, 91))
    assert not kernel.instance().accepts()


def test_a_path_is_a_socket_too(kernel: Kernel) -> None:
    paths = "0000: 00000003 00000000 00000000 0001 03 80 /run/shop.sock\n0000: 00000002 00000000 00010000 0001 01 81 /run/shop.sock\n0000: 2 0 0 0001 03 82\n"
    kernel.write(kernel.proc / "net/unix", UNIX_HEADING + paths)
    kernel.waits(MAIN, member(7, 80))
    assert not kernel.instance("/run/shop.sock").accepts()
    kernel.waits(MAIN, member(7, 81))
    assert kernel.instance("/run/shop.sock").accepts()


def test_one_of_several_addresses_is_enough(kernel: Kernel) -> None:
    kernel.waits(MAIN, member(4, 78))
    assert kernel.instance("[::1]:9", "127.0.0.1:8080").accepts()


def test_in_a_network_of_its_own_the_first_descriptors_are_what_it_was_given(kernel: Kernel) -> None:
    kernel.listens("tcp")
    kernel.process(MAIN, {4: "socket:[78]", 5: "/dev/null"})
    kernel.waits(WORKER, member(9, 78))
    assert not kernel.instance("127.0.0.1:4000").accepts()
    assert kernel.instance("127.0.0.1:4000", "127.0.0.1:4001").accepts()


@pytest.mark.parametrize(
    ("lines", "folder"),
    [
        ("0::/system.slice/shop.service\n", "system.slice/shop.service"),
        ("9:name=systemd:/system.slice/shop.service\n1:cpu:/\n0::/\n", "systemd/system.slice/shop.service"),
        ("1:cpu:/\n0::/system.slice/shop.service\n", "unified/system.slice/shop.service"),
        ("0::/system.slice/shop.service\n", "system.slice/shop.service/workers"),
    ],
)
def test_the_control_group_is_found_however_it_is_mounted(kernel: Kernel, lines: str, folder: str) -> None:
    kernel.write(kernel.proc / f"{MAIN}/cgroup", lines)
    (kernel.cgroups / "system.slice/shop.service/cgroup.procs").unlink()
    kernel.write(kernel.cgroups / folder / "cgroup.procs", f"{MAIN}\n{OTHER}\n{os.getpid()}\n0\n")
    assert kernel.instance().processes() == [MAIN, OTHER]


def test_without_a_control_group_the_main_process_counts_alone(kernel: Kernel) -> None:
    kernel.write(kernel.proc / f"{MAIN}/cgroup", "")
    kernel.waits(WORKER, member())
    assert not kernel.instance().accepts()
    kernel.waits(MAIN, member())
    assert kernel.instance().accepts()


# A program that is given a socket and takes a while, as one with an import that takes long.
APP = """
import {imports}, os, socket, sys, time
os.dup2(int(sys.argv[1]), 3)
time.sleep({seconds})
print("ready", flush=True)
{serve}
"""
SERVE = {
    "asyncio": """
async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), sock=socket.socket(fileno=3))
    await server.serve_forever()
asyncio.run(main())
""",
    "threading": """
held = socket.socket(fileno=3)
held.setblocking(True)
def serve():
    while True:
        held.accept()
threading.Thread(target=serve).start()
""",
    "select": "time.sleep(60)\n",
}


class App:
    """A process with a held socket as its file descriptor 3, and what waits for it."""

    def __init__(self, way: str, seconds: float) -> None:
        self.held = socket.create_server(("127.0.0.1", 0))
        self.held.setblocking(False)
        self.address = f"127.0.0.1:{self.held.getsockname()[1]}"
        script = APP.format(imports=way, seconds=seconds, serve=SERVE[way])
        command = [sys.executable, "-c", script, str(self.held.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[self.held.fileno()], stdout=subprocess.PIPE, text=True)
        environment = {**os.environ, "MAINPID": str(self.process.pid)}
        waiting = [sys.executable, "-I", "-c", ALONE, str(PROGRAM), self.address]
        self.waiting = subprocess.Popen(waiting, env=environment, stderr=subprocess.PIPE, text=True)

    def end(self) -> None:
        for process in (self.waiting, self.process):
            process.kill()
            process.communicate()
        self.held.close()


# These tests are in one control group with others, so the process alone counts.
ALONE = """
import runpy, sys
sys.argv = sys.argv[1:]
run = runpy.run_path(sys.argv[0])
run["Instance"].processes = lambda instance: [instance.main]
run["main"]()
"""


@pytest.fixture
def start() -> t.Iterator[t.Callable[..., App]]:
    apps: list[App] = []

    def one(way: str, seconds: float) -> App:
        apps.append(App(way, seconds))
        return apps[-1]

    yield one
    for app in apps:
        app.end()


@pytest.mark.parametrize("way", ["asyncio", "threading"])
def test_it_returns_when_a_real_app_accepts_and_not_before(start: t.Callable[..., App], way: str) -> None:
    app = start(way, 0.5)
    time.sleep(0.2)
    assert app.waiting.poll() is None
    # Whoever connects before is in the queue, which is no sign of life.
    with socket.create_connection(app.held.getsockname()):
        assert app.process.stdout
        assert app.process.stdout.readline() == "ready\n"
        _said, complaint = app.waiting.communicate(timeout=20)
    assert (app.waiting.returncode, complaint) == (0, "")


def test_an_app_that_dies_is_waited_for_no_longer(start: t.Callable[..., App]) -> None:
    app = start("select", 60)
    app.process.kill()
    app.process.wait()
    _said, complaint = app.waiting.communicate(timeout=20)
    assert app.waiting.returncode == 1
    assert complaint == f"app_wait_until_accepting: the app (PID {app.process.pid}) has ended before it waited for connections on {app.address}\n"


def test_it_says_at_the_end_what_it_has_waited_for(start: t.Callable[..., App]) -> None:
    app = start("select", 0)
    time.sleep(0.5)
    app.waiting.send_signal(signal.SIGTERM)
    _said, complaint = app.waiting.communicate(timeout=20)
    assert app.waiting.returncode == 1
    assert f"no process of this instance has waited for connections on {app.address}; there is {sys.executable} -c" in complaint
    assert f"(PID {app.process.pid})" in complaint
