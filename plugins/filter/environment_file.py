# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: environment_file
version_added: 1.0.0
short_description: Writes environment variables as the text of an environment file
author: The holdfast.systemd developers (@holdfast)
description:
  - The text is such that systemd's C(EnvironmentFile=) gives the process exactly these values, whatever characters they have.
  - Fails for a value that cannot get there, which is one with a NUL byte or what is not valid text for systemd (such as U+FFFE), and one that is
    longer than Linux passes to a process.
options:
  _input:
    description: The variables, names to values. Booleans become C(true) and C(false); a null leaves a variable out.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write an environment file
  ansible.builtin.copy:
    content: "{{ {'GREETING': 'hello \"world\"'} | holdfast.systemd.environment_file }}"
    dest: /etc/shop/environment
    mode: "0640"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file


def environment_file(variables: t.Any) -> str:
    """Writes variables as an environment file; raises AnsibleFilterError, without the values, for what cannot stand there."""
    try:
        return _unit_file.environment_file(variables)
    except _unit_file.UnitFileError as error:
        raise AnsibleFilterError(f"app_environment: {error}") from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"environment_file": environment_file}
