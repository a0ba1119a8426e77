# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
version_added: 1.0.0
short_description: How a play is to split its hosts, wherever that was said
author: The holdfast.systemd developers (@holdfast)
description:
  - Ansible works C(serial) out before it looks at any host, so it knows what is given with C(--extra-vars) alone. A value that stands
    in C(group_vars) would be passed over without a word, and a canary with it. This finds that too, from the second play of a run on.
options:
  _terms:
    description: The pattern of the hosts. The first of them that has a value decides for all.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Switch batch by batch
  hosts: shop
  serial: "{{ lookup('holdfast.systemd.batches', 'shop') }}"
  roles:
    - holdfast.systemd.release
"""

RETURN = r"""
_raw:
  description: The value of C(app_serial), or C(100%) if there is none.
  type: list
  elements: raw
"""

import typing as t

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

if t.TYPE_CHECKING:
    from ansible.template import Templar

EVERYBODY = "100%"


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[t.Any]:
        templar = t.cast("Templar", self._templar)
        # There are none before the first play has begun. They have what the command line says too, and no default of a role.
        known = variables.get("hostvars", {})
        finder = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=self._loader, templar=templar)
        for host in finder.run([str(term) for term in terms], variables) if known else []:
            if "app_serial" in known[host]:
                return [known[host]["app_serial"]]
        return [templar.template(variables.get("app_serial", EVERYBODY))]
