# SPDX-License-Identifier: GPL-3.0-or-later
"""What the app may see and do at each level of app_hardening, seen from inside, while it is deployed and served."""

from __future__ import annotations

import re
import typing as t

import pytest

from apps import App, live
from clients import asked_all_the_time
from hardening.probe import probed
from playbooks import module, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

NAME = "hardened"
PORT = 4930
FOLDER = f"/srv/{NAME}"
LEVELS = ["none", "baseline", "strict"]
OWN = [f"/run/{NAME}", f"/var/lib/{NAME}", f"/var/cache/{NAME}", f"/var/log/{NAME}", f"{FOLDER}/shared", f"{FOLDER}/flags", "/tmp", "/var/tmp"]

# What the app can at which levels. The folders belong to it, so nothing else than its level stands in its way.
CAN = {
    "setuid:/usr/local/bin/become-root": {"none"},
    "family:AF_PACKET": {"none"},
    "trace:": {"none", "baseline"},
    "read:/etc/passwd": set(LEVELS),
    **{f"write:{path}": set(LEVELS) for path in OWN},
    "write:/usr/local/lib/of-the-app": {"none"},
    "write:/etc/of-the-app": {"none"},
    "write:/opt/of-the-app": {"none", "baseline"},
    f"write:{FOLDER}/releases/one/of-the-app": {"none", "baseline"},
    "read:/home/of-the-app": {"none"},
    "read:/root/of-the-app": {"none"},
    "read:/tmp/of-the-app": {"none"},
    "read:/var/tmp/of-the-app": {"none"},
    "read:/dev/of-the-app": {"none"},
    "read:/proc/1/status": {"none", "baseline"},
}
HIGHEST_EXPOSURE = {"none": 10, "baseline": 4.0, "strict": 2.0}


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    """An app with a release that is live, another one, and things of its own all over the host."""
    found = App(host, NAME, PORT, "/srv")
    found.variables.update(
        app_directories=["runtime", "state", "cache", "logs", "configuration"],
        app_environment={"DEMO_LINGER_SECONDS": "0.1", "PROBES": " ".join(CAN)},
        app_switch="overlap",
        app_hardening="none",
        app_restart_method="touch",
    )
    found.switch["strategy"] = "overlap"
    live(found, "two", "one")
    folders = [probe.partition(":")[2] for probe in CAN if "of-the-app" in probe]
    host.check_output(
        "chmod a+x /root && cp /usr/bin/id /usr/local/bin/id-as-root && chmod u+s /usr/local/bin/id-as-root && "
        "printf '#!/bin/sh\\nexec /usr/local/bin/id-as-root -u\\n' >/usr/local/bin/become-root && chmod +x /usr/local/bin/become-root && "
        f"for folder in {' '.join(folders)}; do install -d -o {NAME} $folder && touch $folder/content || exit; done"
    )
    return found


class Level:
    """A level that is set while the app is live and asked, and then deploys with commands at this level."""

    def __init__(self, app: App, name: str) -> None:
        self.app = app
        self.name = name
        app.variables["app_hardening"] = name
        with asked_all_the_time(app.host, PORT) as self.answers:
            self.setup = playbook("setup", app.host, app.variables)
            self.release = "two" if app.current() == "one" else "one"
            self.switch = module("release_switch", app.host, {**app.switch, "release": self.release, "before": ["bin/probe"], "after": [["bin/probe"]]})
            self.exposure = app.host.check_output(f"systemd-analyze security --no-pager {NAME}.service")


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest, app: App) -> Level:
    return Level(app, request.param)


def test_the_app_is_served_and_deployed_at_each_level(level: Level) -> None:
    assert level.setup.returncode == 0, level.setup.stdout
    assert level.switch.get("changed"), level.switch
    assert len(level.answers) > 20
    assert set(level.answers) == {"200"}
    assert level.app.answers() == level.app.current() == level.release


def test_the_app_can_do_what_its_level_leaves_it(level: Level) -> None:
    found = probed(level.app)
    assert set(found) == set(CAN)
    assert {probe: could for probe, could in found.items() if (could == "True") != (level.name in CAN[probe])} == {}


def test_the_exposure_is_as_low_as_promised(level: Level) -> None:
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", level.exposure)
    assert found, level.exposure
    assert float(found[1]) <= HIGHEST_EXPOSURE[level.name]
    print(f"{level.name}: {found[1]}")


def test_what_this_systemd_does_not_know_is_left_out_and_told(host: Host, level: Level) -> None:
    known = host.check_output("$(ls /usr/lib/systemd/systemd /lib/systemd/systemd 2>/dev/null | head -n 1) --dump-configuration-items")
    told = " ".join(level.setup.stdout.split())
    for directive in ("PrivateIPC", "PrivateBPF"):
        is_left_out = level.name == "strict" and f"\n{directive}=" not in known
        assert bool(re.search(rf"so they were left out: [\w, ]*\b{directive}\b", told)) == is_left_out


def test_what_the_app_and_its_commands_say_reaches_the_journal(host: Host, level: Level) -> None:
    assert host.check_output(f"journalctl --quiet --output=cat --unit='{NAME}-deploy-*' --grep=write:/tmp | tail -n 1") == "write:/tmp True"
