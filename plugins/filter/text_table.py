# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: text_table
version_added: 1.0.0
short_description: Writes rows as a table to read
author: The holdfast.systemd developers (@holdfast)
description:
  - Each column is as wide as what stands in it, and has its name in the first line. A value of several lines shows its first one.
options:
  _input:
    description: The rows, each a dictionary.
    type: list
    elements: dict
    required: true
  _columns:
    description: The keys to show, in their order.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show who has what
  ansible.builtin.debug:
    msg: "{{ [{'host': 'web1', 'release': 'blue'}] | holdfast.systemd.text_table(['host', 'release']) }}"
"""

RETURN = r"""
_value:
  description: The lines, the first of which has the names of the columns.
  type: list
  elements: str
"""

import typing as t


def text_table(rows: t.Iterable[t.Mapping[str, t.Any]], columns: t.Sequence[str]) -> list[str]:
    """Writes rows as lines of text, one for each and one with the names of the columns."""
    lines = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def _cell(value: t.Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value).strip().partition("\n")[0]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"text_table": text_table}
