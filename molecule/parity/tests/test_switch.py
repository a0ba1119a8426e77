# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to do with more than one release: whose environment, whose programs, and what root may be told."""

from __future__ import annotations

import typing as t

import pytest

from parity.parity import LAYERS, layer

if t.TYPE_CHECKING:
    from parity.parity import App

pytestmark = pytest.mark.long

STATE = "/var/lib/parity-unset"
SETTINGS: dict[str, t.Any] = {
    "app_directories": ["runtime", "state", "tmp"],
    "app_runtime_directory_preserve": "yes",
    "app_environment": layer(1),
    "app_environment_files": [LAYERS[5]],
    "app_exec_stop": "bin/stop",
    "app_release_system": "distillery",
}
PLACES = ("DEPLOY_DIR", "RUNTIME_DIR", "STATE_DIR", "TMP_DIR", "RELEASE_TMP", "RELEASE_MUTABLE_DIR", "LANG", "MIX_ENV", "APP_INSTANCE")


@pytest.fixture(scope="module", name="app")
def with_three_releases(with_none: App) -> App:
    """The app after two more deploys, with commands, and with something to read in every layer of the environment."""
    for number in (2, 3, 5):
        write(with_none, number)
    done = with_none.play("setup", **SETTINGS)
    assert done.returncode == 0, done.stdout
    write(with_none, 4)
    with_none.deploy("two", app_before_switch=["bin/environment before"], app_after_switch=["bin/environment after"])
    with_none.deploy("three", app_before_switch=["+bin/environment privileged"], app_keep_releases=1)
    return with_none


def write(app: App, number: int) -> None:
    lines = "".join(f"{name}={value}\\n" for name, value in layer(number).items())
    app.host.check_output(f"mkdir -p $(dirname {LAYERS[number]}) && printf '{lines}' >{LAYERS[number]}")


def seen_by(app: App, command: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in app.host.check_output(f"cat {STATE}/environment-{command}").splitlines() if "=" in line)


def layers(environment: dict[str, str]) -> list[str]:
    return [environment[f"LAYER_{number}"] for number in range(len(LAYERS))]


def test_of_the_layers_of_the_environment_the_last_one_wins(app: App) -> None:
    assert layers(app.environment()) == list(LAYERS)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_command_of_a_deploy_sees_what_its_release_will_see(app: App, when: str) -> None:
    seen, live = seen_by(app, when), app.environment()
    assert seen["FROM_RELEASE"] == "two"
    assert layers(seen) == list(LAYERS)
    assert {name: seen[name] for name in PLACES} == {name: live[name] for name in PLACES}


def test_a_command_of_a_deploy_that_root_runs_takes_nothing_from_the_app(app: App) -> None:
    seen = seen_by(app, "privileged")
    assert app.host.file(f"{STATE}/environment-privileged").user == "root"
    assert seen["FROM_RELEASE"] == "three"
    assert layers(seen) == [*LAYERS[:4], LAYERS[3], LAYERS[5]]


def test_a_release_is_stopped_by_its_own_program_and_not_by_that_of_the_next(app: App) -> None:
    program, pid = app.host.check_output(f"tail -n 1 {STATE}/stopped").split()
    assert program == "/srv/parity-unset/releases/two/bin/stop"
    assert pid.isdigit()
    assert pid != app.property("MainPID")


def test_old_releases_go(app: App) -> None:
    # The one before stays to go back to.
    assert app.host.check_output("ls /srv/parity-unset/releases").split() == ["three", "two"]


def test_a_stand_in_has_a_runtime_directory_and_a_release_of_its_own(app: App) -> None:
    unit = "parity-unset@two.service"
    app.host.check_output(f"systemctl start {unit}")
    try:
        environment = app.environment(unit)
        own = ("RUNTIME_DIR", "RELEASE_TMP", "RELEASE_MUTABLE_DIR", "RUNTIME_DIRECTORY")
        assert {environment[name] for name in own} == {"/run/parity-unset@two"}
        assert (environment["FROM_RELEASE"], environment["APP_INSTANCE"]) == ("two", "stand-in")
        assert environment["STATE_DIR"] == STATE
    finally:
        app.host.check_output(f"systemctl stop {unit}")
    # Also where the service's own stays.
    assert not app.host.file("/run/parity-unset@two").exists
    assert app.environment()["RUNTIME_DIR"] == "/run/parity-unset"


def test_the_directory_below_var_tmp_comes_back_at_boot(app: App) -> None:
    app.host.check_output("rmdir /var/tmp/parity-unset && systemd-tmpfiles --create --boot --prefix=/var/tmp")
    place = app.host.file("/var/tmp/parity-unset")
    assert (place.user, place.group, oct(place.mode)) == ("parity-unset", "parity-unset", "0o750")


def test_a_service_with_a_command_for_root_takes_nothing_from_the_app(app: App) -> None:
    """Else the app could write LD_PRELOAD into a file of its own, and be root at the next start."""
    done = app.play("setup", **SETTINGS, app_exec_start_pre=["+/bin/sh -c 'env >/run/parity-root'"], app_standard_environment=False)
    assert done.returncode == 0, done.stdout
    as_root = dict(line.split("=", 1) for line in app.host.check_output("cat /run/parity-root").splitlines() if "=" in line)
    assert layers(as_root) == layers(app.environment()) == [*LAYERS[:4], LAYERS[3], LAYERS[5]]
    assert not set(PLACES) - {"APP_INSTANCE", "LANG"} & set(app.environment())
