# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unit_file
version_added: 1.0.0
short_description: Renders sections as the text of a unit file
author: The holdfast.systemd developers (@holdfast)
description:
  - Renders on the controller what M(holdfast.systemd.unit) would write, so that a mistake shows before a host is touched.
options:
  _input:
    description: The sections, each a dictionary of directives.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show a unit file
  ansible.builtin.debug:
    msg: "{{ {'Service': {'ExecStart': '/bin/true'}} | holdfast.systemd.unit_file }}"
"""

RETURN = r"""
_value:
  description: The text of the unit file.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file


def unit_file(sections: t.Any) -> str:
    """Renders sections; raises AnsibleFilterError for what cannot stand in a unit file."""
    try:
        return _unit_file.render(sections)
    except _unit_file.UnitFileError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"unit_file": unit_file}
