# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's playbooks from a test, as a user would from a shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from testinfra.host import Host

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SCRATCH = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
MISSING = object()


def playbook(name: str, host: Host, variables: dict[str, t.Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs setup, deploy and so on, or a playbook of a test's own, against one host; a variable that is MISSING is left out."""
    given = json.dumps({key: value for key, value in variables.items() if value is not MISSING})
    command = ["ansible-playbook", name if "/" in name else f"holdfast.systemd.{name}", "--limit", host.backend.get_hostname(), "-e", given, *options]
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def module(name: str, host: Host, arguments: dict[str, t.Any], *options: str) -> dict[str, t.Any]:
    """Runs one module of the collection on a host and returns its result."""
    command = ["ansible", host.backend.get_hostname(), "-m", f"holdfast.systemd.{name}", "-a", json.dumps(arguments), *options]
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    start = re.search(r"(SUCCESS|CHANGED|FAILED!) => ", done.stdout)
    assert start, done.stdout + done.stderr
    result: dict[str, t.Any] = json.JSONDecoder().raw_decode(done.stdout, start.end())[0]
    # ansible takes them out of the result and wraps them.
    result["warnings"] = " ".join(done.stderr.split())
    return result


def archive(name: str, **settings: str) -> str:
    """Packs a release of the demo app; the settings say how it behaves."""
    # Tests of several hosts run at the same time, and what one of them sends must be whole and stay the same.
    path = SCRATCH / ("-".join([name, *settings.values()]) + ".tar.gz")
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        packed = Path(folder, path.name)
        subprocess.run([ROOT / "tests/apps/pack", packed, *(f"{key}={value}" for key, value in settings.items())], check=True)
        packed.rename(path)
    return str(path)
