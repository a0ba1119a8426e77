# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault is found by what shows it, and an app that is well has none."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _findings
from ansible_collections.holdfast.systemd.plugins.module_utils._findings import Address, Facts, Finding, Process, ServiceUnit, SocketUnit, Tried, judge

AT = "127.0.0.1:4000"
HAS = {"has": frozenset({AT}), "waits": frozenset({AT})}
SERVICE = ServiceUnit("shop.service", main=7)
PYTHON = Process(7, "python3", "/usr/bin/python3 app.py", program="/usr/bin/python3.11", handles=True, listen_pid=7, **HAS)
SOCKET = SocketUnit("shop.socket", addresses=[Address("shop.socket", AT, wanted=4096, backlog=4096, accepted=True)])
WELL = Facts(SERVICE, [SOCKET], [PYTHON], current="2", running="2")


def changed(*, service: t.Any = None, socket: t.Any = None, address: t.Any = None, process: t.Any = None, **facts: t.Any) -> Facts:
    """Facts of an app that is well, but for this."""
    found = dataclasses.replace(SOCKET, **{"addresses": [dataclasses.replace(SOCKET.addresses[0], **(address or {}))], **(socket or {})})
    plain = {
        "service": dataclasses.replace(SERVICE, **(service or {})),
        "sockets": [found],
        "processes": [dataclasses.replace(PYTHON, **(process or {}))],
    }
    return dataclasses.replace(WELL, **{**plain, **facts})


def codes(facts: Facts) -> list[str]:
    return [finding.code for finding in judge(facts)]


def only(facts: Facts) -> Finding:
    (finding,) = judge(facts)
    return finding


def worker(pid: int, **changes: t.Any) -> Process:
    return dataclasses.replace(PYTHON, pid=pid, **changes)


SHELL = Process(7, "sh", "/bin/sh run.sh", program="/usr/bin/dash", handles=False, listen_pid=7, has=frozenset({AT}))
BEAM = Process(7, "beam.smp", "/srv/shop/erts/bin/beam.smp -- -s elixir start_cli", program="/srv/shop/erts/bin/beam.smp", handles=True, listen_pid=7, **HAS)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(WELL, id="asyncio that says when it is ready"),
        pytest.param(changed(service={"type": "exec"}), id="exec with a health check, and nobody waits for readiness"),
        pytest.param(changed(service={"type": "exec", "waits_until_ready": True}, strategy="overlap"), id="exec that is waited for"),
        # It waits with select(), where nobody can see it, and its workers were forked with the environment of the first.
        pytest.param(
            changed(processes=[worker(7, waits=frozenset()), worker(8, waits=frozenset()), worker(9, waits=frozenset())], preloads=True), id="gunicorn"
        ),
        # It hears a port of its own, for metrics.
        pytest.param(changed(process={"waits": frozenset(), "binds": {"1": "127.0.0.1:9100"}}), id="a port of its own beside the held one"),
        pytest.param(changed(address={"accepted": False}), id="an app that is too busy to accept"),
        pytest.param(changed(address={"accepted": None}), id="an address that nobody here can connect to"),
        pytest.param(
            changed(processes=[BEAM, Process(8, "erl_child_setup", "erl_child_setup 1024", program="/srv/erl_child_setup", handles=False, listen_pid=7)]),
            id="Erlang with its helper",
        ),
        pytest.param(changed(processes=[PYTHON, Process(8, "sh", "sh -c job", program="/usr/bin/dash", handles=False, listen_pid=7)]), id="an app with a job"),
        pytest.param(changed(processes=[worker(7, waits=frozenset()), worker(8), worker(9)]), id="uvicorn with workers, which it starts anew"),
        pytest.param(changed(processes=[worker(7, waits=frozenset(), handles=False), worker(8)]), id="workers that drain below a parent that does not serve"),
        pytest.param(changed(process={"is_seen": False, "has": frozenset(), "waits": frozenset()}, address={"accepted": False}), id="what cannot be seen"),
        pytest.param(changed(process={"handles": None, "program": "", "listen_pid": None}), id="what hardly can be seen"),
        pytest.param(changed(service={"stops_by_command": True}, process={"handles": False}), id="an app that a command stops"),
        pytest.param(changed(service={"state": "inactive", "main": 0}, processes=[], running="", current=""), id="before the first deploy"),
        pytest.param(changed(service={"state": "activating"}, is_switching=True), id="during a deploy"),
        pytest.param(changed(running="1", is_switching=True), id="between two releases"),
        pytest.param(changed(running=""), id="a release that cannot be seen"),
        pytest.param(changed(tried=Tried(late=0.02, in_hand=8, answered=8)), id="tried, and well"),
        pytest.param(changed(tried=Tried(late=0.02, in_hand=8, answered=1)), id="tried, and it hung up on who had said nothing yet"),
        pytest.param(changed(tried=Tried(failed="it did not start")), id="only an overlap needs two at once"),
        # Behind a proxy the app binds a port of its own.
        pytest.param(
            changed(socket={"is_given": False}, process={**dict.fromkeys(("has", "waits"), frozenset()), "binds": {"1": "127.0.0.1:4001"}}), id="proxy"
        ),
    ],
)
def test_an_app_that_is_well_has_no_findings(facts: Facts) -> None:
    assert judge(facts) == []


@pytest.mark.parametrize(
    ("facts", "code", "seen"),
    [
        (changed(address={"backlog": 100}), "lowered-backlog", "127.0.0.1:4000 lets 100 clients wait, and shop.socket says 4096"),
        (changed(stale=["shop.service"]), "unit-not-loaded", "shop.service has changed on disk"),
        (changed(socket={"state": "failed"}), "socket-not-active", "shop.socket is failed"),
        (changed(address={"is_open": False}), "socket-not-open", "shop.socket names 127.0.0.1:4000, and nothing listens there"),
        (changed(socket={"flush_pending": True}), "flush-pending", "FlushPending=yes"),
        (changed(socket={"trigger_limit": "2s"}), "start-limit", "shop.socket has TriggerLimitIntervalSec=2s"),
        (changed(service={"start_limit": "10s"}), "start-limit", "shop.service has StartLimitIntervalSec=10s"),
        (changed(service={"state": "failed", "main": 0}, processes=[], running=""), "not-running", "shop.service is failed, and release 2 is to be live"),
        (changed(running="1"), "other-release", "release 2 is live, and the main process runs release 1"),
        (changed(socket={"reuse_port": True}), "reuse-port", "shop.socket has ReusePort=yes"),
        (changed(address={"rivals": ["PID 8 (python3)"]}), "reuse-port", "PID 8 (python3) also listen at 127.0.0.1:4000"),
        (
            changed(processes=[worker(7, binds={"1": "[::]:80"}), worker(8, binds={"2": "[::]:80"})]),
            "reuse-port",
            "2 sockets of shop.service listen at [::]:80",
        ),
        (changed(service={"type": "forking"}), "forking", "Type=forking"),
        (changed(processes=[PYTHON, Process(8, "run_erl", "run_erl -daemon")]), "forking", "PID 8 (run_erl) keeps the app in the background"),
        (changed(process={"handles": False}), "no-drain", "PID 7 (python3) does not catch signal 15"),
        (changed(process={"handles": False, "ignores": True}), "no-drain", "PID 7 (python3) ignores signal 15"),
        (changed(service={"kill_mode": "mixed"}, processes=[worker(7, handles=False), worker(8)]), "no-drain", "PID 7 (python3) does not catch"),
        (changed(processes=[worker(7, waits=frozenset()), worker(8, handles=False)]), "no-drain", "PID 8 (python3) does not catch"),
        (changed(tried=Tried(late=0.0, in_hand=8, answered=0)), "no-drain", "stopped with 8 requests in hand, and answered none of them"),
        (changed(preloads=False), "ready-before-listening", "gunicorn runs without --preload"),
        (changed(tried=Tried(late=2.13)), "ready-before-listening", "took its first connection 2.1 s later"),
        (changed(tried=Tried(late=None)), "ready-before-listening", "it never took a connection"),
        (changed(tried=Tried(failed="address in use"), strategy="overlap"), "no-second-instance", "address in use"),
        (changed(process={"has": frozenset(), "waits": frozenset()}), "socket-not-inherited", "no process of shop.service has the socket at 127.0.0.1:4000"),
        # systemd leaves the socket open in a process that does not care.
        (
            changed(process={"waits": frozenset(), "binds": {"1": "0.0.0.0:8000"}}, address={"accepted": False}),
            "socket-not-inherited",
            "nobody accepts a connection at 127.0.0.1:4000; PID 7 (python3) listens on 0.0.0.0:8000 itself",
        ),
        (
            changed(sockets=[dataclasses.replace(SOCKET, addresses=[Address("shop.socket", "/run/shop.sock", rivals=["PID 7 (python3)"])])]),
            "socket-not-inherited",
            "PID 7 (python3) has put a socket of its own at /run/shop.sock",
        ),
        (changed(processes=[SHELL, worker(8)]), "wrapper-loses-pid", "the main process is PID 7 (sh), which has started PID 8 (python3), and LISTEN_PID is 7"),
        (changed(processes=[dataclasses.replace(SHELL, name="npm run start"), worker(8)]), "wrapper-loses-pid", "PID 7 (npm run start)"),
        # Whatever it is called.
        (changed(processes=[dataclasses.replace(SHELL, name="launch"), worker(8)]), "wrapper-loses-pid", "PID 7 (launch)"),
    ],
)
def test_a_fault_is_found_alone_by_what_shows_it(facts: Facts, code: str, seen: str) -> None:
    finding = only(facts)
    assert (finding.code, finding.severity) == (code, "problem")
    assert seen in finding.seen
    assert finding.title
    assert finding.fix.endswith(".")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (changed(service={"type": "exec"}, has_check=False), "ready-before-listening"),
        (changed(service={"type": "simple"}, strategy="overlap"), "ready-before-listening"),
        (changed(sockets=[], processes=[]), "no-socket"),
    ],
)
def test_what_could_only_be_better_is_advice(facts: Facts, code: str) -> None:
    assert [(finding.code, finding.severity) for finding in judge(facts)] == [(code, "advice")]


def test_problems_come_before_advice_and_one_finding_has_all_that_shows_it() -> None:
    found = judge(changed(service={"type": "exec"}, has_check=False, address={"backlog": 5}, stale=["shop.service", "shop.socket"]))
    assert [finding.code for finding in found] == ["unit-not-loaded", "lowered-backlog", "ready-before-listening"]
    assert found[0].seen == "shop.service has changed on disk since systemd read it; shop.socket has changed on disk since systemd read it"


def test_an_app_without_a_socket_may_fork() -> None:
    assert codes(changed(service={"type": "forking"}, sockets=[])) == ["no-socket"]


@pytest.mark.parametrize(
    ("command", "runtime"),
    [
        ("/srv/shop/venv/bin/python venv/bin/gunicorn --preload -k uvicorn.workers.UvicornWorker shop", "gunicorn"),
        ("/srv/shop/venv/bin/python venv/bin/uvicorn shop:app --fd 3", "uvicorn"),
        ("/srv/shop/venv/bin/python3 venv/bin/hypercorn shop:app", "hypercorn"),
        ("puma 6.4.2 (tcp://127.0.0.1:4000) [shop]", "puma"),
        ("/srv/shop/erts-15.0/bin/beam.smp -- -s elixir start_cli -name shop@node", "elixir"),
        ("/srv/shop/erts-15.0/bin/beam.smp -- -root /srv/shop", "erlang"),
        ("/usr/bin/node server.js", "node"),
        ("node server.js", "node"),
        ("/usr/bin/python3 -m aiohttp.web shop", "asyncio"),
        ("/srv/shop/releases/1/bin/shop", "generic"),
        ("", "generic"),
    ],
)
def test_a_runtime_shows_in_the_command(command: str, runtime: str) -> None:
    assert _findings.runtime_of(command) == runtime


@pytest.mark.parametrize("runtime", [*_findings.NAMES, "generic"])
@pytest.mark.parametrize("code", _findings.KNOWN)
def test_every_finding_has_a_title_and_a_fix_for_every_runtime(code: str, runtime: str) -> None:
    known = _findings.KNOWN[code]
    assert known.title
    assert not known.title.endswith(".")
    told = _findings.fix(code, runtime)
    assert told.startswith(known.todo)
    assert (f"With {_findings.NAMES.get(runtime)}: {known.by_runtime.get(runtime)}." in told) is (runtime in known.by_runtime and runtime in _findings.NAMES)


@pytest.mark.parametrize("code", ["lowered-backlog", "socket-not-inherited", "ready-before-listening", "no-drain"])
def test_what_a_runtime_must_be_told_is_known_for_each(code: str) -> None:
    assert set(_findings.NAMES) <= set(_findings.KNOWN[code].by_runtime)


def test_every_runtime_is_one_of_the_apps() -> None:
    assert {name for name, _pattern in _findings.RUNTIMES} <= set(_findings.NAMES)
