# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Python on a test host beside a copy of the collection, so that thousands of cases cost few connections."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import ansible.module_utils

from playbooks import ROOT

INSIDE = "/run/inside"
Call = t.Callable[[str, t.Any], t.Any]


def inside(name: str, scripts: Path) -> Call:
    """Puts a folder with inside.py on the host of this name; what it returns calls a function there, with data as JSON."""

    def run(*command: str, given: bytes | None = None) -> bytes:
        done = subprocess.run(["podman", "exec", "--interactive", f"--env=PYTHONPATH={INSIDE}", name, *command], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def copy(source: Path, target: str) -> None:
        packed = subprocess.run(["tar", "--create", "--exclude=__pycache__", "--directory", source, "."], check=True, capture_output=True).stdout
        run("mkdir", "--parents", target)
        run("tar", "--extract", "--directory", target, given=packed)

    copy(Path(ansible.module_utils.__path__[0]), f"{INSIDE}/ansible/module_utils")
    run("touch", f"{INSIDE}/ansible/__init__.py")
    copy(ROOT / "plugins", f"{INSIDE}/ansible_collections/holdfast/systemd/plugins")
    copy(scripts, INSIDE)
    return lambda function, given: json.loads(run("python3", f"{INSIDE}/inside.py", function, given=json.dumps(given).encode()))
