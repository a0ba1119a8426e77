# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/quickstart.md says, as it stands there.

A paragraph that ends with a colon and names a file is followed by that file. Every other block of the shell is run, all of
them in one shell and in their order. The collection is installed beforehand, from an archive of this checkout, so the line
that installs it finds it there and asks nobody.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from playbooks import ROOT

if t.TYPE_CHECKING:
    from testinfra.host import Host

PAGE = ROOT / "docs/quickstart.md"
FOLDER = "/root/newcomer"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"`(?P<path>[\w./-]+\.\w+)`:\Z")


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the clients of a log got: every status, and the seconds of the slowest answer."""

    statuses: set[str]
    count: int
    slowest: float


def script(page: str) -> str:
    """The page as a script of the shell that ends at the first command that fails."""
    # Clients that are left when a command has failed would keep the run from ending.
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", f"mkdir -p {FOLDER}", f"cd {FOLDER}"]
    for block in BLOCK.finditer(page):
        file = FILE.search(block["before"])
        if file:
            lines.append(f"cat >{file['path']} <<'END OF THE FILE'\n{block['text']}END OF THE FILE")
        elif block["language"] == "shell":
            lines.append(block["text"])
    return "\n".join(lines)


def bring_the_collection(host: Host, folder: Path) -> None:
    container = host.backend.get_hostname()
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).exists():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([ROOT / ".venv/bin/ansible-galaxy", "collection", "build", "--output-path", folder, folder / "source"], check=True, capture_output=True)
    archive = next(folder.glob("*.tar.gz"))
    installed = "/root/.ansible/collections/ansible_collections/holdfast/systemd"
    host.check_output(f"rm -rf {installed} && mkdir -p {installed}")
    subprocess.run(["podman", "cp", archive, f"{container}:/root/collection.tar.gz"], check=True)
    host.check_output(f"tar --extract --file /root/collection.tar.gz --directory {installed}")


@pytest.fixture(scope="module")
def run(host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[subprocess.CompletedProcess[str]]:
    bring_the_collection(host, tmp_path_factory.mktemp("collection"))
    container = host.backend.get_hostname()
    command = ["podman", "exec", "--env", "DEBIAN_FRONTEND=noninteractive", container, "bash", "-c", script(PAGE.read_text())]
    yield subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # Other scenarios run on the same host, and Ansible is nothing that a target has.
    host.check_output(f"rm -rf {FOLDER} /root/.ansible /root/collection.tar.gz")
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get purge --quiet --quiet --yes --auto-remove ansible-core curl")


def answers(host: Host, log: str) -> Answers:
    lines = [line.split() for line in host.check_output(f"cat {FOLDER}/quickstart/{log}").splitlines()]
    return Answers({status for status, _seconds in lines}, len(lines), max(float(seconds) for _status, seconds in lines))


def test_every_command_works_as_written(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout


def test_whoever_comes_during_a_restart_waits_and_is_answered(host: Host, run: subprocess.CompletedProcess[str]) -> None:
    seen = answers(host, "restart.log")
    assert seen.statuses == {"200"}
    assert seen.count > 20
    assert seen.slowest > 0.8


def test_nobody_notices_the_deploy_by_overlap_nor_the_broken_release(host: Host, run: subprocess.CompletedProcess[str]) -> None:
    seen = answers(host, "overlap.log")
    assert seen.statuses == {"200"}
    assert seen.count > 20
    assert seen.slowest < 0.8


def test_each_release_says_who_it_is(run: subprocess.CompletedProcess[str]) -> None:
    said = re.findall(r"^Hello from the (\w+) release$", run.stdout, re.MULTILINE)
    assert said == ["first", "second", "third", "second"]


def test_a_broken_release_is_an_error_that_says_why(run: subprocess.CompletedProcess[str]) -> None:
    assert "Release fourth cannot be live" in run.stdout
    assert "NameError" in run.stdout
    assert "That was to be expected." in run.stdout


def test_nothing_is_left_of_the_app(host: Host, run: subprocess.CompletedProcess[str]) -> None:
    assert not host.file("/srv/hello").exists
    assert not host.file("/etc/systemd/system/hello.socket").exists
