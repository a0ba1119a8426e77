# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may touch a file may restart the app, behind its port, and not while a deploy is at work."""

from __future__ import annotations

import typing as t

import pytest

from companions.app import AS_THE_APP, FLAG, NAME

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion
    from conftest import Unit

pytestmark = pytest.mark.long

DONE = f'[ ! -e {FLAG} ] && [ "$(systemctl is-active {NAME}-restart.service)" = inactive ]'


def test_the_path_unit_is_enabled_and_not_what_it_starts(unit: t.Callable[[str], Unit], app: Companion) -> None:
    assert (unit(f"{NAME}-restart.path")["UnitFileState"], unit(f"{NAME}-restart.path")["ActiveState"]) == ("enabled", "active")
    assert unit(f"{NAME}-restart.service")["UnitFileState"] == "static"


def test_the_flag_restarts_the_app_behind_its_port_and_goes_away(host: Host, app: Companion, unit: t.Callable[[str], Unit]) -> None:
    pid, socket = app.pid, unit(f"{NAME}.socket")["ActiveEnterTimestampMonotonic"]
    runs, since = app.runs(), host.check_output("date +%s.%N")
    with app.asked_all_the_time():
        host.check_output(f"touch {FLAG}")
        app.wait_until(f"[ $(systemctl show --value --property=MainPID {NAME}.service) != {pid} ] && {DONE}")
    assert unit(f"{NAME}.socket")["ActiveEnterTimestampMonotonic"] == socket
    assert app.runs() == runs
    units = f"--unit={NAME}.service --unit={NAME}-backlog.service"
    told = host.check_output(f"journalctl --quiet --output=cat --no-pager --since=@{since} {units}").splitlines()
    assert next(line for line in told if line.startswith(("Finished", "Stopping"))).startswith("Finished")


def test_the_flag_waits_for_a_deploy_and_a_second_one_is_not_lost(host: Host, app: Companion) -> None:
    pid = app.pid
    hold = f"systemd-run --quiet --unit={NAME}-deploying --service-type=exec flock /srv/{NAME}/.deploy/lock sleep infinity"
    host.check_output(hold)
    app.wait_until(f"! flock --nonblock /srv/{NAME}/.deploy/lock true")
    host.check_output(f"touch {FLAG}")
    app.wait_until(f"[ ! -e {FLAG} ]")
    host.check_output(f"touch {FLAG}")
    assert host.run(f"systemctl is-active {NAME}-restart.service").stdout.strip() == "activating"
    assert app.pid == pid
    before = int(host.check_output(f"systemctl show --value --property=NRestarts {NAME}.service"))
    host.check_output(f"systemctl stop {NAME}-deploying.service")
    app.wait_until(f"[ ! -e {FLAG} ] && [ $(journalctl --quiet --output=cat --no-pager --unit={NAME}-restart.service | grep -c Finished) -ge 3 ]")
    assert app.pid not in (pid, "0")
    assert int(host.check_output(f"systemctl show --value --property=NRestarts {NAME}.service")) == before


def test_the_app_itself_may_not(host: Host, app: Companion) -> None:
    assert host.run(f"{AS_THE_APP} touch {FLAG}").rc != 0


def test_many_flags_and_one_that_is_a_folder_do_not_end_the_watch(host: Host, app: Companion, unit: t.Callable[[str], Unit]) -> None:
    obeyed = f"mkdir {FLAG} && touch {FLAG}/in && timeout 20 sh -c 'while [ -e {FLAG} ]; do sleep 0.02; done' || exit"
    # Without a release there is nothing to restart, which is done fast.
    host.check_output(f"cd /srv/{NAME} && trap 'mv off current' EXIT && mv current off && for flag in 1 2 3 4 5 6 7 8; do {obeyed}; done")
    app.wait_until(DONE)
    assert unit(f"{NAME}-restart.path")["ActiveState"] == "active"
