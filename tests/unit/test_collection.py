# SPDX-License-Identifier: GPL-3.0-or-later
"""What people install: built, installed into an empty folder, and used from there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
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
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(installed), "ANSIBLE_HOME": str(installed / "home"), "NO_COLOR": "1"}
    environment.pop("ANSIBLE_CONFIG", None)
    return subprocess.run([BIN / command[0], *command[1:]], cwd=installed, env=environment, capture_output=True, text=True, check=False)


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
    plugins = {(kind, path.stem) for kind in ("modules", "filter") for path in (ROOT / "plugins" / kind).glob("*.py")}
    for kind, name in plugins:
        done = ansible(installed, "ansible-doc", "--type", {"modules": "module"}.get(kind, kind), f"holdfast.systemd.{name}")
        assert done.returncode == 0, done.stderr
        assert name in done.stdout


@pytest.mark.parametrize("playbook", ["setup", "rollback", "remove"])
def test_a_batch_that_fails_keeps_the_next_one_from_being_touched(installed: Path, playbook: str) -> None:
    command = ["ansible-playbook", f"holdfast.systemd.{playbook}", "-i", "one,two,", "-e", "app_name=Shop! app_command=x"]
    assert {host for host in ("one", "two") if f"fatal: [{host}]" in ansible(installed, *command).stdout} == {"one", "two"}
    assert {host for host in ("one", "two") if f"fatal: [{host}]" in ansible(installed, *command, "-e", "app_serial=1").stdout} == {"one"}


def test_every_side_effect_and_every_verify_of_molecule_exists() -> None:
    """molecule passes over what it does not find, and calls the run a success."""
    for path in (ROOT / "molecule").glob("*/molecule.yml"):
        config = yaml.safe_load(path.read_text())
        for step in config["scenario"]["test_sequence"]:
            action, *arguments = step.split()
            if action == "side_effect":
                assert (path.parent / config["ansible"]["playbooks"]["side_effect"]).exists()
                assert all((path.parent / argument).exists() for argument in arguments)
            elif action == "verify":
                assert arguments
                assert all(list((path.parent / argument).glob("test_*.py")) for argument in arguments)
            elif action != "idempotence":
                playbook = "converge" if action == "check" else action
                assert (path.parent / config.get("ansible", {}).get("playbooks", {}).get(playbook, f"{playbook}.yml")).exists()


def test_every_file_says_its_licence() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    commented = {".py", ".yml", ".cfg", ".ini", ".toml", ".js", ".conf"}
    owed = [name for name in names if Path(name).suffix in commented or Path(name).parent.name == "tools" or name == "Makefile"]
    # In one piece it would be taken for the licence of this file.
    line = ": ".join(("SPDX-License-Identifier", "GPL-3.0-or-later"))
    assert [name for name in owed if line not in (ROOT / name).read_text()[:600]] == []
