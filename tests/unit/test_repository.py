# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of the files of the repository as a whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


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
