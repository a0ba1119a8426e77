# SPDX-License-Identifier: GPL-3.0-or-later
"""Several apps in one play: each is checked, and each is restarted for what has changed of it alone."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import ROOT, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

pytestmark = pytest.mark.long

PLAY = str(ROOT / "molecule/reconfigure/several_apps.yml")
NAMES = ("several-one", "several-two")


def apps(*colours: str) -> list[dict[str, t.Any]]:
    return [{"name": name, "port": 4992 + number, "environment": {"COLOUR": colours[number]}} for number, name in enumerate(NAMES)]


@pytest.fixture(scope="module", autouse=True)
def live(host: Host) -> None:
    done = playbook(PLAY, host, {"several_apps": apps("red", "red")})
    assert done.returncode == 0, done.stdout
    for name in NAMES:
        release = {"app_release_id": "1", "app_release_src": archive("several")}
        done = playbook("deploy", host, {"app_name": name, "app_command": "bin/demo", "app_settle_seconds": 0.3, **release})
        assert done.returncode == 0, done.stdout


def test_each_is_restarted_for_what_has_changed_of_it(host: Host, unit: t.Callable[[str], Unit]) -> None:
    one, two = (unit(f"{name}.service") for name in NAMES)
    pids = one["MainPID"], two["MainPID"]
    done = playbook(PLAY, host, {"several_apps": apps("blue", "red")})
    assert done.returncode == 0, done.stdout
    assert one["MainPID"] != pids[0]
    assert two["MainPID"] == pids[1]
    done = playbook(PLAY, host, {"several_apps": apps("blue", "green")})
    assert done.returncode == 0, done.stdout
    assert two["MainPID"] != pids[1]
    for service, colour in ((one, "blue"), (two, "green")):
        environment = host.check_output(f"setpriv --reuid={service['User']} --clear-groups --regid={service['User']} cat /proc/{service['MainPID']}/environ")
        assert f"COLOUR={colour}" in environment.split("\0")


def test_the_second_one_is_checked_too(host: Host) -> None:
    good, bad = apps("blue", "green")
    done = playbook(PLAY, host, {"several_apps": [good, {**bad, "name": "Several!"}]})
    assert done.returncode != 0
    assert "app_name: 'Several!' cannot name units" in done.stdout
    assert not host.file("/srv/Several!").exists
