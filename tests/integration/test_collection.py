# SPDX-License-Identifier: GPL-3.0-or-later
"""What people install: built, installed into an empty folder, and used from there."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from runs import ROOT, run

# What all of its tests need is made once.
pytestmark = pytest.mark.xdist_group("collection")
WORKING_PARTS = {"meta", "plugins", "roles", "playbooks"}
GALAXY_PARTS = {"CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "SECURITY.md", "changelogs", "docs"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    target = folder / "installed"
    target.mkdir()
    built = ansible(target, "ansible-galaxy", "collection", "build", "--output-path", folder, folder / "source")
    assert built.returncode == 0, built.stderr
    archive = next(folder.glob("holdfast-systemd-*.tar.gz"))
    done = ansible(target, "ansible-galaxy", "collection", "install", "--offline", "--collections-path", target, archive)
    assert "holdfast.systemd:1.0.0 was installed successfully" in done.stdout, done.stderr
    return target


def ansible(installed: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return run(*command, folder=installed, collections=installed)


def test_the_archive_holds_what_people_need_and_nothing_of_the_workshop(installed: Path) -> None:
    with tarfile.open(next(installed.parent.glob("*.tar.gz"))) as archive:
        top = {name.split("/")[0] for name in archive.getnames()}
    assert top >= WORKING_PARTS | {"README.md", "LICENSE"}
    assert top <= WORKING_PARTS | GALAXY_PARTS


def test_it_works_without_everything_that_does_no_work(installed: Path) -> None:
    folder = installed / "ansible_collections/holdfast/systemd"
    for path in folder.iterdir():
        if path.name not in {*WORKING_PARTS, "MANIFEST.json", "FILES.json"}:
            subprocess.run(["rm", "-rf", path], check=True)
    for playbook in ("setup", "deploy"):
        # The refusal comes from the role app, so playbook, roles, specs and filters were all found.
        done = ansible(installed, "ansible-playbook", f"holdfast.systemd.{playbook}", "-i", "nowhere,", "-e", "app_name=Shop! app_command=x")
        assert "app_name: 'Shop!' cannot name" in done.stdout + done.stderr
    for kind, place in {"module": "modules", "filter": "filter", "lookup": "lookup"}.items():
        names = {f"holdfast.systemd.{path.stem}" for path in (ROOT / "plugins" / place).glob("*.py")}
        done = ansible(installed, "ansible-doc", "--json", "--type", kind, *names)
        assert done.returncode == 0, done.stderr
        assert {name for name, told in json.loads(done.stdout).items() if told["doc"]["short_description"]} == names


@pytest.mark.parametrize("playbook", ["setup", "rollback", "remove"])
def test_a_batch_that_fails_keeps_the_next_one_from_being_touched(installed: Path, playbook: str) -> None:
    command = ["ansible-playbook", f"holdfast.systemd.{playbook}", "-i", "one,two,", "-e", "app_name=Shop! app_command=x"]
    assert {host for host in ("one", "two") if f"fatal: [{host}]" in ansible(installed, *command).stdout} == {"one", "two"}
    assert {host for host in ("one", "two") if f"fatal: [{host}]" in ansible(installed, *command, "-e", "app_serial=1").stdout} == {"one"}
