# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An app's service as a switch sees it: what it does, which release it runs, and what can be done to it. Private to the collection.

What belongs here looks at one moment or does one thing. In which order belongs to _switch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, in_group, places
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd, SystemdError


class Unhealthy(Exception):
    """Why a release cannot stay live."""


@dataclasses.dataclass(frozen=True)
class State:
    """What systemd knows of the service at one moment."""

    active: str
    sub: str
    result: str
    exit_status: str
    restarts: int
    pid: int
    account: Account
    cgroup: str

    @property
    def is_running(self) -> bool:
        return self.active in ("active", "reloading")

    @property
    def has_ended(self) -> bool:
        return self.active in ("failed", "inactive", "deactivating") or self.sub == "auto-restart"

    def how_it_ended(self) -> str:
        return f"its main process ended ({self.result}, status {self.exit_status})"


class Service:
    """The service of an app, its sockets, and the stand-ins that may serve beside it."""

    def __init__(
        self,
        systemd: Systemd,
        releases: Releases,
        *,
        service: str,
        sockets: t.Sequence[str],
        stand_in: str | None = None,
        backlog: str | None = None,
        reloads: bool = False,
    ) -> None:
        self.systemd = systemd
        self.releases = releases
        self.service = service
        self.sockets = sockets
        self.stand_in = stand_in
        self.backlog = backlog
        # After a reload the main process may be the one of an earlier release, with workers of this one.
        self.reloads = reloads
        self._restarts = 0

    # Looks

    def state(self) -> State:
        """What systemd knows of the service now."""
        return self._state(self.service)

    def release(self) -> str | None:
        """The release that the main process runs in; None if it runs in none, or not at all."""
        state = self.state()
        for place in places(state.pid, state.account) if state.pid else []:
            parent, _slash, rest = place.partition(os.path.realpath(self.releases.releases) + "/")
            if not parent and rest:
                return rest.split("/")[0]
        return None

    def stand_in_of(self, release: str) -> str:
        """The unit of the stand-in of a release."""
        return (self.stand_in or "").replace("@.", f"@{release}.")

    def stand_ins(self) -> list[str]:
        """The releases of which systemd still has a stand-in in memory."""
        if not self.stand_in:
            return []
        prefix, suffix = self.stand_in.split("@")
        return [name.removeprefix(f"{prefix}@").removesuffix(suffix) for name in self.systemd.loaded(f"{prefix}@*{suffix}")]

    def is_well(self, release: str, *, check: Check) -> bool:
        """Whether a release is live and healthy at this moment."""
        if not self.systemd.is_running():
            return False
        state = self.state()
        if state.active != "active":
            return False
        self._restarts = state.restarts
        try:
            return self._look(release, check) is None
        except Unhealthy:
            return False

    def prove(self, release: str, *, check: Check, settle: float) -> None:
        """Waits until a release is ready and healthy, and stays so for `settle` seconds; raises Unhealthy."""
        for attempt in range(max(1, check.retries)):
            if attempt:
                time.sleep(check.interval)
            reason = self._look(release, check)
            if reason is None:
                break
        else:
            raise Unhealthy(f"it was not healthy after {check.retries} looks: {reason}")
        pid = self.state().pid
        time.sleep(settle)
        state = self.state()
        if state.has_ended or state.pid != pid or state.restarts > self._restarts:
            raise Unhealthy(f"it was healthy, but within {settle:g} s {state.how_it_ended()}")

    def _look(self, release: str, check: Check) -> str | None:
        """One look at the live release: None if all is well, a reason to look again, or Unhealthy if none can help."""
        state = self.state()
        if state.has_ended or state.restarts > self._restarts:
            raise Unhealthy(state.how_it_ended())
        if state.active != "active":
            return f"{self.service} is {state.active}"
        for socket in self.sockets:
            if not self.systemd.is_active(socket):
                raise Unhealthy(f"{socket} is not active; look at 'systemctl status {socket}'")
        folder = self.releases.path(release)
        found = [place for pid in self._processes(state) for place in places(pid, state.account)]
        if not any(f"{place}/".startswith(f"{os.path.realpath(folder)}/") for place in found):
            seen = " and ".join(dict.fromkeys(found)) or "a place that cannot be seen"
            if self.reloads:
                return f"no process of {self.service} runs in {folder}, but in {seen}; a reload must take the app there, or use another app_switch"
            return f"the main process (PID {state.pid}) does not run in {folder}, but in {seen}"
        return check.probe(folder=folder, account=state.account)

    def _processes(self, state: State) -> list[int]:
        return (in_group(state.cgroup) if self.reloads else []) or [state.pid]

    def _state(self, unit: str) -> State:
        known = self.systemd.show(unit, "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts", "MainPID", "User", "Group", "ControlGroup")
        return State(
            active=known.get("ActiveState", ""),
            sub=known.get("SubState", ""),
            result=known.get("Result", ""),
            exit_status=known.get("ExecMainStatus", ""),
            restarts=int(known.get("NRestarts") or 0),
            pid=int(known.get("MainPID") or 0),
            account=Account(known.get("User", ""), known.get("Group", ""), self.systemd.way_in),
            cgroup=known.get("ControlGroup", ""),
        )

    # Acts

    def prepare(self, *, again: bool) -> None:
        """Starts what the service needs to have run before it, while the live release still serves; raises Unhealthy.

        What has run once for all since the boot is run `again` on request.
        """
        for unit in self._needed():
            started = time.time()
            known = self.systemd.show(unit, "ActiveState", "CanReload")
            try:
                if again and (known.get("ActiveState"), known.get("CanReload")) == ("active", "yes"):
                    self.systemd.reload(unit)
                else:
                    self.systemd.start(unit)
            except SystemdError as error:
                raise self._needed_failed(unit, since=started) from error

    def restart(self) -> None:
        """Restarts the service behind its sockets, and waits until it is ready; raises Unhealthy."""
        started = time.time()
        try:
            self.systemd.restart(self.service)
        except SystemdError as error:
            raise self._did_not_start(self.service, since=started) from error
        self._restarts = self.state().restarts

    def reload(self) -> None:
        """Reloads the service, or restarts it if it no longer runs; raises Unhealthy."""
        state = self.state()
        if not state.is_running:
            return self.restart()
        self._restarts = state.restarts
        try:
            self.systemd.reload(self.service)
        except SystemdError as error:
            raise Unhealthy(f"it did not reload: {error}") from error

    def stop(self) -> None:
        """Stops the service, so that nothing runs behind the sockets."""
        # A connection that still waits starts the service again at once, which then has nothing to run.
        with contextlib.suppress(SystemdError):  # so it may also cancel this
            self.systemd.stop(self.service)
        time.sleep(0.3)
        if self.sockets and self.state().active != "inactive":
            self.systemd.stop(self.service, *self.sockets)
            self.systemd.start(*self.sockets)

    def settle_jobs(self) -> None:
        """Waits for what somebody else has asked of the service: a start joins the job that systemd already has."""
        with contextlib.suppress(SystemdError):  # what came of it is looked at afterwards
            self.systemd.start(self.service)
        # What it had to be restarted for until now says nothing of what follows.
        self._restarts = self.state().restarts

    def start_stand_in(self, release: str) -> None:
        """Starts a second instance, of this release, on the same sockets, and waits until it is ready; raises Unhealthy."""
        unit = self.stand_in_of(release)
        started = time.time()
        try:
            self.systemd.start(unit)
        except SystemdError as error:
            raise self._did_not_start(unit, name="its stand-in", since=started) from error

    def dismiss_stand_in(self, release: str) -> None:
        """Stops the stand-in of a release, which finishes the requests in hand."""
        unit = self.stand_in_of(release)
        self.systemd.stop(unit)
        self.systemd.forget_failures(unit)

    def put_backlog_back(self) -> None:
        """Gives the sockets the backlog of their units again, whatever number the app has called listen() with."""
        if self.backlog:
            self.systemd.start(self.backlog)

    def run_commands(self, commands: t.Sequence[t.Any], release: str, *, timeout: str, variable: str) -> None:
        """Runs commands one after the other in a release, as the app would see it; raises Unhealthy for the first that fails."""
        unit = f"{self._prefix}-deploy-{os.getpid()}.service"
        wanted = Commands(commands, service=self.service, release=release, folder=self.releases.path(release), timeout=timeout, variable=variable)
        started = time.time()
        try:
            self.systemd.run_once(unit, wanted)
        except SystemdError as error:
            said = "".join(f"\n  {line}" for line in self.systemd.journal(unit, since=started, lines=10))
            raise Unhealthy(f"{variable} failed ({wanted}):{said or error}\n") from error

    def end_commands(self) -> None:
        """Ends the commands of a switch that died."""
        own = re.compile(rf"{re.escape(self._prefix)}-deploy-[0-9]+\.service")
        # There may be an app shop-deploy-web.
        left = list(filter(own.fullmatch, self.systemd.loaded(f"{self._prefix}-deploy-*.service")))
        if left:
            self.systemd.forget_once(*left)

    @property
    def _prefix(self) -> str:
        return self.service.rpartition(".")[0]

    def _needed(self) -> list[str]:
        """The units of this app that systemd runs before the service, each time or once after the boot."""
        required = self.systemd.show(self.service, "Requires").get("Requires", "").split()
        own = [unit for unit in required if unit.startswith(f"{self._prefix}-") and unit.endswith(".service")]
        return [unit for unit in own if self.systemd.show(unit, "Type").get("Type") == "oneshot"]

    def _needed_failed(self, unit: str, *, since: float) -> Unhealthy:
        state = self._state(unit)
        how = f" ({state.result}, status {state.exit_status})" if state.active == "failed" else ""
        said = "".join(f"\n  {line}" for line in self.systemd.journal(unit, since=since, lines=20))
        return Unhealthy(f"{unit}, without which {self.service} does not start, failed{how}:{said}\n")

    def _did_not_start(self, unit: str, *, since: float, name: str = "it") -> Unhealthy:
        # A client who waits makes systemd try again, so it may be at it already.
        for needed in self._needed():
            if self._state(needed).active not in ("active", "inactive"):
                return self._needed_failed(needed, since=since)
        state = self._state(unit)
        return Unhealthy(f"{name} did not start: " + ("it was not ready in time" if state.result == "timeout" else state.how_it_ended()))
