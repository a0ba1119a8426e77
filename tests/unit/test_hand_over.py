# SPDX-License-Identifier: GPL-3.0-or-later
"""What one deploy user leaves to the next has no way back in. As root it is tried in molecule/unprivileged."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/layout/files/hand_over.py"
# Instead of giving anything, it says what it would give, so that it need not be root.
PRELUDE = """
import os, runpy, sys
given = lambda handle, owner, group, **_options: print("given", owner, os.readlink(f"/proc/self/fd/{handle}") if isinstance(handle, int) else handle)
os.fchown = os.chown = given
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def hand_over(folder: Path, user: str = "daemon") -> list[str]:
    done = subprocess.run([sys.executable, "-c", PRELUDE, PROGRAM, folder, user], capture_output=True, text=True, check=True)
    return [line.replace(f"{folder}/", "") for line in done.stdout.splitlines() if line.startswith("given")]


@pytest.fixture(name="folder")
def folder_of_an_app(tmp_path: Path) -> Path:
    for name in (".deploy", "releases/1", "shared"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "releases/1/program").write_text("")
    (tmp_path / "releases/1/link").symlink_to("/etc/shadow")
    (tmp_path / ".deploy/lock").symlink_to("/etc/shadow")
    (tmp_path / "current").symlink_to("releases/1")
    return tmp_path


def test_what_others_could_write_they_cannot_any_more(folder: Path) -> None:
    for path, mode in ((".deploy", 0o1777), ("releases/1", 0o2775), ("releases/1/program", 0o6777), ("shared", 0o770)):
        (folder / path).chmod(mode)
    hand_over(folder)
    modes = {path: (folder / path).stat().st_mode & 0o7777 for path in (".deploy", "releases/1", "releases/1/program", "shared")}
    assert modes == {".deploy": 0o755, "releases/1": 0o755, "releases/1/program": 0o755, "shared": 0o770}


def test_a_folder_is_root_s_while_what_is_in_it_is_given(folder: Path) -> None:
    given = hand_over(folder)
    own = f"given {pwd.getpwnam('daemon').pw_uid}"
    assert given[:2] == ["given 0 .deploy", f"{own} .deploy"]
    assert f"{own} link" in given
    # What is there for no reason but to lead root elsewhere is gone.
    assert not (folder / ".deploy/lock").is_symlink()
    assert given.index("given 0 releases") < given.index("given 0 releases/1") < given.index(f"{own} releases/1/program") < given.index(f"{own} releases")
    assert given[-1] == f"{own} current"
    assert not any("shared" in line or "shadow" in line for line in given)


def test_what_has_another_name_too_is_left_alone(folder: Path) -> None:
    (folder / "shared/x").write_text("")
    (folder / "shared/x").chmod(0o666)
    (folder / "releases/1/x").hardlink_to(folder / "shared/x")
    assert not any("/x" in line for line in hand_over(folder))
    assert (folder / "shared/x").stat().st_mode & 0o777 == 0o666


def test_nothing_is_done_in_what_is_the_owner_s_already(folder: Path) -> None:
    assert hand_over(folder, pwd.getpwuid(os.getuid()).pw_name) == []
