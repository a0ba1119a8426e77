# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe says nothing when all is well, and what it saw when it is not."""

from __future__ import annotations

import contextlib
import grp
import http.server
import os
import pwd
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check, CheckError
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, places


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path in ("/slow", "/endless"):
            return self.stream(*((b"0", 0.1) if self.path == "/slow" else (b"0" * 65536, 0)))
        body = f"release 7, asked for {self.path}".encode()
        self.send_response(503 if self.path == "/sick" else 200)
        self.send_header("X-Release", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def stream(self, block: bytes, pause: float) -> None:
        """Sends a body without end to whoever still listens."""
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(block)
                time.sleep(pause)

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


def test_what_root_runs_for_the_app_goes_where_the_app_may_and_takes_nothing_of_root_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    really = subprocess.run

    def run(command: list[str], **options: t.Any) -> subprocess.CompletedProcess[bytes]:
        # This would be done before the rights are given up.
        assert "cwd" not in options
        assert options.pop("user") == pwd.getpwnam("daemon").pw_uid
        assert options.pop("group") == grp.getgrnam("daemon").gr_gid
        assert options.pop("extra_groups") == []
        assert options.pop("check") is False
        return really(command, check=False, **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("SECRET", "of root's")
    show = "pwd -P; env | cut -d= -f1 | sort | xargs; ps -o sid= -p $$ | tr -d ' '; echo $$"
    said = Account("daemon", "daemon").run(["sh", "-c", show], folder=str(tmp_path / "link")).stdout.decode().splitlines()
    assert said[0] == str(tmp_path.resolve())
    assert set(said[1].split()) <= {"PATH", "LANG", "HOME", "USER", "LOGNAME", "PWD", "OLDPWD", "SHLVL", "_"}
    assert said[2] == said[3]
    assert Account("daemon").run(["true"], folder=str(tmp_path / "none")).returncode != 0


def test_the_place_of_a_process_is_its_folder_its_program_and_what_it_was_started_with(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()  # before it runs, the kernel does not know its arguments
        assert places(child.pid, Account()) == [str(tmp_path.resolve()), os.path.realpath(sys.executable), sys.executable]
    finally:
        child.communicate(b"\n")
    assert places(child.pid, Account()) == []


# A socket that is a path


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, t.Any]:
        connection, _address = super().get_request()
        return connection, ("a path", 0)  # which the handler would log


@pytest.fixture(scope="module")
def path_of_socket() -> t.Iterator[str]:
    # A socket's path may have no more than 107 bytes, and that of a test's own folder may have more.
    with tempfile.TemporaryDirectory() as folder:
        server = UnixServer(f"{folder}/shop.sock", Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{folder}/shop.sock"
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("http://localhost/a?b=c", {"body": r"asked for /a\?b=c$", "header": {"X-Release": "7"}}, None),
        # No such host is looked up, for the socket is asked instead.
        ("http://shop.invalid:1/", {}, None),
        ("http://localhost/sick", {}, "status 503, not 200"),
    ],
)
def test_a_url_can_be_asked_of_a_socket_that_is_a_path(path_of_socket: str, url: str, options: dict[str, t.Any], complaint: str | None) -> None:
    saw = probe(url=url, unix_socket=path_of_socket, **options)
    assert saw is None if complaint is None else complaint in str(saw)


def test_a_path_where_nobody_listens_does_not_pass(tmp_path: Path) -> None:
    assert "did not answer" in str(probe(url="http://localhost/", unix_socket=str(tmp_path / "none.sock")))


# Servers that take their time


def test_a_head_that_drips_in_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def serve() -> None:
            connection, _address = slow.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                for byte in b"HTTP/1.0 200 OK\r\nX-Slow: yes\r\n\r\n":
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        assert probe(url=f"http://127.0.0.1:{slow.getsockname()[1]}/", timeout=0.3) is not None
        assert time.monotonic() - started < 2


def test_a_body_that_drips_in_is_given_up_in_time(address: str) -> None:
    started = time.monotonic()
    assert "did not end its answer within 0.3 s" in str(probe(url=f"http://{address}/slow", timeout=0.3))
    assert time.monotonic() - started < 2


def test_a_body_without_end_is_read_no_further_than_needed(address: str) -> None:
    assert probe(url=f"http://{address}/endless", body="^0{1048576}$", timeout=30) is None


# A check that names its release


@pytest.mark.parametrize(
    ("expected", "written_for", "release", "found"),
    [
        ("{release}", "2", "1", "1"),
        ("release={release};", "2", "1", "release=1;"),
        ("2", "2", "1", "1"),
        ("shop/1.2", "1.2", "1.1", "shop/1.1"),
        ("shop 2026-11-21, ready", "2026-11-21", "2026-11-20", "shop 2026-11-20, ready"),
        ("It is 1.2.", "1.2", "1.1", "It is 1.1."),
        # Where the id is only a part of another word, something else is meant.
        ("1.2.3", "1.2", "1.1", "1.2.3"),
        ("1.2-rc1", "1.2", "1.1", "1.2-rc1"),
        ("11.2", "1.2", "1.1", "11.2"),
        ("x-1.2", "1.2", "1.1", "x-1.2"),
        ("1x2", "1.2", "1.1", "1x2"),
        ("2nd", "2", "1", "2nd"),
        # A restart and a rollback without a name were written for no release in particular.
        ("2", "", "1", "2"),
        ("{release}", "", "1", "1"),
        # What is put in is not looked at again.
        ("2", "2", "2-2", "2-2"),
        ("2 {release}", "2", "a-2", "a-2 a-2"),
        ("{release}", "2", "2.1", "2.1"),
    ],
)
def test_a_header_is_expected_to_name_the_release_that_is_looked_at(expected: str, written_for: str, release: str, found: str) -> None:
    assert Check(header={"X-Release": expected}).about(release, written_for=written_for).header == {"X-Release": found}


@pytest.mark.parametrize("written", ["{release}", "1.2-b", re.escape("1.2-b")], ids=["placeholder", "plain", "escaped"])
@pytest.mark.parametrize("around", ["%s", "^%s$", "^(%s|none)$", "v?%s$"])
def test_a_body_is_expected_to_name_the_release_that_is_looked_at(written: str, around: str) -> None:
    check = Check(body=around % written).about("1.1", written_for="1.2-b")
    assert re.search(str(check.body), "1.1")
    assert not re.search(str(check.body), "1x1")
    assert not re.search(str(check.body), "1.2-b")


@pytest.mark.parametrize("release", ["2.1", "2-1", "2", "1-2"])
def test_a_release_may_be_called_much_like_the_one_that_failed(release: str) -> None:
    pattern = str(Check(body="^{release}$").about(release, written_for="2").body)
    assert re.search(pattern, release)


def test_the_release_that_is_gone_back_to_is_not_asked_for_the_name_of_the_one_that_failed(address: str) -> None:
    written_for_8 = Check(url=f"http://{address}/", header={"X-Release": "8"}, body="^release 8,")
    assert written_for_8.probe(folder="/", account=Account()) == f"http://{address}/ answered with the header X-Release: 7, not 8"
    assert written_for_8.about("7", written_for="8").probe(folder="/", account=Account()) is None


def test_all_else_of_a_check_stays_as_it_is() -> None:
    check = Check(url="http://127.0.0.1:2/2", status=[2], timeout=2, interval=2, retries=2)
    assert check.about("1", written_for="2") == check


URL = "http://127.0.0.1:1/"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"timeout": 5}, "exactly one of url, tcp and command"),
        ({"url": URL, "tcp": "a:1"}, "exactly one of url, tcp and command"),
        ({"tcp": ""}, "exactly one"),
        ({"command": []}, "exactly one"),
        ({"tcp": "a:1", "unix_socket": "/run/x"}, "unix_socket needs a url"),
        *(({"url": url}, "url must be an http or https URL") for url in ("/health", "ftp://a/", "http://", "http://a/b c", "http://a/ü")),
        *(({"url": url}, ".") for url in ("http://a:0/", "http://a:port/", "http://a:99999/", "http://[::1/", 5)),
        *(({"tcp": address}, "tcp must be an address with a port") for address in ("localhost", "a:http", "a:0", "a:65536", ":80", "a:²")),
        ({"url": URL, "body": "("}, "body: '\\(' is no regular expression"),
        ({"url": URL, "status": ["fine"]}, "fine"),
        ({"url": URL, "header": "X-Release"}, "."),
        *(({"url": URL, name: -1}, "timeout must be above 0") for name in ("timeout", "interval", "retries")),
        *(({"url": URL, name: 0}, "timeout must be above 0") for name in ("timeout", "retries")),
        ({"url": URL, "timeout": float("nan")}, "timeout must be above 0"),
        ({"url": URL, "timeout": "soon"}, "soon"),
        ({"url": URL, "retry": 3}, "retry"),
    ],
)
def test_a_check_that_nobody_could_carry_out_is_refused_beforehand(options: dict[str, t.Any], complaint: str) -> None:
    with pytest.raises(CheckError, match=complaint):
        Check.read(options)


def test_a_check_is_read_from_what_templates_make_of_it() -> None:
    read = Check.read({"url": URL, "tcp": None, "header": {"X-Release": 20261121}, "status": ["200", 204], "timeout": "1.5", "retries": "3", "interval": 0})
    assert read == Check(url=URL, header={"X-Release": "20261121"}, status=[200, 204], timeout=1.5, retries=3, interval=0)
    assert Check.read({}) == Check()


@pytest.mark.parametrize("options", [{"url": "http://a..b/"}, {"tcp": "a..b:80"}, {"command": ["a\0b"]}])
def test_a_name_that_cannot_be_looked_up_is_an_answer_too(options: dict[str, t.Any]) -> None:
    assert re.search("did not answer|did not accept|cannot be run", str(Check.read(options).probe(folder="/", account=Account())))
