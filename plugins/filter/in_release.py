# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: in_release
version_added: 1.0.0
short_description: Makes the sections of a service those of its stand-in
author: The holdfast.systemd developers (@holdfast)
description:
  - Where the sections name C(current) in the app's folder, the result names C(releases/%i), the release that an instance of a template unit is for.
  - This holds also in what reaches the process as it is, such as the arguments of a command that is a list, where a C(%i) would be no specifier.
options:
  _input:
    description: The sections, each a dictionary of directives.
    type: dict
    required: true
  _folder:
    description: The app's folder.
    type: str
    required: true
  _wrap:
    description: A command to put in front of C(ExecStart), as systemd reads it, which replaces itself by what follows.
    type: str
"""

EXAMPLES = r"""
- name: Show a stand-in
  ansible.builtin.debug:
    msg: "{{ {'Service': {'ExecStart': ['/srv/shop/current/bin/shop', 'start']}} | holdfast.systemd.in_release('/srv/shop') }}"
"""

RETURN = r"""
_value:
  description: The sections, in which each value is text as systemd reads it, or a list of such texts.
  type: dict
  sample:
    Service:
      ExecStart: '"/srv/shop/releases/%i/bin/shop" "start"'
"""

import re
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file

# Up to where a command may stand in front. Some prefixes (@ and :) belong to the program that follows, and those in quotes cannot be moved.
START = re.compile(r"""^ExecStart=[-+!]*(?=[^-+!@:|\s"'\\]|"(?![-+!@:|]))""", re.MULTILINE)


def in_release(sections: t.Any, folder: str, wrap: str = "") -> dict[str, dict[str, t.Any]]:
    """Puts a release in the place of the live one; raises AnsibleFilterError for what cannot stand in a unit file."""
    try:
        text = _unit_file.render(sections)
    except _unit_file.UnitFileError as error:
        raise AnsibleFilterError(str(error)) from None
    if wrap:
        text = START.sub(lambda found: f"{found[0]}{wrap} ", text)
    found = _unit_file.parse(re.sub(rf"{re.escape(folder)}/current(?![\w.-])", f"{folder}/releases/%i", text))
    return {section: {key: _value(key, values) for key, values in found.get(section, {}).items()} for section in sections}


def _value(key: str, values: list[str]) -> t.Any:
    if len(values) == 1:
        return values[0]
    # Without a reset these would be the words of one command.
    return ["", *values] if _unit_file.COMMAND.match(key) and values[0] else values


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"in_release": in_release}
