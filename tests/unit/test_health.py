# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe says nothing when all is well, and what it saw when it is not."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, places


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"release 7, asked for {self.path}".encode()
        self.send_response(503 if self.path == "/sick" else 200)
        self.send_header("X-Release", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> t.Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def probe(**options: t.Any) -> str | None:
    return Check(**options).probe(folder="/", account=Account())


@pytest.mark.parametrize(
    ("path", "options", "complaint"),
    [
        ("/", {}, None),
        ("/a?b=c", {"body": r"asked for /a\?b=c$"}, None),
        ("/", {"header": {"x-release": "7"}}, None),
        ("/sick", {"status": [200, 503]}, None),
        ("/sick", {}, "status 503, not 200"),
        ("/", {"status": [204, 301]}, "status 200, not 204 or 301"),
        ("/", {"header": {"X-Release": "8"}}, "X-Release: 7, not 8"),
        ("/", {"header": {"X-Other": "8"}}, "X-Other: None"),
        ("/", {"body": "release 8"}, "does not match"),
    ],
)
def test_http(address: str, path: str, options: dict[str, t.Any], complaint: str | None) -> None:
    saw = probe(url=f"http://{address}{path}", **options)
    assert saw is None if complaint is None else complaint in str(saw)


def test_a_server_that_accepts_and_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "did not answer" in str(probe(url=url, timeout=0.2))


def test_a_server_that_speaks_something_else_does_not_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def serve() -> None:
            connection, _address = odd.accept()
            connection.sendall(b"220 not http\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        assert "did not answer" in str(probe(url=f"http://127.0.0.1:{odd.getsockname()[1]}/", timeout=5))


def test_tcp(address: str) -> None:
    assert probe(tcp=address) is None
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
    assert "did not accept" in str(probe(tcp=gone))


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["true"], None),
        (["sh", "-c", "echo no database >&2; exit 3"], "status 3: no database"),
        (["sleep", "5"], "did not end within"),
        (["/nonexistent"], "cannot be run"),
    ],
)
def test_command(command: list[str], complaint: str | None) -> None:
    saw = probe(command=command, timeout=0.5)
    assert saw is None if complaint is None else complaint in str(saw)


def test_a_command_runs_in_the_release(tmp_path: Path) -> None:
    assert Check(command=["sh", "-c", f'[ "$(pwd -P)" = "{tmp_path.resolve()}" ]']).probe(folder=str(tmp_path), account=Account()) is None


def test_the_place_of_a_process_is_its_folder_and_its_program(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        assert places(child.pid, Account()) == [str(tmp_path.resolve()), os.path.realpath(sys.executable)]
    finally:
        child.communicate(b"\n")
    assert places(child.pid, Account()) == []
