# SPDX-License-Identifier: GPL-3.0-or-later
"""One run: loads on a front, with a release replaced in the middle of them or not, and what became of each request."""

from __future__ import annotations

import collections
import concurrent.futures
import csv
import dataclasses
import io
import math
import statistics
import subprocess
import threading
import time
import typing as t

from host import BenchFailed, Host

from load import Request

SAMPLES = "/tmp/bench.csv"
# Long enough to see the memory of the steady state.
LEAD_IN = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one load of a run is like. Those of one run differ in nothing but the loop."""

    loop: str
    start_up: float
    seconds: float
    clients: int
    pause: float
    rate: int


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a run. Times are in milliseconds and of answered requests only: who is refused is refused fast."""

    loop: str
    start_up: float
    subject: str
    requests: int
    refused: int
    cut: int
    http_errors: int
    other_errors: int
    not_sent: int
    # What k6 said of the requests without an answer, and how often.
    errors: dict[str, int]
    p50: float
    p99: float
    p999: float
    slowest: float
    # Seconds from the beginning of the deploy to the last answer of the old release, or the first of the new one if that is later.
    alone_after: float | None
    # Bytes: what the units held before the deploy, and at most from then on.
    memory_before: float
    memory_peak: float

    @property
    def failed(self) -> int:
        return self.refused + self.cut + self.http_errors + self.other_errors + self.not_sent


class Load:
    """k6 beside the app in the container: no network of containers between them, for any way."""

    def __init__(self, host: Host, port: int, loads: t.Sequence[Settings]) -> None:
        self.host = host
        settings = loads[0]
        environment = {
            "K6_CSV_TIME_FORMAT": "unix_micro",
            "BENCH_URL": f"http://127.0.0.1:{port}/",
            "BENCH_LOOPS": ",".join(load.loop for load in loads),
            "BENCH_SECONDS": str(settings.seconds),
            "BENCH_CLIENTS": str(settings.clients),
            "BENCH_PAUSE_SECONDS": str(settings.pause),
            "BENCH_RATE": str(settings.rate),
            "BENCH_START_UP_SECONDS": str(settings.start_up),
        }
        assignments = [f"{name}={value}" for name, value in environment.items()]
        k6 = ["k6", "run", "--quiet", "--no-usage-report", "--no-summary", "--address=127.0.0.1:0", f"--out=csv={SAMPLES}", "/opt/bench/clients.js"]
        self._process = subprocess.Popen(host.command("env", *assignments, *k6), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout
        self._output: list[str] = []
        self._has_begun = threading.Event()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._output.append(line)
            if "the load begins" in line:
                self._has_begun.set()

    def wait_until_it_begins(self) -> None:
        if not self._has_begun.wait(timeout=60):
            raise BenchFailed(f"k6 did not begin: {''.join(self._output)}")

    def wait(self) -> dict[str, Requests]:
        """Waits until every client has its last answer. Returns the requests of each loop."""
        status = self._process.wait()
        self._reader.join()
        if status:
            raise BenchFailed(f"k6 ended with status {status}: {''.join(self._output)[-2000:]}")
        return _read(self.host.sh(f"cat {SAMPLES}"))


@dataclasses.dataclass
class Requests:
    """All requests of a load, and when each release gave its first and last answer."""

    all: list[Request] = dataclasses.field(default_factory=list)
    first_answer: dict[str, float] = dataclasses.field(default_factory=dict)
    last_answer: dict[str, float] = dataclasses.field(default_factory=dict)
    not_sent: int = 0


class Deploy:
    """The replacement of a release, from the moment in which Ansible has reached the host and waits there at the gate."""

    def __init__(self, host: Host, release: str, deploy: t.Callable[[Host, str], None], *, goes_live: bool = True) -> None:
        self.host = host
        self.release = release
        self.goes_live = goes_live
        host.close_gate()
        self._future = concurrent.futures.ThreadPoolExecutor(max_workers=1).submit(deploy, host, release)
        while not host.is_at_gate():
            if self._future.done():
                self._future.result()
                raise BenchFailed(f"the deploy of {release} did not pass the gate")
            time.sleep(0.2)

    def run(self) -> tuple[float, float]:
        """Goes through the gate, and says when that was and when all was done."""
        began = self.host.open_gate()
        self._future.result()
        return began, time.time()


def run(host: Host, loads: t.Sequence[Settings], subject: str, *, port: int, units: t.Sequence[str], deploy: Deploy | None = None) -> list[Result]:
    """Runs these loads side by side, with a deploy in the middle of them or without one, and says what became of each."""
    load = Load(host, port, loads)
    load.wait_until_it_begins()
    memory = _watch_memory(host, units, loads[0].seconds)
    began, ended = math.inf, 0.0
    try:
        time.sleep(LEAD_IN)
        if deploy:
            began, ended = deploy.run()
    finally:
        requests = load.wait()
        samples = memory.communicate()[0]
    if memory.returncode:
        raise BenchFailed(f"{subject}: memory.py ended with status {memory.returncode}")
    results = []
    for settings in loads:
        found = requests[settings.loop]
        if max(request.ended for request in found.all) < ended:
            raise BenchFailed(f"{subject}: the load ended before the deploy, which took {ended - began:.1f} s, so it proves nothing; use a longer --seconds")
        alone_after = _alone(found, deploy.release) - began if deploy and deploy.goes_live else None
        results.append(_result(subject, settings, found, alone_after, _memory(samples, began)))
    return results


def _alone(requests: Requests, release: str) -> float:
    """The moment from which on this release alone answers."""
    if release not in requests.first_answer:
        raise BenchFailed(f"{release} never answered; there were {', '.join(requests.first_answer)}")
    old = [moment for name, moment in requests.last_answer.items() if name not in (release, "none")]
    return max([requests.first_answer[release], *old])


def _watch_memory(host: Host, units: t.Sequence[str], seconds: float) -> subprocess.Popen[str]:
    # Even root may not look into the processes of others with the rights that a container has by itself.
    command = host.command("python3", "/opt/bench/memory.py", str(seconds), *units, options=["--privileged"])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _memory(samples: str, began: float) -> tuple[float, float]:
    readings = [(float(moment), float(held)) for moment, held in (line.split() for line in samples.splitlines())]
    before = statistics.median(held for moment, held in readings if moment < began)
    if not before:
        raise BenchFailed("no process of the units was found, so their memory cannot be told")
    return before, max(held for _moment, held in readings)


def _result(subject: str, settings: Settings, requests: Requests, alone_after: float | None, memory: tuple[float, float]) -> Result:
    kinds = collections.Counter(_kind(request) for request in requests.all)
    waits = sorted(request.seconds * 1000 for request in requests.all if not request.failed)
    if not waits:
        raise BenchFailed(f"{subject}: not one request was answered")
    return Result(
        loop=settings.loop,
        start_up=settings.start_up,
        subject=subject,
        requests=len(requests.all),
        refused=kinds["refused"],
        cut=kinds["cut"],
        http_errors=kinds["http error"],
        other_errors=kinds["other"],
        not_sent=requests.not_sent,
        errors=dict(collections.Counter(request.error or f"status {request.status}" for request in requests.all if request.failed)),
        p50=_percentile(waits, 50),
        p99=_percentile(waits, 99),
        p999=_percentile(waits, 99.9),
        slowest=waits[-1],
        alone_after=alone_after,
        memory_before=memory[0],
        memory_peak=memory[1],
    )


def _kind(request: Request) -> str:
    if not request.failed:
        return "answered"
    if request.status:
        return "http error"
    if "refused" in request.error:
        return "refused"
    # Whatever ends a connection that was there: a reset, or an end before the answer.
    return "cut" if any(word in request.error for word in ("reset", "EOF", "broken pipe", "closed")) else "other"


def _percentile(ordered: t.Sequence[float], share: float) -> float:
    return ordered[max(math.ceil(len(ordered) * share / 100), 1) - 1]


def _read(samples: str) -> dict[str, Requests]:
    """Reads k6's metrics, a row each; those of one request follow one another, http_reqs first and http_req_failed last."""
    loops: dict[str, Requests] = collections.defaultdict(Requests)
    seconds = 0.0
    for row in csv.DictReader(io.StringIO(samples)):
        metric, moment = row["metric_name"], int(row["timestamp"]) / 1e6
        found = loops[row["scenario"].partition("-")[0]]
        if metric == "http_reqs":
            seconds = 0.0
        elif metric in ("http_req_duration", "http_req_blocked"):  # the request itself, and getting a connection
            seconds += float(row["metric_value"]) / 1000
        elif metric == "http_req_failed":
            found.all.append(Request(moment, seconds, int(row["status"] or 0), row["error"]))
        elif metric == "dropped_iterations":
            found.not_sent += int(float(row["metric_value"]))
        elif metric == "answers":
            release = row["extra_tags"].partition("release=")[2]
            found.first_answer.setdefault(release, moment)
            found.last_answer[release] = max(moment, found.last_answer.get(release, 0.0))
    return loops
