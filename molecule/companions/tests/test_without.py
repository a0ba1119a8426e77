# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody asks for any more goes away, and no client notices."""

from __future__ import annotations

import typing as t

import pytest

from companions.app import AS_THE_APP, FLAG, NAME

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion
    from conftest import Unit

pytestmark = pytest.mark.long

UNITS = ("runtime-environment.service", "config-sync.service", "restart.path", "restart.service")


def test_what_the_app_needed_goes_while_it_serves_and_the_flag_is_left_to_the_app(host: Host, app: Companion, unit: t.Callable[[str], Unit]) -> None:
    app.variables |= {
        "app_runtime_environment_script": "",
        "app_restart_method": "touch",
        "app_environment": {**app.variables["app_environment"], "DEMO_FLAG": FLAG},
    }
    with app.asked_all_the_time():
        done = app.set_up()
        assert done.returncode == 0, done.stdout
        for name in UNITS:
            assert unit(f"{NAME}-{name}")["LoadState"] == "not-found"
        assert not host.file(f"/etc/systemd/system/paths.target.wants/{NAME}-restart.path").exists
        pid = app.pid
        host.check_output(f"{AS_THE_APP} touch {FLAG}")
        app.wait_until(f"[ ! -e {FLAG} ] && ! systemctl show --property=MainPID {NAME}.service | grep --line-regexp --quiet -e MainPID={pid} -e MainPID=0")


def test_the_helpers_go_and_programs_of_others_stay(host: Host, app: Companion) -> None:
    host.check_output(f"touch /srv/{NAME}/bin/seed")
    app.variables |= {"app_helper_scripts": False}
    pid = app.pid
    done = app.set_up()
    assert done.returncode == 0, done.stdout
    assert host.check_output(f"ls /srv/{NAME}/bin") == "seed"
    assert not host.file(f"/etc/systemd/system/{NAME}-run-.service.d").exists
    assert app.pid == pid, "the app was restarted for nothing"
