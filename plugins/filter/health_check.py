# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: health_check
version_added: 1.0.0
short_description: Looks whether a health check can be carried out
author: The holdfast.systemd developers (@holdfast)
description:
  - Fails, and says what is wrong, for a check that M(holdfast.systemd.release_switch) would refuse on the target.
options:
  _input:
    description: The check, as in C(app_health_check). One that is empty means that there is none.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at a check before anything is done
  ansible.builtin.debug:
    msg: "{{ {'tcp': '127.0.0.1:9000'} | holdfast.systemd.health_check }}"
"""

RETURN = r"""
_value:
  description: The check as it was given, without what is null.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check, CheckError


def health_check(options: t.Any) -> dict[str, t.Any]:
    """Returns a check as it was given; raises AnsibleFilterError for one that nobody could carry out."""
    if not isinstance(options, t.Mapping):
        raise AnsibleFilterError("app_health_check: give a dictionary with one of url, tcp and command")
    try:
        Check.read(options)
    except CheckError as error:
        raise AnsibleFilterError(f"app_health_check: {error}") from None
    return {name: value for name, value in options.items() if value is not None}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"health_check": health_check}
