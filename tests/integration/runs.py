# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Ansible's programs as a user would from a shell, who has no configuration of theirs and no connection to a host."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import ansible.release
import jinja2

if t.TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache/collections"
# What is kept of one version is no code of another one.
TEMPLATES = ROOT / f".cache/templates/{sys.hexversion:x}-{ansible.release.__version__}-{jinja2.__version__}"


def run(*command: str | Path, folder: Path, collections: Path = COLLECTIONS, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs ansible-playbook or another of these programs in a folder that it may write to."""
    known = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        **(environment or {}),
    }
    known.pop("ANSIBLE_CONFIG", None)
    program: list[str | Path] = [Path(sys.executable).with_name(str(command[0]))]
    if command[0] == "ansible-playbook":
        TEMPLATES.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-P", ROOT / "molecule/kept_templates.py", TEMPLATES]
    return subprocess.run([*program, *command[1:]], cwd=folder, env=known, capture_output=True, text=True, check=False)
