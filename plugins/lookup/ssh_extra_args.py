# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_extra_args
version_added: 1.0.0
short_description: What ssh is given so that a host that is cut off is noticed
author: The holdfast.systemd developers (@holdfast)
description:
  - By default ssh waits for ever for the answer of a host that has gone while something runs there, and the whole run waits with it. With
    these arguments it asks the host every ten seconds whether it is there, and gives up after three questions without an answer.
  - What the inventory, the command line, the environment or C(ansible.cfg) say comes first, and wins where it says the same.
options: {}
"""

EXAMPLES = r"""
- name: Do something that takes long
  hosts: shop
  vars:
    ansible_ssh_extra_args: "{{ lookup('holdfast.systemd.ssh_extra_args') }}"
  tasks:
    - name: Wait for an hour
      ansible.builtin.command: sleep 3600
      changed_when: false
"""

RETURN = r"""
_raw:
  description: The value for C(ansible_ssh_extra_args) of this host.
  type: list
  elements: str
"""

import typing as t

from ansible import constants
from ansible.plugins.loader import connection_loader
from ansible.plugins.lookup import LookupBase

OPTION = "ssh_extra_args"
PATIENCE = "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        host, known = variables.get("inventory_hostname"), variables.get("hostvars", {})
        # The variables of this task have the value that is being worked out here.
        own = known[host].get("ansible_ssh_extra_args") if host in known else None
        if own is None:
            # Only a plugin that is loaded has settings.
            connection_loader.get("ssh", class_only=True)
            own, _origin = constants.config.get_config_value_and_origin(OPTION, plugin_type="connection", plugin_name="ssh", variables={})
        return [f"{own or ''} {PATIENCE}".strip()]
