# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: run_folder
version_added: 1.0.0
short_description: The folder on the controller that this run of Ansible keeps to itself
author: The holdfast.systemd developers (@holdfast)
description:
  - Ansible makes it at its start, readable by nobody else, and removes it at its end. It is the same for all hosts and tasks of a run,
    so what one host's task leaves there serves the others.
  - The lookup P(ansible.builtin.config#lookup) of C(DEFAULT_LOCAL_TMP) makes a new folder each time instead.
options: {}
"""

EXAMPLES = r"""
- name: Say where a run can keep something for a moment
  ansible.builtin.debug:
    msg: "{{ lookup('holdfast.systemd.run_folder') }}"
"""

RETURN = r"""
_raw:
  description: The path of the folder.
  type: list
  elements: str
"""

import typing as t

from ansible import constants
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        return [constants.DEFAULT_LOCAL_TMP]  # type: ignore[attr-defined]  # made at run time
