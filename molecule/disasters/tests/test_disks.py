# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full or read-only: the error says so, and the app that is live does not notice."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from apps import App, live, tool
from playbooks import SCRATCH, archive, module
from versions import OLDSTABLE

if t.TYPE_CHECKING:
    from testinfra.host import Host

usual_hosts = [OLDSTABLE]

SMALL = "/srv/small"
FILL = f"{SMALL}/fill"


@pytest.fixture(scope="module")
def crowded(host: Host) -> App:
    """An app on a disk of 24 MB."""
    tool("mount", host.backend.get_hostname(), SMALL, "24m")
    return live(App(host, "crowded", 4941, SMALL), "one", "two")


@pytest.fixture
def untouched(crowded: App) -> t.Iterator[App]:
    """The app is the same process with the same release afterwards."""
    known = "systemctl show --property=MainPID,NRestarts,ActiveEnterTimestampMonotonic crowded.service crowded.socket"
    before, release = crowded.host.check_output(known), crowded.current()
    yield crowded
    assert crowded.host.check_output(known) == before
    assert crowded.answers() == crowded.current() == release


@pytest.fixture
def full(untouched: App) -> t.Iterator[App]:
    untouched.host.run(f"head -c 100M /dev/zero >{FILL}")
    yield untouched
    untouched.host.check_output(f"rm -f {FILL}")


@pytest.fixture
def read_only(untouched: App) -> t.Iterator[App]:
    def remount(how: str) -> None:
        subprocess.run(["podman", "exec", "--privileged", untouched.host.backend.get_hostname(), "mount", "-o", f"remount,{how}", SMALL], check=True)

    remount("ro")
    yield untouched
    remount("rw")


def large(host: Host) -> str:
    """An archive on the host, on another disk, that does not fit onto the small one."""
    path = SCRATCH / f"{host.backend.get_hostname()}-large.tar"
    blob = SCRATCH / f"{host.backend.get_hostname()}-blob"
    blob.write_bytes(os.urandom(30_000_000))
    subprocess.run(["tar", "--create", "--file", path, "--directory", SCRATCH, blob.name], check=True)
    subprocess.run(["podman", "cp", path, f"{host.backend.get_hostname()}:/var/tmp/large.tar"], check=True)
    return "/var/tmp/large.tar"


def test_a_release_that_does_not_fit_leaves_nothing(untouched: App) -> None:
    result = module("release_stage", untouched.host, {"path": untouched.folder, "release": "large", "src": large(untouched.host)})
    assert "app_base_dir: release large was not staged" in result["msg"]
    assert "there is no room left on the disk" in result["msg"]
    assert sorted(untouched.host.check_output(f"ls -A {untouched.folder}/releases").split()) == ["one", "two"]


def test_a_deploy_onto_a_full_disk_fails(full: App) -> None:
    done = full.deploy("three")
    assert done.returncode != 0
    assert "No space left on device" in done.stdout or "there is no room left" in done.stdout


def test_a_switch_that_cannot_be_noted_does_not_begin(full: App) -> None:
    result = module("release_switch", full.host, {**full.switch, "release": "one"})
    assert "the switch could not begin, and nothing was touched" in result["msg"]
    assert "No space left on device" in result["msg"]


def test_a_read_only_disk_is_named(read_only: App) -> None:
    archive_path = "/var/tmp/small.tar.gz"
    subprocess.run(["podman", "cp", archive("disaster"), f"{read_only.host.backend.get_hostname()}:{archive_path}"], check=True)
    staged = module("release_stage", read_only.host, {"path": read_only.folder, "release": "three", "src": archive_path})
    assert "the file system is mounted read-only" in staged["msg"]
    switched = module("release_switch", read_only.host, {**read_only.switch, "release": "one"})
    assert "the switch could not begin, and nothing was touched" in switched["msg"]
    assert "Read-only file system" in switched["msg"]


def test_a_disk_that_fills_up_meanwhile_makes_no_good_deploy_a_bad_one(crowded: App) -> None:
    # What still fits into the last page of the file would be written all the same.
    pad = f"p = '{crowded.folder}/.deploy/history.jsonl'; n = -len(open(p).read()) % 4096; open(p, 'a').write(chr(10) * n)"
    crowded.host.check_output(f'python3 -c "{pad}"')
    fill = [["/bin/sh", "-c", f"head -c 100M /dev/zero >{crowded.folder}/shared/fill || true"]]
    result = module("release_switch", crowded.host, {**crowded.switch, "release": "one", "before": fill})
    assert result["changed"] is True, result
    assert crowded.answers() == crowded.current() == "one"
    assert "The history could not be written" in result["warnings"]
    crowded.host.check_output(f"rm {crowded.folder}/shared/fill")
    result = module("release_switch", crowded.host, {**crowded.switch, "release": "one"})
    assert result["changed"] is False, result
    assert [(record["id"], record["result"]) for record in crowded.history()] == [("one", "ok"), ("two", "ok"), ("one", "ok")]
