#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
version_added: 1.0.0
short_description: Tells which releases of an app are on a host, which one is live, and how its sockets are
author: The holdfast.systemd developers (@holdfast)
description:
  - Reads an app's folder, and asks systemd about its units where they are named. Changes nothing.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.info
  - holdfast.systemd._options.app_folder
  - holdfast.systemd._options.health_check
options:
  service:
    description: The service unit that runs the app, with its suffix.
    type: str
  socket:
    description: The socket units that hold the ports, with their suffix.
    type: list
    elements: str
    default: []
  strategy:
    description: How releases take over, as for M(holdfast.systemd.release_switch). With V(reload) any process of the service may be the one that
      runs the live release.
    type: str
    choices: [restart, overlap, reload]
    default: restart
seealso:
  - module: holdfast.systemd.release_stage
  - module: holdfast.systemd.release_switch
"""

EXAMPLES = r"""
- name: Look which releases are there
  holdfast.systemd.release_info:
    path: /srv/shop
    service: shop.service
    socket: shop.socket
  register: shop
"""

RETURN = r"""
releases:
  description: The complete releases, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The id of the release.
      type: str
    checksum:
      description: The SHA-256 of the archive that it was made of.
      type: str
    entries:
      description: How many entries the archive had.
      type: int
    staged_at:
      description: When it was staged, in UTC.
      type: str
    last_live:
      description: When it was last made live, in UTC; empty if it never was.
      type: str
    bad:
      description: Whether it failed when it was last switched to, or was gone back from since.
      type: bool
current:
  description: The id of the live release; empty before the first switch.
  returned: success
  type: str
previous:
  description: The id of the release that a rollback would go to; empty if there is none.
  returned: success
  type: str
pending:
  description: The id of a release to which somebody switches at this moment, or did when it died; empty if nobody does.
  returned: success
  type: str
running:
  description: The id of the release that the main process runs in; empty if it runs in none.
  returned: when O(service) is given
  type: str
service:
  description: The state of the service, as systemd calls it.
  returned: when O(service) is given
  type: str
  sample: active
status_text:
  description: What the app last said of itself with C(STATUS=) of sd_notify; empty if it said nothing.
  returned: when O(service) is given
  type: str
  sample: serving 12 clients
since:
  description: Since when the service is in its state, as systemd writes it.
  returned: when O(service) is given
  type: str
pid:
  description: The main process; 0 if there is none.
  returned: when O(service) is given
  type: int
healthy:
  description:
    - Whether the live release runs, its sockets are active and it passes O(health_check), at one look. Nothing is waited for.
    - False if no release is live.
  returned: when O(service) is given
  type: bool
disk:
  description: The file system of the app's folder.
  returned: success
  type: dict
  contains:
    free:
      description: How many bytes are left there for those who are not root.
      type: int
    total:
      description: How many bytes it has.
      type: int
sockets:
  description: The socket units.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The unit.
      type: str
    state:
      description: Its state, as systemd calls it.
      type: str
    since:
      description: Since when it is in this state.
      type: str
    listeners:
      description: The stream sockets that it holds, where the program C(ss) is there to ask.
      type: list
      elements: dict
      contains:
        address:
          description: The address.
          type: str
        backlog:
          description: How many clients may wait there now.
          type: int
        wanted_backlog:
          description: How many the socket unit and the kernel would let wait. A smaller RV(sockets[].listeners[].backlog) was set by the app.
          type: int
        waiting:
          description: How many clients wait there to be accepted.
          type: int
history:
  description: How each switch ended, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: When it began, in UTC.
      type: str
    id:
      description: The release that was to be live.
      type: str
    from:
      description: The release that was live before; null on a first deploy.
      type: str
    action:
      description: V(deploy), V(rollback) or V(restart).
      type: str
    strategy:
      description: How the release took over.
      type: str
    who:
      description: Who deployed.
      type: str
    duration:
      description: How long it took, in seconds; null if it was interrupted.
      type: float
    result:
      description: V(ok), V(failed) or V(interrupted).
      type: str
    reason:
      description: Why it did not succeed; empty if it did.
      type: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec, _history, _sockets
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check, CheckError
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import way_in
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._service import Service
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd, SystemdError


def look(module: AnsibleModule) -> dict[str, t.Any]:
    """Everything that there is to say about the app at this moment."""
    releases, systemd = Releases(module.params["path"]), Systemd(module.run_command, way_in(module.params["service"]))
    current, history = releases.current(), releases.history()
    bad, last_live = _history.bad(history), _history.last_live(history)
    pending = releases.pending() or {}
    result: dict[str, t.Any] = {
        "releases": [{**manifest, "last_live": last_live.get(manifest["id"], ""), "bad": manifest["id"] in bad} for manifest in releases.all()],
        "current": current or "",
        "previous": _history.previous(history, current=current, usable=lambda release: releases.manifest(release) is not None) or "",
        "pending": pending.get("id", ""),
        "history": history,
        "sockets": [],
        "disk": disk(module.params["path"]),
    }
    if not Systemd.is_running():
        return result
    unit = module.params["service"]
    if unit:
        state = systemd.show(unit, "ActiveState", "StateChangeTimestamp", "MainPID", "StatusText")
        service = Service(systemd, releases, service=unit, sockets=module.params["socket"], reloads=module.params["strategy"] == "reload")
        # What the check expects may name a release, and here that is the live one.
        check = Check.read(module.params["health_check"] or {}).about(current or "", written_for="")
        result.update(
            service=state.get("ActiveState", ""),
            status_text=state.get("StatusText", ""),
            since=state.get("StateChangeTimestamp", ""),
            pid=int(state.get("MainPID") or 0),
            running=service.release() or "",
            healthy=current is not None and service.is_well(current, check=check),
        )
    for name in module.params["socket"]:
        state = systemd.show(name, "ActiveState", "StateChangeTimestamp")
        found = [_sockets.as_dict(listener) for listener in _sockets.listeners(systemd, module.run_command, name)]
        result["sockets"].append({"name": name, "state": state.get("ActiveState", ""), "since": state.get("StateChangeTimestamp", ""), "listeners": found})
    return result


def disk(folder: str) -> dict[str, int]:
    """The room on the file system of a folder, or of where it would be made."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    found = os.statvfs(folder)
    return {"free": found.f_bavail * found.f_frsize, "total": found.f_blocks * found.f_frsize}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            **_argspec.health_check(),
            "service": {"type": "str"},
            "socket": {"type": "list", "elements": "str", "default": []},
            "strategy": {"type": "str", "choices": ["restart", "overlap", "reload"], "default": "restart"},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module)
    except CheckError as error:
        module.fail_json(msg=f"app_health_check: {error}")
    except (ReleaseError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
