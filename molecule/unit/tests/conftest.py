# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the collection beside inside.py on a test host."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import ansible.module_utils
import pytest

from playbooks import ROOT

if t.TYPE_CHECKING:
    from testinfra.host import Host

INSIDE = "/run/inside"


@pytest.fixture(scope="module")
def inside(host: Host) -> t.Callable[[str, t.Any], t.Any]:
    """Calls a function of inside.py on the host."""
    name = host.backend.get_hostname()

    def copy(source: Path, target: str) -> None:
        host.check_output("mkdir -p %s", target)
        packed = subprocess.run(["tar", "--create", "--exclude=__pycache__", "--directory", source, "."], check=True, capture_output=True).stdout
        subprocess.run(["podman", "exec", "--interactive", name, "tar", "--extract", "--directory", target], input=packed, check=True)

    copy(Path(ansible.module_utils.__path__[0]), f"{INSIDE}/ansible/module_utils")
    host.check_output(f"touch {INSIDE}/ansible/__init__.py")
    copy(ROOT / "plugins", f"{INSIDE}/ansible_collections/holdfast/systemd/plugins")
    copy(Path(__file__).parent, INSIDE)

    def call(function: str, given: t.Any) -> t.Any:
        command = ["podman", "exec", "--interactive", f"--env=PYTHONPATH={INSIDE}", name, "python3", f"{INSIDE}/inside.py", function]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call
