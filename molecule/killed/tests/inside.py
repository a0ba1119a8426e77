# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host, beside a copy of the collection: switches, and kills the switch at chosen instants.

python3 inside.py kill  <a JSON document  >another one
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import subprocess
import sys
import threading
import time
import typing as t

from ansible.module_utils.testing import patch_module_args
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.modules import release_switch

PORT = 4970
APP = "killed"
OURS = "/ansible_collections/holdfast/"
PATIENCE = 20
# Processes and not threads: a fork beside a thread may inherit a lock that nobody will ever release.
FORK = multiprocessing.get_context("fork")


@dataclasses.dataclass(frozen=True)
class Case:
    """A way of switching, and how it should end if nobody interferes."""

    strategy: str
    release: str
    succeeds: bool


CASES = {
    "restart": Case("restart", "", True),
    "restart, going back": Case("restart", "dead", False),
    "reload": Case("reload", "", True),
    "reload, going back": Case("reload", "sick", False),
    "overlap": Case("overlap", "", True),
    "overlap, never ready": Case("overlap", "dead", False),
    "overlap, going back": Case("overlap", "sick", False),
}


def switch(strategy: str, release: str) -> dict[str, t.Any]:
    """Runs the module as Ansible would, in this process."""
    arguments = {
        "path": f"/srv/{APP}",
        "release": release,
        "service": f"{APP}.service",
        "socket": [f"{APP}.socket"],
        "strategy": strategy,
        "stand_in": f"{APP}@.service",
        "backlog_unit": f"{APP}-backlog.service",
        "before": [["/bin/true"]],
        "after": [["/bin/true"]],
        "settle": 0,
        "who": "test",
        "health_check": {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}, "retries": 20, "interval": 0.1},
    }
    said = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        release_switch.main()
    return t.cast("dict[str, t.Any]", json.loads(said.getvalue()))


def in_a_child(work: t.Callable[[], t.Any], *, instant: int | None = None, moment: float | None = None) -> t.Any:
    """Does work in a process of its own, which dies at a line of our code (by number) or at a moment; None if it died."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        lines = 0

        def trace(frame: t.Any, event: str, _argument: t.Any) -> t.Any:
            nonlocal lines
            if OURS not in frame.f_code.co_filename:
                return None
            if event == "line":
                lines += 1
                if lines == instant:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        if moment is not None:
            threading.Timer(moment, os.kill, (os.getpid(), signal.SIGKILL)).start()
        sys.settrace(trace)
        started = time.monotonic()
        result = work()
        sys.settrace(None)
        os.write(writer, json.dumps({"result": result, "lines": lines, "seconds": time.monotonic() - started}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    os.waitpid(pid, 0)
    return json.loads(told) if told else None


def ask() -> tuple[int, str]:
    """Asks once over a new connection: the status, and the release that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["X-Release"]
    finally:
        connection.close()


class Client:
    """Asks without pause, and remembers what went wrong."""

    def __init__(self) -> None:
        self.ended = FORK.Event()
        self._told, telling = FORK.Pipe(duplex=False)
        FORK.Process(target=self._ask, args=(telling,), daemon=True).start()

    def _ask(self, telling: multiprocessing.connection.Connection) -> None:
        requests, failures = 0, []
        while not self.ended.is_set():
            try:
                # A sick release answers with 500, which is an answer.
                ask()
                requests += 1
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.01)
        telling.send((requests, failures))

    def end(self) -> tuple[int, list[str]]:
        """How many requests were answered, and what became of the others."""
        self.ended.set()
        return t.cast("tuple[int, list[str]]", self._told.recv())


def systemctl(*arguments: str) -> str:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False).stdout.strip()


class Question:
    """Asks once, at the moment after a death."""

    def __init__(self) -> None:
        self._failure = "nobody has answered yet"
        self._told, telling = FORK.Pipe(duplex=False)
        FORK.Process(target=self._ask, args=(telling,), daemon=True).start()

    @staticmethod
    def _ask(telling: multiprocessing.connection.Connection) -> None:
        try:
            ask()
            telling.send("")
        except (OSError, http.client.HTTPException) as error:
            telling.send(f"{type(error).__name__}: {error}")

    def violations(self, *, after: float) -> list[str]:
        if self._failure and self._told.poll(after):
            self._failure = self._told.recv()
        return [f"who asked at the moment of death: {self._failure}"] if self._failure else []


def violations_now(releases: Releases) -> list[str]:
    """What must hold at the moment after a death, whatever was under way."""
    current = releases.current()
    return [] if current and releases.manifest(current) else [f"current points to {current}, which is no complete release"]


def violations_after(releases: Releases, done: dict[str, t.Any], *, succeeds: bool) -> list[str]:
    """What must hold once the next run has ended, without anybody's help."""
    found = []
    current = releases.current()
    if bool(done.get("failed")) == succeeds:
        found.append(f"the next run {'failed' if succeeds else 'did not fail'}: {done}")
    pid = systemctl("show", "--value", "--property=MainPID", f"{APP}.service")
    # With accounts of its own it is open to root, and else to itself.
    look = ["readlink", f"/proc/{pid}/cwd"]
    as_the_app = ["setpriv", f"--reuid={APP}", f"--regid={APP}", "--clear-groups"]
    places = (subprocess.run([*who, *look], capture_output=True, text=True, check=False).stdout.strip() for who in ([], as_the_app))
    place = next(filter(None, places), "")
    if place != releases.path(current or "-"):
        found.append(f"the service runs in {place}, and current is {current}")
    if ask() != (200, current):
        found.append(f"{ask()} answers, and current is {current}")
    if releases.pending():
        found.append("a switch is still pending")
    left = systemctl("list-units", "--plain", "--no-legend", f"{APP}@*.service", f"{APP}-deploy-*.service")
    if left:
        found.append(f"still there: {left}")
    if systemctl("is-active", f"{APP}.socket") != "active":
        found.append("the socket unit is not active")
    return found


def other(releases: Releases) -> str:
    return "two" if releases.current() == "one" else "one"


def kill(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Kills each case of switching at so many instants, half of them by line and half by time, under load."""
    chance = random.Random(options["seed"])
    releases = Releases(f"/srv/{APP}")
    report: dict[str, t.Any] = {"killed": {}, "finished": {}, "violations": []}
    clients = [Client() for _number in range(3)]
    opened = systemctl("show", "--value", "--property=ActiveEnterTimestampMonotonic", f"{APP}.socket")
    for name, case in CASES.items():
        whole = in_a_child(lambda: switch(case.strategy, case.release or other(releases)))  # noqa: B023
        if bool(whole["result"].get("failed")) == case.succeeds:
            report["violations"].append(f"{name}, not killed: {whole['result']}")
        died = 0
        for number in range(options["instants"]):
            # Spread over the whole switch: one in each part of it.
            place = (number + chance.random()) / options["instants"]
            # No two switches take equally long. One that has ended before its instant is followed by one that is killed earlier.
            for earlier in (1, 0.8, 0.5):
                goal = case.release or other(releases)
                if number % 2:
                    where: dict[str, t.Any] = {"moment": earlier * place * whole["seconds"]}
                else:
                    where = {"instant": max(1, int(earlier * place * whole["lines"]))}
                if in_a_child(lambda: switch(case.strategy, goal), **where) is None:  # noqa: B023
                    died += 1
                    break
            question = Question()
            found = violations_now(releases)
            if name != "restart, going back":
                # Where the bad release is live already, a client can only wait for the next run; else somebody serves.
                found += question.violations(after=PATIENCE)
            # The next run is the same deploy once more, or another one.
            again = number // 2 % 2 == 1
            following = goal if again else other(releases)
            recovery = in_a_child(lambda: switch(case.strategy, following))  # noqa: B023
            found += question.violations(after=PATIENCE)
            found += violations_after(releases, recovery["result"], succeeds=case.succeeds or not again)
            report["violations"] += [f"{name}, to {goal}, killed at {where}: {violation}" for violation in found]
        report["killed"][name] = died
        report["finished"][name] = options["instants"] - died
    told = [client.end() for client in clients]
    report["requests"] = sum(requests for requests, _failures in told)
    report["failures"] = [failure for _requests, failures in told for failure in failures]
    report["socket_reopened"] = opened != systemctl("show", "--value", "--property=ActiveEnterTimestampMonotonic", f"{APP}.socket")
    return report


if __name__ == "__main__":
    answer = {"kill": kill}[sys.argv[1]](json.load(sys.stdin))
    json.dump(answer, sys.stdout)
