# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: app_problems
version_added: 1.0.0
short_description: What is wrong with the variables of an app
author: The holdfast.systemd developers (@holdfast)
description:
  - Looks at the variables that the role P(holdfast.systemd.app#role) declares, for what their types let pass and nobody could carry out.
  - The role asks it before anything else is done. No host is asked and nothing is changed.
options: {}
"""

EXAMPLES = r"""
- name: Show what the roles would refuse first
  ansible.builtin.debug:
    msg: "{{ lookup('holdfast.systemd.app_problems') }}"
"""

RETURN = r"""
_raw:
  description:
    - The first problem that there is, with the name of the variable and what to give instead. The list is empty if there is none.
  type: list
  elements: str
"""

import itertools
import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.holdfast.systemd.plugins.plugin_utils._problems import problems


class Templated:
    """The variables of a host by their names, each worked out when it is asked for; one that has no value is None."""

    def __init__(self, variables: t.Mapping[str, t.Any], template: t.Callable[[t.Any], t.Any]) -> None:
        self._variables = variables
        self._template = template

    def __getattr__(self, name: str) -> t.Any:
        value = self._template(self._variables.get(name))
        setattr(self, name, value)
        return value


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        return list(itertools.islice(problems(Templated(variables, self._templar.template)), 1))  # type: ignore[union-attr]  # whoever runs it gives one
