# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: app_vars
version_added: 1.0.0
short_description: The values of variables that refer to those of an app many times
author: The holdfast.systemd developers (@holdfast)
description:
  - The values are those that the variables have anyway. Ansible works a variable out each time that another one names it, and the units of an
    app name its folders and units many hundred times; here those are worked out once, which spares each host a second or two.
options:
  _terms:
    description: The names of the variables.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the units of an app
  ansible.builtin.debug:
    msg: "{{ lookup('holdfast.systemd.app_vars', 'units_files') }}"
"""

RETURN = r"""
_raw:
  description: The values, in the order of the names.
  type: list
  elements: raw
"""

import typing as t

from ansible.plugins.lookup import LookupBase

if t.TYPE_CHECKING:
    from ansible.template import Templar

# Each refers only to those before it, of these.
NAMED_OFTEN = (
    *("app_ext_name", "app_service_name", "app_dir", "app_configuration_dir"),
    *("app_directory_paths", "app_socket_units", "app_socket_unit_names", "app_socket_streams", "app_preset"),
    *("app_listen_told", "units_process_environment"),
)


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[t.Any]:
        templar = t.cast("Templar", self._templar)
        for name in NAMED_OFTEN:
            templar = templar.copy_with_new_env(available_variables={**templar.available_variables, name: templar.template(variables[name])})
            variables = templar.available_variables
        return [templar.template(variables[name]) for name in terms]
