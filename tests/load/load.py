# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that ask without pause while something else happens, and what became of each request.

    python tests/load/load.py --url URL --seconds 20 --report report.json

k6 is the load generator. Half of the clients open a new connection for every request and half keep theirs.
"""

from __future__ import annotations

import argparse
import collections
import csv
import dataclasses
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

K6 = str(Path(sys.executable).with_name("k6"))
INTERRUPTED = 105  # k6's exit status
SCRIPT = str(Path(__file__).with_name("load.js"))


@dataclasses.dataclass(frozen=True)
class Request:
    """One request: when it ended (seconds since the epoch), how long the client waited, and what went wrong."""

    ended: float
    seconds: float
    status: int
    error: str

    @property
    def failed(self) -> bool:
        return self.status != 200


class Load:
    """A load that runs in the background until its time is up, or until a file is there.

    Then each client ends its request in hand first: cutting it short would hide the requests that hang at that moment.
    """

    def __init__(self, url: str, *, seconds: float, clients: int = 40, pause: float = 0.02, until: Path | None = None) -> None:
        self.clients = clients
        self._control = Control(until, clients) if until else None
        self._samples = tempfile.NamedTemporaryFile(prefix="load-", suffix=".csv")  # noqa: SIM115 - it lives as long as the load
        self.started = time.time()
        self._process = subprocess.Popen(
            [K6, "run", "--quiet", "--no-usage-report", "--no-summary", "--address=127.0.0.1:0", f"--out=csv={self._samples.name}", SCRIPT],
            env={
                **os.environ,
                "K6_CSV_TIME_FORMAT": "unix_micro",
                "LOAD_URL": url,
                "LOAD_CLIENTS": str(clients // 2),
                "LOAD_PAUSE_SECONDS": str(pause),
                "LOAD_SECONDS": str(seconds),
                "LOAD_CONTROL": self._control.url if self._control else "",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self) -> Report:
        """Waits until every client has its last answer."""
        if self._control:
            self._control.wait(self._process)
        output = self._process.communicate()[0]
        if self._process.returncode not in (0, INTERRUPTED if self._control else 0):
            raise RuntimeError(f"k6 ended with status {self._process.returncode}: {output}")
        requests, releases = _read(self._samples.name)
        if not requests:
            raise RuntimeError(f"k6 made no request: {output}")
        return Report(requests, releases, self.started, time.time())


class Control(http.server.ThreadingHTTPServer):
    """Tells the clients whether to go on, and ends the load when all of them know that it has ended."""

    def __init__(self, until: Path, clients: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.until = until
        self.ended = threading.Semaphore(0)
        self._clients = clients
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def wait(self, process: subprocess.Popen[str]) -> None:
        """Waits until each client has ended, or the load by itself."""
        ended = 0
        while ended < self._clients and process.poll() is None:
            ended += self.ended.acquire(timeout=1)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


class Answer(http.server.BaseHTTPRequestHandler):
    """What a client is told."""

    server: Control

    def do_GET(self) -> None:  # the name that http.server asks for
        has_ended = self.server.until.exists()
        body = b"end" if has_ended else b"go on"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        if has_ended:
            self.server.ended.release()

    def log_message(self, *_arguments: object) -> None:
        """The clients' questions are of no interest."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of all requests of a load."""

    requests: list[Request]
    releases: dict[str, int]
    started: float
    ended: float

    @property
    def failures(self) -> dict[str, int]:
        return dict(collections.Counter(request.error or f"status {request.status}" for request in self.requests if request.failed))

    @property
    def slowest(self) -> float:
        return max(request.seconds for request in self.requests)

    def as_dict(self) -> dict[str, object]:
        return {
            "requests": len(self.requests),
            "failed": sum(self.failures.values()),
            "failures": self.failures,
            "slowest_ms": round(self.slowest * 1000, 1),
            "median_ms": round(sorted(request.seconds for request in self.requests)[len(self.requests) // 2] * 1000, 1),
            "releases": self.releases,
            "first_ended": min(request.ended for request in self.requests),
            "last_ended": max(request.ended for request in self.requests),
        }


def _read(path: str) -> tuple[list[Request], dict[str, int]]:
    """Reads k6's metrics, a row each; those of one request follow one another, http_reqs first and http_req_failed last."""
    requests: list[Request] = []
    releases: collections.Counter[str] = collections.Counter()
    seconds = 0.0
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            metric = row["metric_name"]
            if "control=yes" in row["extra_tags"]:
                continue
            if metric == "http_reqs":
                seconds = 0.0
            elif metric in ("http_req_duration", "http_req_blocked"):  # the request itself, and getting a connection
                seconds += float(row["metric_value"]) / 1000
            elif metric == "http_req_failed":
                requests.append(Request(int(row["timestamp"]) / 1e6, seconds, int(row["status"] or 0), row["error"]))
            elif metric == "answers":
                releases[row["extra_tags"].partition("release=")[2]] += 1
    return requests, dict(releases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long, at most")
    parser.add_argument("--until", type=Path, metavar="FILE", help="end as soon as this file is there")
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.02, help="between two requests of a client, in seconds")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--note", metavar="NAME=TEXT", action="append", default=[], help="goes into the report as it is")
    options = parser.parse_args()
    report = Load(options.url, seconds=options.seconds, clients=options.clients, pause=options.pause, until=options.until).wait()
    notes = dict(note.split("=", 1) for note in options.note)
    options.report.write_text(json.dumps({**report.as_dict(), **notes}, indent=2) + "\n")


if __name__ == "__main__":
    main()
