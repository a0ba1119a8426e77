#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_info
version_added: 1.0.0
short_description: Looks at a running app and says what would go wrong at its next deploy
author: The holdfast.systemd developers (@holdfast)
description:
  - Asks systemd about the units of an app and the kernel about its processes and sockets, and judges what it sees. Each finding says what
    was seen and what to do, in the words of the app's runtime.
  - The app is not disturbed. All that it notices is a client on each of its addresses, who connects and hangs up. A service that does not
    run is not connected to, for that would start it.
  - With O(try_start) the live release is started a second time as well, on addresses of its own.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.info
  - holdfast.systemd._options.app_folder
  - holdfast.systemd._options.health_check
options:
  service:
    description: The service unit that runs the app, with its suffix.
    type: str
    required: true
  socket:
    description: The socket units that hold the ports, with their suffix. None for an app that binds its own.
    type: list
    elements: str
    default: []
  stand_in:
    description: The template unit of its stand-ins, with its suffix. O(try_start) needs it, for it is what is started.
    type: str
  runtime:
    description:
      - What the app is written for, for the words of RV(findings[].fix). With V(generic) it is guessed by the commands of the processes.
      - Go does not show in them.
    type: str
    choices: [generic, elixir, erlang, gunicorn, uvicorn, hypercorn, asyncio, node, go, puma]
    default: generic
  strategy:
    description: How the next release is to take over, as in M(holdfast.systemd.release_switch).
    type: str
    choices: [restart, overlap, reload]
    default: restart
  try_start:
    description:
      - Whether to start the live release a second time, to see whether it is ready when it says so, and whether it finishes the requests
        in hand when it is stopped.
      - This second instance is like the O(stand_in), with the same account, environment and limits, but for its sockets. Those are on
        free ports of the loopback interface, so no client of the live app ever comes to it. It is gone afterwards. While it is there,
        the app is locked against deploys.
      - The app must be able to run twice, as for an overlap. What it does at its start beside serving, it does once more.
      - It is asked for the path of O(health_check.url), or V(/).
      - This takes root, and is left out in check mode.
    type: bool
    default: false
  lock_timeout:
    description: How long O(try_start) waits for a deploy of the same app to end, in seconds.
    type: float
    default: 60
seealso:
  - module: holdfast.systemd.release_info
  - module: holdfast.systemd.release_switch
"""

EXAMPLES = r"""
- name: Look at an app
  holdfast.systemd.doctor_info:
    path: /srv/shop
    service: shop.service
    socket: shop.socket
  register: shop

- name: Try also how it starts and stops
  holdfast.systemd.doctor_info:
    path: /srv/shop
    service: shop.service
    socket: shop.socket
    stand_in: shop@.service
    runtime: gunicorn
    strategy: overlap
    try_start: true
  register: shop

- name: Fail if the next deploy would
  ansible.builtin.assert:
    that: shop.healthy
    fail_msg: "{{ shop.findings }}"
"""

RETURN = r"""
findings:
  description: What would go wrong, problems first; empty for an app of which nothing is known that would.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: A name for what is wrong, one finding for each.
      type: str
      sample: lowered-backlog
    severity:
      description: V(problem) for what harms clients or a deploy, V(advice) for what could be better.
      type: str
      sample: problem
    title:
      description: What is wrong, in one line.
      type: str
      sample: The app lets fewer clients wait than its socket unit says
    seen:
      description: What shows it.
      type: str
      sample: 127.0.0.1:4000 lets 100 clients wait, and shop.socket says 4096
    fix:
      description: What to do.
      type: str
healthy:
  description: Whether none of the findings is a problem.
  returned: success
  type: bool
unseen:
  description: What could not be looked at, and why. Nothing is found there, and nothing is wrong either.
  returned: success
  type: list
  elements: str
runtime:
  description: The runtime that the fixes are written for.
  returned: success
  type: str
  sample: gunicorn
main:
  description: The main process of the service.
  returned: success
  type: dict
  contains:
    pid:
      description: Its number; 0 if there is none.
      type: int
    command:
      description: The program and its arguments.
      type: str
    release:
      description: The release that it runs in; empty if it runs in none, or if that cannot be seen.
      type: str
processes:
  description: All processes of the service.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: Its number.
      type: int
    name:
      description: Its name.
      type: str
    has:
      description: The addresses of the socket units of which it has the socket.
      type: list
      elements: str
    waits:
      description: Those of them that it looks at with epoll.
      type: list
      elements: str
    binds:
      description: The addresses that it listens on by itself.
      type: list
      elements: str
sockets:
  description: The addresses of the socket units.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The unit.
      type: str
    address:
      description: The address.
      type: str
    backlog:
      description: How many clients may wait there now; 0 where that cannot be asked.
      type: int
    wanted_backlog:
      description: How many the socket unit and the kernel would let wait; 0 where that cannot be asked.
      type: int
    accepted:
      description: Whether the app has accepted a connection there; null where none was made.
      type: bool
tried:
  description: What a second instance has shown.
  returned: when O(try_start) is true and it could be tried
  type: dict
  contains:
    failed:
      description: Why it did not start; empty if it did.
      type: str
    late:
      description: How many seconds it took its first connection after systemd had called it started; null if it took none.
      type: float
    in_hand:
      description: How many requests it had in hand when it was stopped.
      type: int
    answered:
      description: How many of them it answered.
      type: int
"""

import dataclasses
import os
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec, _findings
from ansible_collections.holdfast.systemd.plugins.module_utils._doctor import Doctor
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import way_in
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import memory
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd, SystemdError
from ansible_collections.holdfast.systemd.plugins.module_utils._trial import Trial, UntriableError

# What must stay free beside a second instance, in bytes.
HEADROOM = 64 << 20


class Examination:
    def __init__(self, module: AnsibleModule) -> None:
        self.options = module.params
        self.check_mode: bool = module.check_mode
        self.releases = Releases(self.options["path"])
        self.systemd = Systemd(module.run_command, way_in(self.options["service"]))
        service, sockets, stand_in = (self.options[name] for name in ("service", "socket", "stand_in"))
        self.doctor = Doctor(self.systemd, module.run_command, self.releases, service=service, sockets=sockets, stand_in=stand_in)
        self.unseen = self.doctor.unseen

    def run(self) -> dict[str, t.Any]:
        strategy, runtime = self.options["strategy"], self.options["runtime"]
        facts = self.doctor.look(runtime=runtime, strategy=strategy, has_check=bool(self.options["health_check"]))
        tried = self._try(facts) if self.options["try_start"] else None
        if tried:
            facts = dataclasses.replace(facts, tried=tried)
        findings = _findings.judge(facts)
        result: dict[str, t.Any] = {
            "findings": [finding._asdict() for finding in findings],
            "healthy": not any(finding.severity == _findings.PROBLEM for finding in findings),
            "unseen": self.unseen,
            "runtime": facts.runtime,
            "main": {"pid": facts.service.main, "command": facts.main.command if facts.main else "", "release": facts.running},
            "processes": [_process(process) for process in facts.processes],
            "sockets": [_address(address) for socket in facts.sockets for address in socket.addresses],
        }
        if tried:
            result["tried"] = dataclasses.asdict(tried)
        return result

    def _try(self, facts: _findings.Facts) -> _findings.Tried | None:
        why_not = next(self._why_not_try(facts), None)
        if why_not:
            self.unseen.append(f"a second instance was not started: {why_not}")
            return None
        path = urlsplit((self.options["health_check"] or {}).get("url") or "").path or "/"
        service, stand_in, sockets = (self.options[name] for name in ("service", "stand_in", "socket"))
        trial = Trial(self.systemd, service=service, stand_in=stand_in, sockets=sockets, release=facts.current, path=path)
        try:
            with self.releases.lock(facts.current, who="the doctor", timeout=self.options["lock_timeout"]):
                tried = trial.run()
        except UntriableError as error:
            self.unseen.append(f"a second instance was not started: {error}")
            return None
        self.unseen += trial.unseen
        if tried.failed and facts.strategy != "overlap":
            # Only an overlap needs two at once.
            self.unseen.append(tried.failed)
        return tried

    def _why_not_try(self, facts: _findings.Facts) -> t.Iterator[str]:
        if self.check_mode:
            yield "this is check mode"
        if os.geteuid() != 0:
            yield "that takes root; use become"
        if not self.options["stand_in"] or not facts.given:
            yield "the app gets no sockets from systemd"
        if not facts.current or not facts.service.is_running:
            yield "no release runs"
        if facts.is_switching or self.doctor.app.stand_ins():
            yield "a deploy is under way, or has died and left a stand-in"
        used, available = memory(facts.service.main)
        if available < used + HEADROOM:
            yield f"{facts.service.name} uses {used >> 20} MiB, and this host has only {available >> 20} MiB left"


def _process(process: _findings.Process) -> dict[str, t.Any]:
    bound = sorted(set(process.binds.values()))
    return {"pid": process.pid, "name": process.name, "has": sorted(process.has), "waits": sorted(process.waits), "binds": bound}


def _address(found: _findings.Address) -> dict[str, t.Any]:
    return {
        "name": found.unit,
        "address": found.address,
        "backlog": found.backlog,
        "wanted_backlog": found.wanted,
        "accepted": found.accepted,
    }


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            **_argspec.health_check(),
            "service": {"type": "str", "required": True},
            "socket": {"type": "list", "elements": "str", "default": []},
            "stand_in": {"type": "str"},
            "runtime": {"type": "str", "choices": ["generic", *_findings.NAMES], "default": "generic"},
            "strategy": {"type": "str", "choices": ["restart", "overlap", "reload"], "default": "restart"},
            "try_start": {"type": "bool", "default": False},
            "lock_timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    if not Systemd.is_running():
        module.fail_json(msg="systemd is not the init of this host, so no app runs here that could be looked at")
    try:
        result = Examination(module).run()
    except (ReleaseError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
