# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An app started a second time, to see how it starts and how it ends. Private to the collection.

It is the stand-in of an overlap in all but its sockets: those are its own, on addresses that nobody knows, so that no client of the
live app ever comes to it, whatever it does to those whom it serves. What it shows is judged by _findings.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import socket
import time
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _files, _processes
from ansible_collections.holdfast.systemd.plugins.module_utils._caller import Caller, listen_for_answers
from ansible_collections.holdfast.systemd.plugins.module_utils._findings import LATE, Tried
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import RUNTIME_UNIT_FOLDER, Systemd, SystemdError

# If whoever tries it dies, it ends by itself.
LONGEST = "10min"
# How long it may take to accept the first client, and to answer the first request, in seconds.
PATIENCE = 10
# How often it is started, as long as it seems to be late.
STARTS = 3
# How many clients have a request in hand when it is stopped; a server that takes one after the other has fewer.
CLIENTS = 8
LONGEST_STOP = 600


class UntriableError(Exception):
    """Why an app cannot be started a second time like this."""


class Trial:
    """One such instance, of the release that is live."""

    def __init__(self, systemd: Systemd, *, service: str, stand_in: str, sockets: t.Sequence[str], release: str, path: str = "/") -> None:
        self.systemd = systemd
        self.service = service
        self.stand_in = stand_in
        self.sockets = sockets
        self.path = path
        self.unseen: list[str] = []
        # No app has a dot in its name, so these are nobody else's.
        self._prefix = f"{service.rpartition('.')[0]}.doctor-"
        self._name = f"{self._prefix}{os.getpid()}"
        self.template = f"{self._name}@.service"
        self.unit = f"{self._name}@{release}.service"
        self.socket_units = [f"{self._name}-{number}.socket" for number in range(len(sockets))]
        # Its addresses by those of the live app, and the first one that takes connections.
        self.addresses: dict[str, str] = {}
        self.first = ""
        self.speaks_http = False

    def run(self) -> Tried:
        """Starts it, asks it, stops it, and leaves nothing of it; raises UntriableError, or SystemdError."""
        self._remove_earlier()
        try:
            self._write()
            return self._measure()
        finally:
            self._remove()

    # What it shows

    def _measure(self) -> Tried:
        began = time.time()
        self.systemd.start(*self.socket_units)
        soonest: float | None = None
        # An app that is ready too early is so each time, and a host that is busy is not.
        for attempt in range(STARTS):
            try:
                (self.systemd.restart if attempt else self.systemd.start)(self.unit)
            except SystemdError as error:
                return Tried(failed=self._why_not(error, since=began))
            late = self._lateness()
            if late is None:
                return Tried(late=None)
            soonest = late if soonest is None else min(soonest, late)
            if soonest <= LATE:
                break
        if not self.speaks_http:
            self.unseen.append("a second instance did not answer HTTP, so it does not show whether it finishes requests when it is stopped")
            return Tried(late=soonest)
        return self._stop_with_requests(soonest)

    def _why_not(self, error: SystemdError, *, since: float) -> str:
        told = self.systemd.journal(self.unit, since=since, lines=20)
        # Its own last words say more than those of systemd.
        said = [line.strip() for line in told if self._name not in line and not line.startswith(("Starting ", "Failed to start "))]
        return f"a second instance did not start: {' / '.join(said[-2:]) or error}"

    def _lateness(self) -> float | None:
        """How much longer its first client has waited than later ones do, who show how busy the host is; None for one whom nobody has accepted."""
        with Caller(self.first, timeout=PATIENCE) as first:
            late = first.wait_until_accepted(PATIENCE)
            if late is None:
                return None
            first.ask(self.path)
            listen_for_answers([first], timeout=PATIENCE)
            self.speaks_http = first.is_answered
        usual = 0.0
        for _number in range(2 if late > LATE else 0):
            with Caller(self.first) as later:
                usual = max(usual, later.wait_until_accepted(PATIENCE) or 0)
        return max(0.0, late - usual)

    def _stop_with_requests(self, late: float | None) -> Tried:
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(Caller(self.first)) for _number in range(CLIENTS)]
            deadline = time.monotonic() + 1
            in_hand = [
                caller for caller in callers if caller.wait_until_accepted(max(0.05, deadline - time.monotonic())) is not None and not _has_hung_up(caller)
            ]
            # The others would wait in the queue, which is no business of an app that ends.
            for caller in callers:
                if caller not in in_hand:
                    caller.socket.close()
            # However fast it is, all of them are in its hands when it hears that it has to stop.
            self.systemd.kill("SIGSTOP", self.unit)
            try:
                for caller in in_hand:
                    caller.ask(self.path)
                self.systemd.begin_to_stop(self.unit, *self.socket_units)
            finally:
                with contextlib.suppress(SystemdError):  # it may have ended at once
                    self.systemd.kill("SIGCONT", self.unit)
            deadline = time.monotonic() + LONGEST_STOP
            while not all(caller.has_ended for caller in in_hand) and time.monotonic() < deadline:
                has_stopped = self.systemd.show(self.unit, "ActiveState").get("ActiveState") in ("inactive", "failed")
                listen_for_answers(in_hand, timeout=1)
                if has_stopped:
                    break
            return Tried(late=late, in_hand=len(in_hand), answered=sum(caller.is_answered for caller in in_hand))

    # Its units

    def _write(self) -> None:
        os.makedirs(RUNTIME_UNIT_FOLDER, mode=0o755, exist_ok=True)
        for unit, live in zip(self.socket_units, self.sockets):
            self._put(unit, self._socket_text(live))
        if not self.first:
            raise UntriableError("none of its sockets takes connections")
        self._put(self.template, self._service_text(self.systemd.text(self.stand_in)))

    def _socket_text(self, live: str) -> str:
        known = self.systemd.show(live, "Listen", "FileDescriptorName")
        lines = []
        for line in known.get("Listen", "").splitlines():
            address, _space, kind = line.rpartition(" ")
            own = _another(address, kind.strip("()"), f"/run/{self._name}-{len(self.addresses)}.sock")
            lines.append(f"Listen{kind.strip('()')}={own}")
            self.addresses[address] = own
            self.first = self.first or (own if kind == "(Stream)" else "")
        own_lines = [f"FileDescriptorName={known.get('FileDescriptorName') or live}", f"Service={self.unit}", "Backlog=4096", "RemoveOnStop=yes"]
        return "\n".join([f"[Unit]\nDescription=A second {live}, to try it\n\n[Socket]", *lines, *own_lines, "TriggerLimitIntervalSec=0", ""])

    def _service_text(self, text: str) -> str:
        """The stand-in with other sockets. What it runs to see whether it is ready must ask at those."""
        name = self.stand_in.rpartition("@")[0]
        # In a unit of another name these mean something else.
        for specifier, meaning in (("%n", f"{name}@%i.service"), ("%N", f"{name}@%i"), ("%p", name)):
            text = re.sub(rf"(?<!%)((?:%%)*){specifier}", rf"\g<1>{meaning}", text)
        text = re.sub(r"^Sockets=.*\n?", "", text, flags=re.MULTILINE)
        text = re.sub(r"^ExecStartPost=.*$", lambda found: self._elsewhere(found[0]), text, flags=re.MULTILINE)
        own = [f"Sockets={unit}" for unit in self.socket_units]
        return "\n".join([text, "[Service]", *own, "Restart=no", f"RuntimeMaxSec={LONGEST}", ""])

    def _elsewhere(self, command: str) -> str:
        for live, own in self.addresses.items():
            names = [re.escape(live)]
            port = _processes.PORT.match(live)
            if port:
                # Alone it is a word, as in a list of addresses.
                names += [rf"(?:localhost|127\.0\.0\.1|\[::1\]):{port['port']}", rf"(?<=[\s\"']){port['port']}(?=[\s\"']|$)"]
            # Whole words, so that no part of another address or path is taken for it.
            command = re.sub(rf"(?<![\w.:\]])(?:{'|'.join(names)})(?![\w.])", own, command)
        return command

    @staticmethod
    def _put(unit: str, text: str) -> None:
        # It says what the unit of the app says, with the secrets of its drop-ins.
        _files.write_atomically(os.path.join(RUNTIME_UNIT_FOLDER, unit), text, mode=0o600)

    def _remove_earlier(self) -> None:
        """Takes away what a run that died has left; whoever calls holds the lock of the app."""
        left = [unit for suffix in ("service", "socket") for unit in self.systemd.loaded(f"{self._prefix}*.{suffix}")]
        self._forget(left, glob.glob(os.path.join(RUNTIME_UNIT_FOLDER, f"{glob.escape(self._prefix)}*")))

    def _remove(self) -> None:
        self._forget([self.unit, *self.socket_units], [os.path.join(RUNTIME_UNIT_FOLDER, unit) for unit in (self.template, *self.socket_units)])

    def _forget(self, units: t.Sequence[str], files: t.Sequence[str]) -> None:
        if units:
            with contextlib.suppress(SystemdError):  # one that was never loaded cannot be stopped
                self.systemd.stop(*units)
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if units:
            self.systemd.forget_failures(*units)


def _has_hung_up(caller: Caller) -> bool:
    caller.socket.settimeout(0)
    try:
        return caller.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _another(address: str, kind: str, path: str) -> str:
    """An address of the same family that nobody has, and that only this host reaches."""
    if kind not in ("Stream", "Datagram", "SequentialPacket"):
        raise UntriableError(f"it has a socket of another kind ({address}, Listen{kind})")
    if address.startswith("/"):
        return path
    found = _processes.PORT.match(address)
    if not found:
        raise UntriableError(f"it has a socket of another kind ({address})")
    is_old = found["host"] and not found["host"].startswith("[")
    for family, host in ((socket.AF_INET, "127.0.0.1"),) if is_old else ((socket.AF_INET6, "::1"), (socket.AF_INET6, "::")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM if kind == "Stream" else socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
            return f"{host}:{port}" if is_old else f"[{host}]:{port}"
    raise UntriableError(f"there is no free port beside {address}")
