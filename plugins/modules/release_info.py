#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
version_added: 1.0.0
short_description: Tells which releases of an app are on a host, and which one is live
author: The holdfast.systemd developers (@holdfast)
description:
  - Reads an app's folder and changes nothing.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.info
  - holdfast.systemd._options.app_folder
seealso:
  - module: holdfast.systemd.release_stage
  - module: holdfast.systemd.release_switch
"""

EXAMPLES = r"""
- name: Look which releases are there
  holdfast.systemd.release_info:
    path: /srv/shop
  register: shop
"""

RETURN = r"""
releases:
  description: The complete releases, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The id of the release.
      type: str
    checksum:
      description: The SHA-256 of the archive that it was made of.
      type: str
    entries:
      description: How many entries the archive had.
      type: int
    staged_at:
      description: When it was staged, in UTC.
      type: str
current:
  description: The id of the live release; empty before the first switch.
  returned: success
  type: str
history:
  description: How each switch ended, oldest first.
  returned: success
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _argspec
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=_argspec.app_folder(), supports_check_mode=True)
    releases = Releases(module.params["path"])
    try:
        result = {"releases": releases.all(), "current": releases.current() or "", "history": releases.history()}
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
