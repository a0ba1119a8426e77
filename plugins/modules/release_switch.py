#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
version_added: 1.0.0
short_description: Makes a staged release the live one, or goes back
author: The holdfast.systemd developers (@holdfast)
description:
  - Points the link C(current) to a staged release, restarts the service while its socket unit holds
    the port, and proves that the release is ready, runs in its own folder, and is healthy.
  - If it is not, goes back to the release that was live before, in the same way, and fails.
  - The whole switch is one transaction on the target under a lock that the kernel frees when its
    holder dies. A run that finds a switch that died half-way first puts things right.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
  - holdfast.systemd._options.app_folder
  - holdfast.systemd._options.health_check
options:
  release:
    description:
      - The id of the release to make live. It must have been staged with M(holdfast.systemd.release_stage).
      - Required unless O(restart=true), which then is about the release that is live.
    type: str
  service:
    description: The service unit that runs the app, with its suffix.
    type: str
    required: true
  socket:
    description:
      - The socket units that hold the ports, with their suffix. The first must be active. The others are started with the service
        if they are not.
    type: list
    elements: str
    required: true
  strategy:
    description:
      - How the new release takes over.
      - V(restart) restarts the service. Clients who connect meanwhile wait in the socket's queue.
    type: str
    choices: [restart]
    default: restart
  restart:
    description: Restart also when the release is already live and healthy, for instance because its configuration has changed.
    type: bool
    default: false
  settle:
    description: How long the release must go on running after it was found healthy, in seconds.
    type: float
    default: 2
  rollback_on_failure:
    description: Go back to the previous release when this one does not get healthy.
    type: bool
    default: true
  lock_timeout:
    description: How long to wait for another deploy of the same app to end, in seconds.
    type: float
    default: 600
seealso:
  - module: holdfast.systemd.release_stage
"""

EXAMPLES = r"""
- name: Make a staged release live
  holdfast.systemd.release_switch:
    path: /srv/shop
    release: "2026-11-21"
    service: shop.service
    socket: shop.socket
    health_check:
      url: http://127.0.0.1:4000/health

- name: Restart the live release, with the same care
  holdfast.systemd.release_switch:
    path: /srv/shop
    restart: true
    service: shop.service
    socket: shop.socket
"""

RETURN = r"""
release:
  description: The id of the release that is live now, or would be.
  returned: always
  type: str
  sample: "2026-11-21"
previous:
  description: The id of the release that was live before; empty on a first deploy.
  returned: always
  type: str
  sample: "2026-11-20"
plan:
  description: The steps of the switch, in their order; empty when there was nothing to do.
  returned: always
  type: list
  elements: str
  sample:
    - point current to 2026-11-21
    - restart the service while its socket holds the port
    - wait until 2026-11-21 is ready and healthy
seconds:
  description: How long the switch took.
  returned: when something was switched
  type: float
  sample: 4.2
rolled_back:
  description: Whether the previous release (or, on a first deploy, the previous state) is back and well.
  returned: on failure
  type: bool
journal:
  description: The last lines of the service's journal since the switch began.
  returned: on failure
  type: list
  elements: str
"""

import dataclasses
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, places
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases, now
from ansible_collections.holdfast.systemd.plugins.module_utils._switch import Plan, Step, plan_restart
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd, SystemdError


class Unhealthy(Exception):
    """Why a release cannot stay live."""


class Failed(Exception):
    """How a switch ended that did not succeed, and what to return about it."""

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.details = details


@dataclasses.dataclass(frozen=True)
class ServiceState:
    """What systemd knows of the service at one moment."""

    active: str
    sub: str
    result: str
    exit_status: str
    restarts: int
    pid: int
    account: Account

    @property
    def has_ended(self) -> bool:
        return self.active in ("failed", "inactive", "deactivating") or self.sub == "auto-restart"

    def how_it_ended(self) -> str:
        return f"its main process ended ({self.result}, status {self.exit_status})"


class Switch:
    def __init__(self, module: AnsibleModule) -> None:
        parameters = module.params
        self.check_mode: bool = module.check_mode
        self.releases = Releases(parameters["path"])
        self.systemd = Systemd(module.run_command)
        self.wanted: str | None = parameters["release"]
        self.service: str = parameters["service"]
        self.sockets: list[str] = parameters["socket"]
        self.restart: bool = parameters["restart"]
        self.settle: float = parameters["settle"]
        self.rollback_on_failure: bool = parameters["rollback_on_failure"]
        self.lock_timeout: float = parameters["lock_timeout"]
        options = {name: value for name, value in (parameters["health_check"] or {}).items() if value is not None}
        self.check = Check(**options)
        self.restarts = 0

    def run(self) -> dict[str, t.Any]:
        if self.check_mode:
            return self._result(self.wanted or self.releases.current(), self.releases.current())
        release = self.wanted or self.releases.current()
        if release is None:
            return self._result(None, None)
        self._refuse_unfit(release)
        with self.releases.lock(release, timeout=self.lock_timeout):
            self._put_right()
            return self._switch(release)

    def _refuse_unfit(self, release: str) -> None:
        if not self.releases.manifest(release):
            raise Failed(f"app_release_id: release {release} has not been staged in {self.releases.releases}; stage it first")
        # The others start with the service, which is the only moment in which systemd lets them.
        first = self.sockets[0]
        if not self.systemd.is_active(first):
            raise Failed(f"{first} is not active, so nothing holds the port; run the setup playbook, or look at 'systemctl status {first}'")

    def _switch(self, release: str) -> dict[str, t.Any]:
        current = self.releases.current()
        if not self.restart and current == release and self._is_well(release):
            return self._result(release, current)
        previous = self._last_good(release)
        plan = plan_restart(release=release, current=current, previous=previous if self.rollback_on_failure else None)
        record = {"time": now(), "release": release, "from": current, "strategy": "restart"}
        started = time.time()
        self.releases.begin(record)
        begun: list[Step] = []
        try:
            for step in plan.forward:
                begun.append(step)
                self._do(step)
        except (Unhealthy, SystemdError, OSError) as error:
            journal = self.systemd.journal(self.service, since=started)
            outcome, well = self._go_back(plan.undo(begun)) if self.rollback_on_failure else ("It was left as it is.", False)
            ended = time.time()
            seconds = round(ended - started, 3)
            self.releases.finish({**record, "ended": ended, "seconds": seconds, "result": "failed", "reason": str(error)})
            message = f"Release {release} cannot be live: {error}. {outcome}"
            if journal:
                message += "\nThe last lines of its journal:\n" + "\n".join(f"  {line}" for line in journal)
            details = {"release": self.releases.current() or "", "previous": current or "", "rolled_back": well, "journal": journal}
            raise Failed(message, seconds=seconds, plan=[str(step) for step in plan.forward], **details) from error
        ended = time.time()
        seconds = round(ended - started, 3)
        self.releases.finish({**record, "ended": ended, "seconds": seconds, "result": "ok"})
        return {**self._result(release, current, plan), "seconds": seconds}

    def _result(self, release: str | None, current: str | None, plan: Plan | None = None) -> dict[str, t.Any]:
        if plan is None and self.check_mode and release and (self.restart or release != current or not self._is_well(release)):
            plan = plan_restart(release=release, current=current, previous=None)
        return {
            "changed": plan is not None,
            "release": release or "",
            "previous": current or "",
            "plan": [str(step) for step in plan.forward] if plan else [],
            "diff": {
                "before_header": self.releases.current_link,
                "after_header": self.releases.current_link,
                "before": f"{current}\n" if current else "",
                "after": f"{release}\n" if release else "",
            },
        }

    def _go_back(self, steps: t.Sequence[Step]) -> tuple[str, bool]:
        if not steps:
            return "There is no earlier release to go back to, so it was left as it is.", False
        try:
            for step in steps:
                self._do(step)
        except (Unhealthy, SystemdError) as error:
            return f"Going back failed too: {error}.", False
        live = self.releases.current()
        return (f"Release {live} is live and healthy again." if live else "The service is stopped, as before this first deploy."), True

    def _put_right(self) -> None:
        """Ends a switch that died half-way: by what is there now, whatever it had meant to do."""
        pending = self.releases.pending()
        if pending is None:
            return
        current, origin = self.releases.current(), pending.get("from")
        if current is None or not self._is_well(current):
            # The release it came from was good; one that never proved itself is not kept live.
            good = origin if origin and self.releases.manifest(origin) else ""
            steps = [Step("flip", good), *([Step("restart", good), Step("prove", good)] if good else [Step("stop")])]
            outcome, _well = self._go_back(steps)
        else:
            outcome = f"Release {current} is live and healthy."
        self.releases.finish({**pending, "result": "interrupted", "reason": outcome})

    def _last_good(self, release: str) -> str | None:
        """The release to go back to: the last one that was switched to with success and did not fail since."""
        judged = {release}
        for record in reversed(self.releases.history()):
            candidate = record["release"]
            if candidate not in judged and record["result"] == "ok" and self.releases.manifest(candidate):
                return candidate
            judged.add(candidate)
        return None

    # The steps

    def _do(self, step: Step) -> None:
        if step.verb == "flip":
            self.releases.flip(step.release or None)
        elif step.verb == "restart":
            self._restart()
        elif step.verb == "stop":
            self._stop()
        else:
            self._prove(step.release)

    def _restart(self) -> None:
        try:
            self.systemd.restart(self.service)
        except SystemdError as error:
            state = self._state()
            reason = "it was not ready in time" if state.result == "timeout" else state.how_it_ended()
            raise Unhealthy(f"it did not start: {reason}") from error
        self.restarts = self._state().restarts

    def _stop(self) -> None:
        self.systemd.stop(self.service)
        # A connection that still waits starts the service again at once, which then has nothing to run.
        time.sleep(0.3)
        if self._state().active != "inactive":
            self.systemd.stop(self.service, *self.sockets)
            self.systemd.start(*self.sockets)

    def _prove(self, release: str) -> None:
        reason: str | None = None
        for attempt in range(max(1, self.check.retries)):
            if attempt:
                time.sleep(self.check.interval)
            reason = self._look(release)
            if reason is None:
                break
        else:
            raise Unhealthy(f"it was not healthy after {self.check.retries} looks: {reason}")
        pid = self._state().pid
        time.sleep(self.settle)
        state = self._state()
        if state.has_ended or state.pid != pid:
            raise Unhealthy(f"it was healthy, but within {self.settle:g} s {state.how_it_ended()}")

    def _look(self, release: str) -> str | None:
        """One look at the live release: None if all is well, a reason to look again, or Unhealthy if none can help."""
        state = self._state()
        if state.has_ended or state.restarts > self.restarts:
            raise Unhealthy(state.how_it_ended())
        if state.active != "active":
            return f"{self.service} is {state.active}"
        for socket in self.sockets:
            if not self.systemd.is_active(socket):
                raise Unhealthy(f"{socket} is not active; look at 'systemctl status {socket}'")
        folder = self.releases.path(release)
        found = places(state.pid, state.account)
        if not any(f"{place}/".startswith(f"{os.path.realpath(folder)}/") for place in found):
            return f"the main process (PID {state.pid}) does not run in {folder}, but in {' and '.join(found) or 'a place that cannot be seen'}"
        return self.check.probe(folder=folder, account=state.account)

    def _is_well(self, release: str) -> bool:
        if not Systemd.is_running():
            return False
        state = self._state()
        if state.active != "active":
            return False
        self.restarts = state.restarts
        try:
            return self._look(release) is None
        except Unhealthy:
            return False

    def _state(self) -> ServiceState:
        known = self.systemd.show(self.service, "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts", "MainPID", "User", "Group")
        return ServiceState(
            active=known.get("ActiveState", ""),
            sub=known.get("SubState", ""),
            result=known.get("Result", ""),
            exit_status=known.get("ExecMainStatus", ""),
            restarts=int(known.get("NRestarts") or 0),
            pid=int(known.get("MainPID") or 0),
            account=Account(known.get("User", ""), known.get("Group", "")),
        )


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            **_argspec.health_check(),
            "release": {"type": "str"},
            "service": {"type": "str", "required": True},
            "socket": {"type": "list", "elements": "str", "required": True},
            "strategy": {"type": "str", "choices": ["restart"], "default": "restart"},
            "restart": {"type": "bool", "default": False},
            "settle": {"type": "float", "default": 2},
            "rollback_on_failure": {"type": "bool", "default": True},
            "lock_timeout": {"type": "float", "default": 600},
        },
        required_if=[("restart", False, ["release"])],
        supports_check_mode=True,
    )
    try:
        result = Switch(module).run()
    except Failed as error:
        module.fail_json(msg=str(error), **error.details)
    except (ReleaseError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
