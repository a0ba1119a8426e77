# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role release stages when it runs more than once in a run, and on a host that is clean. Only looked at, in check mode."""

from __future__ import annotations

import functools
import http.server
import json
import re
import sys
import tarfile
import threading
import typing as t

import pytest
from runs import run

if t.TYPE_CHECKING:
    from pathlib import Path


def play(folder: Path, tasks: list[dict[str, t.Any]]) -> str:
    """Runs tasks in check mode, for this machine."""
    (folder / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "app_command": "bin/x",
        "app_base_dir": str(folder / "srv"),
        "app_hardening": "none",
    }
    identity = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["ansible-playbook", "--check", "-i", "here,", "-e", json.dumps(variables), "play.json"]
    done = run(*command, folder=folder, environment=identity)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "srv").exists()
    return done.stdout


def stage(app: str, src: str, **variables: t.Any) -> list[dict[str, t.Any]]:
    role = {"name": "holdfast.systemd.release", "tasks_from": "stage"}
    return [
        {"ansible.builtin.include_role": role, "vars": {"app_name": app, "app_release_src": src, **variables}},
        {"ansible.builtin.debug": {"msg": f"{app} as {{{{ app_release_id }}}} of {{{{ release_archive.checksum | default('a URL') }}}}"}},
    ]


def change(*commands: str) -> dict[str, t.Any]:
    return {"ansible.builtin.shell": "; ".join(commands), "check_mode": False}


def test_a_second_release_of_an_app_has_its_own_name_and_content(tmp_path: Path) -> None:
    build, source = tmp_path / "build", tmp_path / "source"
    commit = f"git -C {source} add . && git -C {source} commit --quiet --message x"
    tasks = [
        change(f"mkdir {build}", f"echo old >{build}/made", f"git init --quiet {source}", f"cp {build}/made {source}", commit),
        *stage("shop", str(build)),
        *stage("admin", f"git+file://{source}"),
        change(f"echo new >{build}/made", f"cp {build}/made {source}", commit),
        *stage("shop", str(build)),
        *stage("admin", f"git+file://{source}"),
    ]
    found = re.findall(r"(\w+) as (\S+) of (\w+)", play(tmp_path, tasks))
    (_shop, first, old), _admin, (_shop, second, new), _admin = found
    assert found == [("shop", first, old), ("admin", first, old), ("shop", second, new), ("admin", second, new)]
    assert re.fullmatch(r"\d{8}T\d{6}Z", first)
    assert first != second
    assert old != new


@pytest.fixture
def web(tmp_path: Path) -> t.Iterator[str]:
    (tmp_path / "web").mkdir()
    with tarfile.open(tmp_path / "web/shop.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("made"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/shop.tar"
        server.shutdown()


def test_check_mode_passes_a_url_on_a_clean_host(tmp_path: Path, web: str) -> None:
    assert "shop as " in play(tmp_path, stage("shop", web))
