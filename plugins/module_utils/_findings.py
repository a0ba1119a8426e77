# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would go wrong at the next deploy of an app, judged by facts about it as it runs. Private to the collection.

Everything here is pure: facts go in, findings come out, and what to do about each stands in a table by runtime. What looks at
a host is _doctor, and what starts the app a second time is _trial.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

PROBLEM, ADVICE = "problem", "advice"
# Types of service that say themselves when they are ready.
READY_TYPES = ("notify", "notify-reload", "dbus")
# How long after it was ready an app may take its first connection, in seconds, on a host that has other things to do too.
LATE = 0.1
# Programs that start an app as their child, and stay. A release of Elixir or Erlang, `env` and `bundle exec` become the app instead.
WRAPPERS = frozenset(
    {
        *("sh", "dash", "bash", "ash", "ksh", "zsh", "busybox", "su", "sudo", "runuser", "script", "timeout", "time", "strace", "tini", "dumb-init"),
        *("catatonit", "npm", "npx", "yarn", "pnpm", "uv", "foreman", "honcho", "doppler", "dotenv", "chamber"),
    }
)
# What a runtime shows itself by in the command of a process. One that is started by another stands before it.
RUNTIMES = (
    ("gunicorn", r"\bgunicorn\b"),
    ("uvicorn", r"\buvicorn\b"),
    ("hypercorn", r"\bhypercorn\b"),
    ("puma", r"\bpuma\b"),
    ("elixir", r"\bbeam(\.smp)?\b.*\belixir\b"),
    ("erlang", r"\bbeam(\.smp)?\b|\brun_erl\b"),
    ("node", r"(^|/)(node|nodejs|npm)\b"),
    ("asyncio", r"(^|[/ ])python[0-9.]*\b"),
)
NAMES = {
    **{"elixir": "Elixir", "erlang": "Erlang", "gunicorn": "gunicorn", "uvicorn": "uvicorn", "hypercorn": "hypercorn"},
    **{"asyncio": "asyncio", "node": "Node", "go": "Go", "puma": "Puma"},
}


class Known(t.NamedTuple):
    """One thing that can be wrong: what it is, what to do, and how that is written in each runtime that has its own way."""

    title: str
    todo: str
    by_runtime: t.Mapping[str, str] = {}


KNOWN: dict[str, Known] = {
    "lowered-backlog": Known(
        "The app lets fewer clients wait than its socket unit says",
        "Give listen() at least the number of the socket unit, or do not call it for a socket that was given",
        {
            "elixir": "backlog: 4096 among the transport options of Bandit, Ranch or gen_tcp:listen",
            "erlang": "backlog: 4096 among the transport options of Bandit, Ranch or gen_tcp:listen",
            "gunicorn": "gunicorn --backlog 4096",
            "uvicorn": "uvicorn --backlog 4096",
            "hypercorn": "hypercorn --backlog 4096",
            "asyncio": "backlog=4096 where the server starts to listen, or no listen() at all on a socket of systemd's",
            "node": "listen({fd: 3}, 4096), for beside fd a backlog among the options is not looked at",
            "go": "net.FileListener, which does not call listen()",
            "puma": "bind_to_activated_sockets 'only' in config/puma.rb, which does not call listen()",
            "generic": "the number that it calls listen() with",
        },
    ),
    "socket-not-inherited": Known(
        "The app does not serve the socket that is held for it",
        "Take the socket that systemd passes (file descriptor 3; LISTEN_FDS says how many there are) instead of binding a port, or use app_socket_mode proxy",
        {
            "elixir": (
                "in runtime.exs http: [port: 0, thousand_island_options: [transport_options: [:inet, fd: 3]]] for Bandit, http: [port: 0, "
                "transport_options: [socket_opts: [:inet, fd: 3]]] for Cowboy; no ip:, and :inet6 where APP_LISTEN_FAMILY says inet6"
            ),
            "erlang": "gen_tcp:listen(0, [inet, {fd, 3}, ...]), with inet6 where APP_LISTEN_FAMILY says so; port 0 and no {ip, _}",
            "gunicorn": "it takes the socket by itself, unless reuse_port is set or something between systemd and it starts it as a child",
            "uvicorn": "uvicorn --fd 3, and neither --host nor --port",
            "hypercorn": "hypercorn --bind fd://3",
            "asyncio": "asyncio.start_server(handle, sock=socket.socket(fileno=3))",
            "node": "server.listen({fd: 3}), and no cluster",
            "go": 'net.FileListener(os.NewFile(3, "socket")), and http.Serve on that listener',
            "puma": "bind_to_activated_sockets 'only' in config/puma.rb",
        },
    ),
    "ready-before-listening": Known(
        "systemd calls the app ready before it takes connections",
        "Say READY=1 only once the app accepts connections, with app_service_type notify",
        {
            "elixir": ":systemd.ready() as the last child of the supervisor, after the Endpoint",
            "erlang": "systemd:notify(ready) once the listener is up",
            "gunicorn": "gunicorn --preload, or preload_app = True in gunicorn.conf.py; else it says READY=1 before its workers have loaded the app",
            "uvicorn": "app_service_type exec with app_wait_until_accepting: true, since uvicorn itself says nothing",
            "hypercorn": "app_service_type exec with app_wait_until_accepting: true, since hypercorn itself says nothing",
            "asyncio": "send READY=1 to NOTIFY_SOCKET after start_server() has returned",
            "node": "app_service_type exec with app_wait_until_accepting: true, or READY=1 in the callback of server.listen()",
            "go": "send READY=1 to NOTIFY_SOCKET after all that comes before http.Serve has been done",
            "puma": "app_service_type notify is enough; say no READY=1 of your own",
            "generic": "app_service_type exec with app_wait_until_accepting: true, for an app that cannot say so",
        },
    ),
    "no-drain": Known(
        "The app does not finish the requests in hand when it is stopped",
        "On SIGTERM stop accepting, finish what has been accepted, then end, all within app_stop_timeout",
        {
            "elixir": "Bandit does so for shutdown_timeout; with Cowboy put {Plug.Cowboy.Drainer, refs: :all} after the endpoint",
            "erlang": "close the listener and wait for the connections in prep_stop/1 of the application",
            "gunicorn": "leave SIGTERM to gunicorn (no handler in the app), with graceful_timeout below app_stop_timeout",
            "uvicorn": "leave SIGTERM to uvicorn, with --timeout-graceful-shutdown below app_stop_timeout",
            "hypercorn": "leave SIGTERM to hypercorn, with --graceful-timeout as long as a request may take",
            "asyncio": "loop.add_signal_handler(signal.SIGTERM, drain), which closes the server and waits for what is in hand before the loop ends",
            "node": "process.on('SIGTERM', () => server.close()), and from then on Connection: close in each answer; closeIdleConnections() only after a while",
            "go": "signal.NotifyContext(ctx, syscall.SIGTERM), then server.Shutdown, and wait until that returns",
            "puma": "it does so by itself when SIGTERM reaches it and force_shutdown_after is long enough",
        },
    ),
    "reuse-port": Known(
        "More than one socket listens on one port",
        "Let all share the one socket of the socket unit: each of several has a queue of its own, and who waits in that of a process that ends is lost",
        {
            "elixir": "no reuseport among the transport options, and num_listen_sockets: 1",
            "erlang": "no {reuseport, true} among the options of gen_tcp:listen",
            "gunicorn": "no reuse_port; with it gunicorn does not take the socket that it is given",
            "asyncio": "no reuse_port=True where the server starts to listen",
            "node": "no reusePort: true among the options of listen()",
            "go": "no SO_REUSEPORT in the Control of net.ListenConfig",
            "puma": "no bind with ?reuse_port or the like beside bind_to_activated_sockets",
        },
    ),
    "forking": Known(
        "The app goes into the background",
        "Run it in the foreground, with app_service_type notify or exec: the process that got the socket goes away, and systemd has to guess the other one",
        {
            "elixir": "bin/<name> start, not daemon",
            "erlang": "bin/<name> foreground, not daemon or start",
            "gunicorn": "no --daemon",
            "puma": "no daemonize in config/puma.rb",
        },
    ),
    "wrapper-loses-pid": Known(
        "Something stands between systemd and the app",
        "Let the wrapper become the app (exec at its end), or start the app without it: LISTEN_PID, READY=1 and the main process are the wrapper's",
        {
            "elixir": "app_command: bin/<name> start, and nothing in env.sh or app_exec_start_wrap that starts it as a child",
            "erlang": "app_command: bin/<name> foreground, and nothing around it that starts it as a child",
            "gunicorn": "app_command: venv/bin/gunicorn ..., not poetry run, uv run or a script without exec",
            "uvicorn": "app_command: venv/bin/uvicorn ..., not poetry run, uv run or a script without exec",
            "hypercorn": "app_command: venv/bin/hypercorn ..., not poetry run, uv run or a script without exec",
            "asyncio": "app_command: venv/bin/python ..., not poetry run, uv run or a script without exec",
            "node": "app_command: /usr/bin/node server.js, not npm start",
            "puma": "bundle exec becomes Puma; a script around it needs exec",
        },
    ),
    "unit-not-loaded": Known(
        "systemd has loaded something else than what is on disk",
        "Run the playbook setup, or 'systemctl daemon-reload', before the next deploy, so that it does what the files say",
    ),
    "socket-not-active": Known(
        "A socket unit is not up, so nothing holds its port",
        "Run the playbook setup, and look at 'systemctl status' of the unit for why it ended",
    ),
    "socket-not-open": Known(
        "A socket unit does not hold an address that it names",
        "Run the playbook setup with app_socket_change: restart, for a changed address is opened only then; and let the app not remove the path of its socket",
    ),
    "flush-pending": Known(
        "A socket unit throws away who waits",
        "Take FlushPending out of app_socket_options and run the playbook setup",
    ),
    "start-limit": Known(
        "A release that does not start makes systemd close the port",
        "Set StartLimitIntervalSec=0 for the service and TriggerLimitIntervalSec=0 for the socket: take them out of app_unit_options and app_socket_options, "
        "and run the playbook setup",
    ),
    "not-running": Known(
        "The app does not run",
        "Look at its journal; a deploy of a release that works starts it",
    ),
    "other-release": Known(
        "The app runs another release than the one that is live",
        "Restart it with care by the playbook deploy of the release that is to be live, or by rollback: any restart would bring the one that current leads to",
    ),
    "no-second-instance": Known(
        "A second instance does not start beside the live one",
        "An overlap needs two at once: give what both would take (a port, a node name, a pid file, a lock) another name where APP_INSTANCE is stand-in, or use "
        "app_switch restart",
    ),
    "no-socket": Known(
        "No socket unit holds the port",
        "Who connects during a deploy is refused; use app_socket_mode inherit, or proxy for an app that cannot take a socket",
    ),
}


@dataclasses.dataclass(frozen=True)
class Address:
    """What a socket unit names. `accepted` says whether somebody took a connection from it, None where nobody tried."""

    unit: str
    address: str
    is_open: bool = True
    wanted: int = 0
    backlog: int = 0
    rivals: t.Sequence[str] = ()
    accepted: bool | None = None


@dataclasses.dataclass(frozen=True)
class SocketUnit:
    """A socket unit as systemd has it loaded; `is_given` says whether the app itself gets its sockets."""

    name: str
    state: str = "active"
    is_given: bool = True
    reuse_port: bool = False
    flush_pending: bool = False
    trigger_limit: str = "0"
    addresses: t.Sequence[Address] = ()


@dataclasses.dataclass(frozen=True)
class ServiceUnit:
    """The service as systemd has it loaded, and how it is."""

    name: str
    type: str = "notify"
    state: str = "active"
    main: int = 0
    signal: int = 15
    kill_mode: str = "control-group"
    start_limit: str = "0"
    waits_until_ready: bool = False
    stops_by_command: bool = False

    @property
    def is_running(self) -> bool:
        return self.state in ("active", "reloading") and self.main > 0

    @property
    def says_when_ready(self) -> bool:
        return self.type in READY_TYPES or self.waits_until_ready


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of the service, as far as it can be seen.

    `handles` says whether it catches the signal that stops the service, `has` and `waits` which of the app's addresses it has
    and looks at with epoll, and `binds` where it listens by itself, by inode.
    """

    pid: int
    name: str
    command: str
    program: str = ""
    handles: bool | None = None
    ignores: bool = False
    listen_pid: int | None = None
    is_seen: bool = True
    has: frozenset[str] = frozenset()
    waits: frozenset[str] = frozenset()
    binds: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"PID {self.pid} ({self.name})"


@dataclasses.dataclass(frozen=True)
class Tried:
    """What a second instance has shown: why it did not start, how late it took a connection (None: never), and what became of requests in hand."""

    failed: str = ""
    late: float | None = 0.0
    in_hand: int = 0
    answered: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """All that was seen of an app."""

    service: ServiceUnit
    sockets: t.Sequence[SocketUnit] = ()
    processes: t.Sequence[Process] = ()
    runtime: str = "generic"
    strategy: str = "restart"
    has_check: bool = True
    current: str = ""
    running: str = ""
    is_switching: bool = False
    stale: t.Sequence[str] = ()
    preloads: bool | None = None
    tried: Tried | None = None

    @property
    def main(self) -> Process | None:
        return next((process for process in self.processes if process.pid == self.service.main), None)

    @property
    def given(self) -> list[Address]:
        """The addresses whose sockets the app itself gets."""
        return [address for socket in self.sockets if socket.is_given for address in socket.addresses]


class Finding(t.NamedTuple):
    """Something that would go wrong, what shows it, and what to do."""

    code: str
    severity: str
    title: str
    seen: str
    fix: str


Seen = t.Iterator[tuple[str, str, str]]


def judge(facts: Facts) -> list[Finding]:
    """What would go wrong, problems first; one finding for each code, with all that shows it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for ask in QUESTIONS:
        for code, severity, seen in ask(facts):
            before, shown = found.get(code, (severity, []))
            found[code] = (PROBLEM if PROBLEM in (before, severity) else ADVICE, shown if seen in shown else [*shown, seen])
    findings = [Finding(code, severity, KNOWN[code].title, "; ".join(shown), fix(code, facts.runtime)) for code, (severity, shown) in found.items()]
    return sorted(findings, key=lambda finding: finding.severity != PROBLEM)


def fix(code: str, runtime: str) -> str:
    """What to do about a finding, in the words of a runtime."""
    known = KNOWN[code]
    if runtime in known.by_runtime and runtime in NAMES:
        return f"{known.todo}. With {NAMES[runtime]}: {known.by_runtime[runtime]}."
    if code != "lowered-backlog" and "generic" in known.by_runtime:
        return f"{known.todo}. Or: {known.by_runtime['generic']}."
    return f"{known.todo}."


def how(code: str, runtime: str) -> str:
    """Only what a runtime, or an unknown one, calls it."""
    by_runtime = KNOWN[code].by_runtime
    return by_runtime.get(runtime) or by_runtime["generic"]


def runtime_of(command: str) -> str:
    """The runtime that a process runs in, by its command; generic where that does not tell."""
    return next((name for name, pattern in RUNTIMES if re.search(pattern, command)), "generic")


# Each looks at one thing, and yields the code, how bad it is, and what shows it.


def _units(facts: Facts) -> Seen:
    for unit in facts.stale:
        yield "unit-not-loaded", PROBLEM, f"{unit} has changed on disk since systemd read it"
    for socket in facts.sockets:
        if socket.state != "active":
            yield "socket-not-active", PROBLEM, f"{socket.name} is {socket.state or 'not there'}"
        if socket.flush_pending:
            yield "flush-pending", PROBLEM, f"{socket.name} has FlushPending=yes"
        if socket.trigger_limit not in ("0", ""):
            yield "start-limit", PROBLEM, f"{socket.name} has TriggerLimitIntervalSec={socket.trigger_limit}"
        for address in socket.addresses:
            if socket.state == "active" and not address.is_open:
                yield "socket-not-open", PROBLEM, f"{socket.name} names {address.address}, and nothing listens there"
    if facts.sockets and facts.service.start_limit not in ("0", ""):
        yield "start-limit", PROBLEM, f"{facts.service.name} has StartLimitIntervalSec={facts.service.start_limit}"
    if not facts.sockets:
        yield "no-socket", ADVICE, f"{facts.service.name} has no socket unit"


def _state(facts: Facts) -> Seen:
    if not facts.current or facts.is_switching:
        return
    if not facts.service.is_running:
        yield "not-running", PROBLEM, f"{facts.service.name} is {facts.service.state or 'not there'}, and release {facts.current} is to be live"
    elif facts.running and facts.running != facts.current:
        yield "other-release", PROBLEM, f"release {facts.current} is live, and the main process runs release {facts.running}"


def _queues(facts: Facts) -> Seen:
    for socket in facts.sockets:
        for address in socket.addresses:
            if address.backlog < address.wanted:
                yield "lowered-backlog", PROBLEM, f"{address.address} lets {address.backlog} clients wait, and {socket.name} says {address.wanted}"


def _forking(facts: Facts) -> Seen:
    if not any(socket.is_given for socket in facts.sockets):
        return
    if facts.service.type == "forking":
        yield "forking", PROBLEM, f"{facts.service.name} has Type=forking"
    for process in facts.processes:
        if process.name == "run_erl":
            yield "forking", PROBLEM, f"{process} keeps the app in the background"


def _wrappers(facts: Facts) -> Seen:
    main = facts.main
    if main is None or not facts.given or main.waits or main.binds:
        return
    for process in facts.processes:
        if process.pid == main.pid or not (process.has or process.binds or process.listen_pid == main.pid):
            continue
        is_wrapped = _is_wrapper(main)
        # Whatever it is called, what has started another program that serves in its place is one.
        is_other = bool(process.program and main.program and process.program != main.program)
        if is_wrapped or (is_other and process.listen_pid == main.pid and (process.waits or process.binds)):
            told = f", and LISTEN_PID is {process.listen_pid}" if process.listen_pid else ""
            yield "wrapper-loses-pid", PROBLEM, f"the main process is {main}, which has started {process}{told}"
            return


def _is_wrapper(main: Process) -> bool:
    # A program may name itself after what it does: "npm run start".
    return bool(main.name.split()) and main.name.split()[0] in WRAPPERS


def _inheritance(facts: Facts) -> Seen:
    if not facts.service.is_running or not facts.processes or not all(process.is_seen for process in facts.processes):
        return
    is_found = False
    for address in facts.given:
        if not address.is_open:
            continue
        shown = ""
        if address.address.startswith("/") and address.rivals:
            shown = f"{address.rivals[0]} has put a socket of its own at {address.address}"
        elif not any(address.address in process.has for process in facts.processes):
            shown = f"no process of {facts.service.name} has the socket at {address.address}"
        # Who looks at it and accepts nobody is only busy.
        elif address.accepted is False and not any(address.address in process.waits for process in facts.processes):
            shown = f"nobody accepts a connection at {address.address}"
        if shown:
            is_found = True
            yield "socket-not-inherited", PROBLEM, shown
    for process in facts.processes if is_found else ():
        for bound in sorted(set(process.binds.values())):
            yield "socket-not-inherited", PROBLEM, f"{process} listens on {bound} itself"


def _reuse(facts: Facts) -> Seen:
    for socket in facts.sockets:
        if socket.reuse_port:
            yield "reuse-port", PROBLEM, f"{socket.name} has ReusePort=yes"
        for address in socket.addresses:
            if address.rivals and not address.address.startswith("/"):
                yield "reuse-port", PROBLEM, f"{' and '.join(address.rivals)} also listen at {address.address}, on sockets of their own"
    own: dict[str, set[str]] = {}
    for process in facts.processes:
        for inode, bound in process.binds.items():
            own.setdefault(bound, set()).add(inode)
    for bound, inodes in own.items():
        if len(inodes) > 1 and not bound.startswith("/"):
            yield "reuse-port", PROBLEM, f"{len(inodes)} sockets of {facts.service.name} listen at {bound}"


def _readiness(facts: Facts) -> Seen:
    service, tried = facts.service, facts.tried
    if not service.is_running:
        return
    late = ""
    if tried and not tried.failed and (tried.late is None or tried.late > LATE):
        when = "never took a connection" if tried.late is None else f"took its first connection {tried.late:.1f} s later"
        late = f"systemd called a second instance started, and it {when}"
    if service.says_when_ready:
        if late:
            yield "ready-before-listening", PROBLEM, late
        if facts.preloads is False and service.type in READY_TYPES:
            yield "ready-before-listening", PROBLEM, "gunicorn runs without --preload, so it says READY=1 before its workers have loaded the app"
    elif facts.strategy == "overlap" or not facts.has_check:
        # A health check proves what the type does not say, and only an overlap has to know before that.
        why = "app_switch is overlap" if facts.strategy == "overlap" else "there is no app_health_check"
        yield "ready-before-listening", ADVICE, f"Type={service.type} says nothing of whether the app is ready, and {why}" + (f"; {late}" if late else "")


def _drain(facts: Facts) -> Seen:
    service, tried = facts.service, facts.tried
    if service.is_running and not service.stops_by_command and service.kill_mode != "none":
        addressed = _who_serves(facts) if service.kill_mode == "control-group" else [facts.main]
        ends = [process for process in addressed if process]
        if ends and all(process.ignores for process in ends):
            yield "no-drain", PROBLEM, f"{ends[0]} ignores signal {service.signal}, so it is killed once the time to stop is over"
        elif ends and all(process.handles is False for process in ends):
            yield "no-drain", PROBLEM, f"{ends[0]} does not catch signal {service.signal}, so it dies at once with the requests in hand"
    if tried and tried.in_hand and not tried.answered:
        yield "no-drain", PROBLEM, f"a second instance was stopped with {tried.in_hand} requests in hand, and answered none of them"


def _who_serves(facts: Facts) -> list[Process]:
    """The processes that have requests in hand, as far as that shows."""
    for serves in (lambda process: process.waits, lambda process: process.binds, lambda process: process.has):
        found = [process for process in facts.processes if serves(process)]
        if found:
            return found
    return [facts.main] if facts.main else []


def _second_instance(facts: Facts) -> Seen:
    if facts.tried and facts.tried.failed and facts.strategy == "overlap":
        yield "no-second-instance", PROBLEM, facts.tried.failed


QUESTIONS: tuple[t.Callable[[Facts], Seen], ...] = (
    *(_units, _state, _inheritance, _wrappers, _forking, _reuse, _queues, _readiness, _drain, _second_instance),
)
