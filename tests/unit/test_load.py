# SPDX-License-Identifier: GPL-3.0-or-later
"""A load that ends with what it watches hides no request: each client has its answer first."""

from __future__ import annotations

import http.server
import threading
import time
import typing as t
from pathlib import Path

import pytest

from load import Load

CLIENTS = 4


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers after half a second, so that at every moment all clients wait."""

    protocol_version = "HTTP/1.1"
    answered = 0
    counting = threading.Lock()

    def do_GET(self) -> None:  # the name that http.server asks for
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(0.5)
        self.send_response(200)
        self.send_header("X-Release", "one")
        self.send_header("Content-Length", "0")
        self.end_headers()
        with self.counting:
            Slow.answered += 1

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def url() -> t.Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_load_ends_with_the_answer_of_each_client_once_it_is_told_to(url: str, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    load = Load(url, seconds=600, clients=CLIENTS, pause=0, until=enough)
    while Slow.answered < 2 * CLIENTS:
        time.sleep(0.05)
    enough.touch()
    report = load.wait()
    assert report.failures == {}
    assert len(report.requests) == Slow.answered
    assert report.ended - report.started < 60
