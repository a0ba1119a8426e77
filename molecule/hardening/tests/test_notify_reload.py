# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of type notify-reload moves to a new release by a reload, or is refused where systemd does not know the type."""

from __future__ import annotations

import re
import typing as t

import pytest

from apps import App, live
from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

pytestmark = pytest.mark.long


def test_a_reload_is_waited_for_or_refused_at_once(host: Host, unit: t.Callable[[str], Unit]) -> None:
    app = App(host, "reloaded", 4936, "/srv")
    app.variables.update(app_environment={"DEMO_LINGER_SECONDS": "0.1"}, app_service_type="notify-reload", app_switch="reload")
    version = int(host.check_output("systemctl --version").split()[1])
    if version < 253:
        refused = playbook("setup", host, app.variables)
        assert refused.returncode != 0
        assert re.search(r"reloaded\.service:\d+: Failed to parse service type, ignoring: notify-reload", " ".join(refused.stdout.split()))
        assert not host.file("/etc/systemd/system/reloaded.service").exists
        assert unit("reloaded.socket")["LoadState"] == "not-found"
        return
    live(app, "one")
    before = unit("reloaded.service")["MainPID"]
    done = app.deploy("two")
    assert done.returncode == 0, done.stdout
    assert unit("reloaded.service")["MainPID"] == before
    assert app.answers() == app.current() == "two"
