# SPDX-License-Identifier: GPL-3.0-or-later
"""The page for people who come from mix_systemd says what the table of the scenario looks at, and every row is looked at."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "molecule/parity/rows").glob("*.yml"))
HEADINGS = {"mix_systemd": "Options of mix_systemd", "mix_deploy": "Options of mix_deploy and of the role"}


def rows(part: str) -> list[dict[str, t.Any]]:
    return [row for path in FILES for row in yaml.safe_load(path.read_text()).get(part, [])]


@pytest.mark.parametrize("part", HEADINGS)
def test_the_page_and_the_table_have_the_same_rows(part: str) -> None:
    page = (ROOT / "docs/from-mix-systemd.md").read_text()
    section = page.partition(f"## {HEADINGS[part]}\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| (.+?) \| `(app_\w+)` \| (.+?) \|$", section, re.MULTILINE)
    assert sorted(told) == sorted((row["option"], row["variable"], row["directive"]) for row in rows(part))


@pytest.mark.parametrize("row", [row for part in HEADINGS for row in rows(part)], ids=lambda row: f"{row['option']} {row['variable']}")
def test_every_row_is_looked_at(row: dict[str, t.Any]) -> None:
    assert row.keys() & {"set", "unset", "without_socket", "seen_in"}
    for name in ("set", "unset", "without_socket"):
        found = row.get(name, {}).keys()
        assert not found or (len(found & {"property", "environment", "run"}) == 1 == len(found & {"is", "has"}))
    assert "seen_in" not in row or "value" not in row


def test_no_variable_has_two_values() -> None:
    valued = [row["variable"] for part in HEADINGS for row in rows(part) if "value" in row]
    assert len(set(valued)) == len(valued)


def test_the_rows_that_are_looked_at_are_of_variables_that_there_are() -> None:
    known = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    turned_on = re.search(r"^FILES = \((.*)\)$", (ROOT / "molecule/parity/parity.py").read_text(), re.MULTILINE)
    assert turned_on
    for name in re.findall(r'"(\w+)"', turned_on[1]):
        for part in yaml.safe_load((ROOT / f"molecule/parity/rows/{name}.yml").read_text()).values():
            for row in part:
                assert row["variable"] in known
                if "seen_in" in row:
                    files = [path for path in [ROOT / row["seen_in"], *(ROOT / row["seen_in"]).rglob("*")] if path.suffix in (".py", ".yml")]
                    assert any(row["variable"] in path.read_text() for path in files), row["variable"]
