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
  - A caller who is not root needs the helper of the app, which the role C(layout) installs for C(app_deploy_user).
  - How each switch ended is kept as a line of JSON in C(.deploy/history.jsonl) of the app's folder.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
  - holdfast.systemd._options.app_folder
  - holdfast.systemd._options.health_check
options:
  release:
    description:
      - The id of the release to make live. It must have been staged with M(holdfast.systemd.release_stage).
      - Without it, O(rollback=true) finds it in the history, and O(restart=true) is about the release that is live.
    type: str
  rollback:
    description:
      - Go back to the release that was live before the current one, by the history, and not to one that failed or was
        itself gone back from. Each time goes one release further back.
      - With O(release) go back to that one, whatever the history says of it.
      - O(before) and O(after) are not run, since an older release knows nothing of what a newer one has done to the data.
    type: bool
    default: false
  service:
    description: The service unit that runs the app, with its suffix.
    type: str
    required: true
  socket:
    description:
      - The socket units that hold the ports, with their suffix. The first must be active. The others are started with the service
        if they are not.
      - An empty list says that the app binds its own port. Whoever connects while it restarts is refused.
    type: list
    elements: str
    required: true
  strategy:
    description:
      - How the new release takes over. A service that is not running is started, whatever is said here.
      - V(restart) restarts the service. Clients who connect meanwhile wait in the socket's queue.
      - V(overlap) first starts the new release as a stand-in on the same socket, which serves while the service restarts. Nobody waits.
        It needs a service that says when it is ready, and O(stand_in).
      - V(reload) asks the service to reload itself, for an app that moves to C(current) by itself.
    type: str
    choices: [restart, overlap, reload]
    default: restart
  stand_in:
    description: The template of the stand-in, for instance V(shop@.service). Its instance is the id of a release.
    type: str
  backlog_unit:
    description:
      - A oneshot unit that gives the sockets the backlog of their units again, which many servers lower when they start to listen.
        It is started before the service restarts.
    type: str
  before:
    description:
      - Commands that run in the new release before anything changes, such as a migration. If one fails, nothing was touched.
      - Each is a text that is read like C(ExecStart=), or a list of arguments. A program with a relative path is one of the release.
      - They run as the service does, with its account, environment, directories and limits.
    type: list
    elements: raw
    default: []
  after:
    description: The same for commands that run once the release is live and healthy. If one fails, the release is gone back from.
    type: list
    elements: raw
    default: []
  command_timeout:
    description: How long all of O(before), or all of O(after), may take, as a time span of systemd.
    type: str
    default: 10min
  memory_headroom:
    description: How much memory must stay free beside a stand-in. Less than that is a warning.
    type: bytes
    default: 64M
  restart:
    description: Switch also when the release is already live and healthy, for instance because its configuration has changed.
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
  who:
    description: Who deploys, for the history. The default is the user who called sudo, or the one who logged in.
    type: str
seealso:
  - module: holdfast.systemd.release_stage
  - module: holdfast.systemd.release_prune
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

- name: Go back to the release before
  holdfast.systemd.release_switch:
    path: /srv/shop
    rollback: true
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
    - put the backlog of the sockets back to what their units say
    - restart the service while its socket holds the port
    - wait until 2026-11-21 is ready and healthy
duration:
  description: How long the switch took, in seconds.
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

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec, _history, _sockets, _unit_file
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check, CheckError
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import lacking, way_in
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import command_line, memory
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases, now
from ansible_collections.holdfast.systemd.plugins.module_utils._service import Service, Unhealthy
from ansible_collections.holdfast.systemd.plugins.module_utils._switch import TOUCHES, Plan, Step, plan, restart
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd, SystemdError

READY_TYPES = ("notify", "notify-reload", "dbus")


class Failed(Exception):
    """How a switch ended that did not succeed, and what to return about it."""

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.details = details


class Switch:
    def __init__(self, module: AnsibleModule) -> None:
        parameters = self.options = module.params
        self.check_mode: bool = module.check_mode
        self.warn = module.warn
        self.run_command = module.run_command
        self.releases = Releases(parameters["path"])
        self.systemd = Systemd(module.run_command, way_in(parameters["service"]))
        self.strategy: str = parameters["strategy"]
        self.check = Check.read(parameters["health_check"] or {})
        self.service = Service(
            self.systemd,
            self.releases,
            service=parameters["service"],
            sockets=parameters["socket"],
            stand_in=parameters["stand_in"],
            backlog=parameters["backlog_unit"],
            reloads=self.strategy == "reload",
        )
        self.has_warned_of_backlog = False
        self.action = "rollback" if parameters["rollback"] else "restart" if parameters["restart"] and not parameters["release"] else "deploy"
        self.who: str = parameters["who"] or os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or str(os.geteuid())

    def run(self) -> dict[str, t.Any]:
        if self.check_mode:
            return self._preview()
        if self.action == "restart" and self.releases.current() is None:
            return self._result(None, None, None)
        self._refuse_unreadable_commands()
        self.systemd.refuse_without_rights()
        with self.releases.lock(self._release() or "(the one before)", who=self.who, timeout=self.options["lock_timeout"]):
            release = self._release()
            self._reopen()
            self._refuse_unfit(release)
            righted = self._put_right()
            if righted and self.action == "rollback" == righted["action"] and not self.options["release"] and righted["result"] == "ok":
                # That was this very rollback; a second one would go too far.
                return self._result(righted["id"], righted["from"], None)
            # What was put right may have moved the link, and with it the way back.
            return self._switch(self._release())

    def _release(self) -> str:
        """The release to make live: the one given, the live one, or the one before it."""
        current = self.releases.current()
        if self.options["release"]:
            return str(self.options["release"])
        if self.action == "restart":
            return current or ""
        found = _history.previous(self.releases.history(), current=current, usable=self._is_staged)
        if found is None:
            there = ", ".join(manifest["id"] for manifest in self.releases.all() if manifest["id"] != current)
            raise ReleaseError(f"app_rollback_to: the history has no good release before {current}; name one that is on this host: {there or '(none)'}")
        return found

    def _is_staged(self, release: str) -> bool:
        return self.releases.manifest(release) is not None

    # What is refused

    def _refuse_unfit(self, release: str) -> None:
        if not self._is_staged(release):
            name = "app_rollback_to" if self.action == "rollback" else "app_release_id"
            raise ReleaseError(f"{name}: release {release} has not been staged in {self.releases.releases}; stage it first")
        # The others start with the service, which is the only moment in which systemd lets them.
        first = next(iter(self.service.sockets), None)
        if first and not self.systemd.is_active(first):
            raise ReleaseError(f"{first} is not active, so nothing holds the port; run the setup playbook, or look at 'systemctl status {first}'")
        if self.strategy == "overlap":
            self._refuse_unfit_for_overlap(release)
        elif self.strategy == "reload" and self.systemd.show(self.service.service, "CanReload").get("CanReload") != "yes":
            raise ReleaseError(
                f"app_switch: {self.service.service} cannot be reloaded; give it ExecReload in app_service_options or "
                "app_service_type notify-reload, or use app_switch restart"
            )

    def _refuse_unreadable_commands(self) -> None:
        for when in ("before", "after"):
            for command in self.options[when]:
                if not command or not isinstance(command, (str, list)):
                    raise ReleaseError(f"app_{when}_switch: {command!r} is no command; give a text or a list of arguments")
            try:
                _unit_file.render({"Service": {"ExecStart": ["", *self.options[when]]}})
                if self.systemd.way_in:
                    Commands(self.options[when], self.service.service, "", self.releases.releases, "", "").refuse_privileges()
            except _unit_file.UnitFileError as error:
                raise ReleaseError(f"app_{when}_switch: {error}") from error

    def _refuse_unfit_for_overlap(self, release: str) -> None:
        if not self.service.sockets:
            raise ReleaseError("app_switch: overlap needs a socket unit for two instances to share; use app_switch restart")
        known = self.systemd.show(self.service.service, "Type", "ExecStartPost", "NonBlocking")
        if self.systemd.show(self.service.stand_in_of(release), "LoadState").get("LoadState") != "loaded":
            raise ReleaseError(f"app_switch: overlap needs the unit {self.service.stand_in}, which this host lacks; run the setup playbook")
        if known.get("Type") not in READY_TYPES and not known.get("ExecStartPost"):
            raise ReleaseError(
                f"app_switch: overlap must know when a release is ready, and Type={known.get('Type')} does not say so; use app_service_type "
                "notify, app_wait_until_accepting, or an ExecStartPost in app_service_options that waits until the release answers, or use app_switch restart"
            )
        if known.get("NonBlocking") != "yes":
            raise ReleaseError(
                "app_socket_non_blocking: a stand-in would freeze an app that waits in accept(), so overlap needs true; else use app_switch restart"
            )

    # The transaction

    def _switch(self, release: str) -> dict[str, t.Any]:
        current = self.releases.current()
        way = self._plan(release)
        if way is None:
            self._dismiss_stand_ins()
            return self._result(release, current, None)
        if any(step.verb == "stand-in" for step in way.forward):
            self._warn_of_memory()
        try:
            self.service.prepare(again=self.action == "restart")
        except Unhealthy as error:
            raise ReleaseError(f"{error}What is live was not touched.") from error
        record = {"time": now(), "id": release, "from": current, "action": self.action, "strategy": self.strategy, "who": self.who}
        started = time.time()
        self.releases.begin(record)
        begun: list[Step] = []
        try:
            for step in way.forward:
                begun.append(step)
                self._do(step)
        except Exception as error:
            # Whatever it was: what is half-way must not stay there.
            reason = str(error) or type(error).__name__
            journal = self.systemd.journal(self.service.service, *self._stand_in_units(), since=started)
            back = way.undo(begun)
            # From here on the release is known to be bad, whatever a later run may see of it.
            self._note({**record, "reason": reason})
            outcome, well = self._go_back(back)
            if not back:
                outcome, well = self._why_not_back(begun), begun[-1].verb == "before"
            if well:  # else a stand-in may be all that serves
                self._dismiss_stand_ins()
            duration = round(time.time() - started, 3)
            self._record({**record, "duration": duration, "result": "failed", "reason": reason})
            message = f"Release {release} cannot be live: {reason.rstrip('.')}. {outcome}"
            if journal:
                message += "\nThe last lines of its journal:\n" + "\n".join(f"  {line}" for line in journal)
            details = {"release": self.releases.current() or "", "previous": current or "", "rolled_back": well, "journal": journal}
            raise Failed(message, duration=duration, plan=[str(step) for step in way.forward], **details) from error
        self._dismiss_stand_ins()
        duration = round(time.time() - started, 3)
        self._record({**record, "duration": duration, "result": "ok", "reason": ""})
        return {**self._result(release, current, way), "duration": duration}

    def _plan(self, release: str) -> Plan | None:
        """The way to this release; None if it is live and healthy, and nothing is to be done."""
        current = self.releases.current()
        if not self.options["restart"] and current == release and self.service.is_well(release, check=self._check(release)):
            return None
        history = self.releases.history()
        commands = self.action == "deploy" and (current != release or not _history.last_live(history).get(release))
        return plan(
            self.strategy,
            release=release,
            current=current,
            previous=_history.last_good(history, release=release, usable=self._is_staged),
            running=self.systemd.is_running() and self.service.state().is_running,
            held=bool(self.service.sockets),
            go_back=self.options["rollback_on_failure"],
            before=commands and bool(self.options["before"]),
            after=commands and bool(self.options["after"]),
        )

    def _do(self, step: Step) -> None:
        actions: dict[str, t.Callable[[], object]] = {
            "before": lambda: self._run_commands("before", step.release),
            "stand-in": lambda: self.service.start_stand_in(step.release),
            "flip": lambda: self.releases.flip(step.release),
            "unlink": lambda: self.releases.flip(None),
            "backlog": self._put_backlog_back,
            "restart": self.service.restart,
            "restart-unheld": self.service.restart,
            "reload": self.service.reload,
            "prove": lambda: self.service.prove(step.release, check=self._check(step.release), settle=self.options["settle"]),
            "dismiss": lambda: self.service.dismiss_stand_in(step.release),
            "after": lambda: self._run_commands("after", step.release),
            "stop": self.service.stop,
        }
        actions[step.verb]()

    def _run_commands(self, when: str, release: str) -> None:
        self.service.run_commands(self.options[when], release, timeout=self.options["command_timeout"], variable=f"app_{when}_switch")

    def _check(self, release: str) -> Check:
        return self.check.about(release, written_for=self.options["release"] or "")

    def _go_back(self, steps: t.Sequence[Step]) -> tuple[str, bool]:
        try:
            for step in steps:
                try:
                    self._do(step)
                except Unhealthy:
                    # Without a stand-in the way back is slower, and still the way back.
                    if step.verb != "stand-in":
                        raise
        except Exception as error:
            return f"Going back failed too: {error}.", False
        if not any(step.verb in (*TOUCHES, "stop") for step in steps):
            return "What was live before is live still, and was not touched.", True
        live = self.releases.current()
        return (f"Release {live} is live and healthy again." if live else "The service is stopped, as before this first deploy."), True

    def _why_not_back(self, begun: t.Sequence[Step]) -> str:
        if all(step.verb == "before" for step in begun):
            return "Nothing was touched."
        if not self.options["rollback_on_failure"]:
            return "It was left as it is, as app_rollback_on_failure says."
        return "There is no earlier release to go back to, so it was left as it is."

    def _put_right(self) -> dict[str, t.Any] | None:
        """Ends a switch that died half-way, by what is there now, whatever it had meant to do; returns how it ended."""
        self.service.end_commands()
        pending = self.releases.pending()
        if pending is None:
            return None
        goal, origin = pending["id"], pending.get("from")
        current = self.releases.current()
        reason, result, well = pending.get("reason", ""), "interrupted", True
        if current:
            # systemd may still be at work on what the dead run had asked for.
            self.service.settle_jobs()
        try:
            if current == goal and not reason:
                # It never proved itself to the run that died, so it has to now.
                self.service.prove(goal, check=self._check(goal), settle=self.options["settle"])
                result = "ok"
        except Unhealthy as error:
            reason = str(error)
        if result != "ok":
            outcome, well = self._go_back(self._way_home(origin if origin and self._is_staged(origin) else None, current))
            result, reason = ("failed" if reason else "interrupted"), f"{reason}. {outcome}".removeprefix(". ")
        if well:
            self._dismiss_stand_ins()
        record = {**pending, "duration": None, "result": result, "reason": reason}
        self._record(record)
        return record

    def _reopen(self) -> None:
        """Opens the ports that a run had closed on its way back from a first deploy, and died before it opened them again."""
        if self.service.sockets and self.releases.pending() and self.releases.current() is None:
            self.systemd.start(*self.service.sockets)

    def _way_home(self, origin: str | None, current: str | None) -> list[Step]:
        """The way to the release that was live when the dead run began, without a restart where it still runs."""
        if origin is None:
            return [Step("unlink"), Step("stop")] if current else []
        steps = [Step("flip", origin)] if current != origin else []
        if not (self.service.release() == origin and self.service.state().is_running):
            steps += restart(origin, held=bool(self.service.sockets))
        return [*steps, Step("prove", origin)]

    # What else a switch does

    def _put_backlog_back(self) -> None:
        lowered = [found for unit in self.service.sockets for found in _sockets.listeners(self.systemd, self.run_command, unit) if found.is_lowered]
        if lowered and not self.has_warned_of_backlog:
            self.has_warned_of_backlog = True
            first = lowered[0]
            self.warn(
                f"{self.service.service} has lowered the backlog of {', '.join(found.address for found in lowered)} to {first.backlog}, and "
                f"{first.unit} says {first.wanted}: no more clients than that could wait during a restart. It was put back for this deploy. "
                f"For good, set it in the app: {_sockets.remedy(command_line(self.service.state().pid))}"
            )
        self.service.put_backlog_back()

    def _warn_of_memory(self) -> None:
        used, available = memory(self.service.state().pid)
        if available < used + self.options["memory_headroom"]:
            self.warn(
                f"app_memory_headroom: {self.service.service} uses {used >> 20} MiB and this host has {available >> 20} MiB left, which is little for "
                "a second instance beside it; add memory, or use app_switch restart"
            )

    def _stand_in_units(self) -> list[str]:
        return [self.service.stand_in_of("*")] if self.strategy == "overlap" else []

    def _dismiss_stand_ins(self) -> None:
        """Ends the stand-ins that are left, once there is nothing more to stand in for."""
        try:
            for release in self.service.stand_ins():
                self.service.dismiss_stand_in(release)
        except SystemdError as error:
            self.warn(f"A stand-in could not be stopped, and ends by itself: {error}")

    def _note(self, record: dict[str, t.Any]) -> None:
        try:
            self.releases.begin(record)
        except OSError as error:
            self.warn(f"The failure could not be noted: {error}")

    def _record(self, record: dict[str, t.Any]) -> None:
        """Writes to the history how it ended; a full disk must not make a good deploy a bad one."""
        try:
            self.releases.finish(record)
        except OSError as error:
            self.warn(f"The history could not be written, so the next run looks again at what is live: {error}")

    # What is told

    def _preview(self) -> dict[str, t.Any]:
        current = self.releases.current()
        if self.action == "restart" and current is None:
            return self._result(None, None, None)
        release = self._release()
        # What is staged in the same run is not there in check mode, nor are the units that a restart is for.
        if self.action == "rollback" or (self.action == "deploy" and self._is_staged(release)):
            self._refuse_unfit(release)
        return self._result(release, current, self._plan(release))

    def _result(self, release: str | None, current: str | None, way: Plan | None) -> dict[str, t.Any]:
        return {
            "changed": way is not None,
            "release": release or "",
            "previous": current or "",
            "plan": [str(step) for step in way.forward] if way else [],
            "diff": {
                "before_header": self.releases.current_link,
                "after_header": self.releases.current_link,
                "before": f"{current}\n" if current else "",
                "after": f"{release}\n" if release else "",
            },
        }


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            **_argspec.health_check(),
            "release": {"type": "str"},
            "rollback": {"type": "bool", "default": False},
            "service": {"type": "str", "required": True},
            "socket": {"type": "list", "elements": "str", "required": True},
            "strategy": {"type": "str", "choices": ["restart", "overlap", "reload"], "default": "restart"},
            "stand_in": {"type": "str"},
            "backlog_unit": {"type": "str"},
            "before": {"type": "list", "elements": "raw", "default": []},
            "after": {"type": "list", "elements": "raw", "default": []},
            "command_timeout": {"type": "str", "default": "10min"},
            "memory_headroom": {"type": "bytes", "default": "64M"},
            "restart": {"type": "bool", "default": False},
            "settle": {"type": "float", "default": 2},
            "rollback_on_failure": {"type": "bool", "default": True},
            "lock_timeout": {"type": "float", "default": 600},
            "who": {"type": "str"},
        },
        required_if=[("strategy", "overlap", ["stand_in"])],
        supports_check_mode=True,
    )
    if not (module.params["release"] or module.params["restart"] or module.params["rollback"]):
        module.fail_json(msg="release is required, unless restart or rollback says which release is meant")
    if min(module.params["settle"], module.params["lock_timeout"]) < 0:
        module.fail_json(msg="app_settle_seconds, app_lock_timeout: a time cannot be negative")
    try:
        result = Switch(module).run()
    except Failed as error:
        module.fail_json(msg=str(error), **error.details)
    except CheckError as error:
        module.fail_json(msg=f"app_health_check: {error}")
    except (ReleaseError, SystemdError) as error:
        module.fail_json(msg=str(error))
    except PermissionError as error:
        module.fail_json(msg=lacking(error))
    except OSError as error:
        module.fail_json(msg=f"app_base_dir: the switch could not begin, and nothing was touched: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
