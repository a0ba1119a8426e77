# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: one look from outside at whether an app answers as it should. Private to the collection.

A probe returns None when all is well and otherwise a sentence that says what it saw. What belongs here looks once, as a
client would. How often, and what follows from it, belongs to _service; what systemd knows of the app does not belong here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import re
import socket
import ssl
import subprocess
import threading
import time
import typing as t
from urllib.parse import SplitResult, urlsplit

from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account

BODY_LIMIT = 1 << 20
HIGHEST_PORT = 65535


class CheckError(Exception):
    """A health check that nobody could carry out."""


@dataclasses.dataclass(frozen=True)
class Check:
    """A health check: one of url, tcp and command. Times are in seconds."""

    url: str | None = None
    unix_socket: str | None = None
    status: t.Sequence[int] = (200,)
    header: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str | None = None
    tcp: str | None = None
    command: t.Sequence[str] | None = None
    timeout: float = 5
    interval: float = 1
    retries: int = 30

    @classmethod
    def read(cls, options: t.Mapping[str, t.Any]) -> Check:
        """The check that app_health_check describes, none for an empty one; raises CheckError, which names what is wrong."""
        given = {name: value for name, value in options.items() if value is not None}
        if given and len([name for name in ("url", "tcp", "command") if given.get(name)]) != 1:
            raise CheckError("give exactly one of url, tcp and command, which say what to look at")
        if "unix_socket" in given and not given.get("url"):
            raise CheckError("unix_socket needs a url, which says what to ask for there")
        try:
            _refuse_impossible(given)
            numbers: dict[str, t.Callable[[t.Any], t.Any]] = {"timeout": float, "interval": float, "retries": int}
            given.update({name: read(given[name]) for name, read in numbers.items() if name in given})
            if "status" in given:
                given["status"] = [int(status) for status in given["status"]]
            if "header" in given:
                # What comes from a template may be a number.
                given["header"] = {str(name): str(value) for name, value in given["header"].items()}
            check = cls(**given)
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckError(str(error)) from error
        if not (0 < check.timeout < threading.TIMEOUT_MAX and 0 <= check.interval < threading.TIMEOUT_MAX and check.retries >= 1):
            raise CheckError("timeout must be above 0, interval not below 0 (both in seconds), and retries at least 1")
        return check

    def about(self, release: str, *, written_for: str) -> Check:
        """The check of this release. What it expects may name the release that it was written for, or say `{release}`.

        Without this, the release that is gone back to would be asked for the name of the one that failed.
        """
        # In the regular expression for a body it may be escaped.
        plain = re.escape(written_for)
        names = [rf"(?<![\w.-]){name}(?![\w-]|\\?[.]\w|\\-)" for name in (plain, re.escape(plain)) if written_for]
        name = re.compile("|".join([r"\{release\}", *names]))

        def renamed(value: str, text: str) -> str:
            return name.sub(lambda _found: text, value)

        return dataclasses.replace(
            self,
            header={key: renamed(value, release) for key, value in self.header.items()},
            body=None if self.body is None else renamed(self.body, re.escape(release)),
        )

    def probe(self, *, folder: str, account: Account) -> str | None:
        """Looks once; a command runs in `folder`, as `account`."""
        if self.url:
            return self._http(self.url)
        if self.tcp:
            return self._tcp(self.tcp)
        if self.command:
            return self._command(self.command, folder, account)
        return None

    def _http(self, url: str) -> str | None:
        parts = urlsplit(url)
        connection = self._connection(parts)
        deadline = time.monotonic() + self.timeout
        try:
            connection.connect()
            with _hung_up_after(self.timeout, connection.sock):
                connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers={"Connection": "close"})
                response = connection.getresponse()
                body = b""
                while len(body) < BODY_LIMIT and (block := response.read1(BODY_LIMIT - len(body))):
                    body += block
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"{url} did not answer: {'timed out' if time.monotonic() > deadline else error or type(error).__name__}"
        finally:
            connection.close()
        if time.monotonic() > deadline:
            return f"{url} did not end its answer within {self.timeout:g} s"
        if response.status not in self.status:
            return f"{url} answered with status {response.status}, not {' or '.join(map(str, self.status))}"
        for name, value in self.header.items():
            if response.headers.get(name) != value:
                return f"{url} answered with the header {name}: {response.headers.get(name)}, not {value}"
        if self.body is not None and not re.search(self.body, body.decode("utf-8", "replace")):
            return f"{url} answered with a body that does not match {self.body!r}"
        return None

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "https":
            # The certificate names the public host, not the loopback address that is asked here.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, parts.port, timeout=self.timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=self.timeout)
        if self.unix_socket:
            path, encrypted = self.unix_socket, context if parts.scheme == "https" else None

            def connect() -> None:
                connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.sock.settimeout(self.timeout)
                connection.sock.connect(path)
                if encrypted:
                    connection.sock = encrypted.wrap_socket(connection.sock, server_hostname=host)

            connection.connect = connect  # type: ignore[method-assign]
        return connection

    def _tcp(self, address: str) -> str | None:
        host, _colon, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=self.timeout).close()
        except (OSError, ValueError) as error:
            return f"{address} did not accept a connection: {error}"
        return None

    def _command(self, command: t.Sequence[str], folder: str, account: Account) -> str | None:
        try:
            done = account.run(command, folder=folder, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            return f"{command[0]} did not end within {self.timeout:g} s"
        except (OSError, ValueError) as error:
            return f"{command[0]} cannot be run: {error}"
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            return f"{command[0]} ended with status {done.returncode}: {said[-500:]}"
        return None


def is_port(text: str) -> bool:
    """Whether this is the number of a port."""
    return text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST_PORT


def _refuse_impossible(given: t.Mapping[str, t.Any]) -> None:
    """Raises CheckError or ValueError for a target or a pattern that cannot be meant."""
    if "url" in given:
        parts = urlsplit(given["url"])
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[^!-~]", given["url"]):
            raise CheckError(f"url must be an http or https URL, for instance http://127.0.0.1:4000/health, and not {given['url']!r}")
        if parts.port == 0:  # a wrong one raises ValueError
            raise CheckError(f"url: there is no port 0 in {given['url']!r}")
    if "tcp" in given:
        host, _colon, port = given["tcp"].rpartition(":")
        if not host or not is_port(port):
            raise CheckError(f"tcp must be an address with a port, for instance 127.0.0.1:9000, and not {given['tcp']!r}")
    if "body" in given:
        try:
            re.compile(given["body"])
        except re.error as error:
            raise CheckError(f"body: {given['body']!r} is no regular expression: {error}") from error


@contextlib.contextmanager
def _hung_up_after(seconds: float, connection: socket.socket) -> t.Iterator[None]:
    """Ends a conversation after so long: a socket's own timeout begins anew with each byte."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(seconds, hang_up)
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
