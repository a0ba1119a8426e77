#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_pack
version_added: 1.0.0
short_description: Makes an archive of a folder, or looks at one that is there
author: The holdfast.systemd developers (@holdfast)
description:
  - Packs a folder as a tar archive that depends on nothing but the names, contents and modes in it, so that the same folder
    has the same checksum on every machine. C(.git), C(.hg) and C(.svn) are left out.
  - An archive is left as it is, and only its checksum is told.
  - It runs where the release is built, usually on the controller with C(delegate_to=localhost).
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
options:
  src:
    description: The folder or the archive.
    type: path
    required: true
  dest:
    description:
      - Where to write the archive of a folder.
      - One that is there already is taken as it is, so that all hosts of a run get the same release.
    type: path
    required: true
  checksum:
    description: The SHA-256 that the archive must have, in hexadecimal, with or without C(sha256:) in front.
    type: str
seealso:
  - module: holdfast.systemd.release_stage
"""

EXAMPLES = r"""
- name: Pack the release
  holdfast.systemd.release_pack:
    src: build/shop
    dest: /tmp/shop.tar
  delegate_to: localhost
  register: packed
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
checksum:
  description: The SHA-256 of the archive.
  returned: success
  type: str
"""

import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive


def pack(folder: str, archive: str, *, write: bool) -> dict[str, t.Any]:
    """Packs a folder, whole or not at all; without `write` only to tell the checksum."""
    if os.path.exists(archive):
        return {"changed": False, "path": archive, "checksum": _archive.checksum(archive)}
    parent = os.path.dirname(archive) if write else None
    with tempfile.NamedTemporaryFile(prefix=".packing-", dir=parent) as stream:
        _archive.pack(folder, t.cast("t.IO[bytes]", stream))
        stream.flush()
        result = {"changed": True, "path": archive, "checksum": _archive.checksum(stream.name)}
        if write:
            os.link(stream.name, archive)
    return result


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "checksum": {"type": "str"},
        },
        supports_check_mode=True,
    )
    src: str = module.params["src"]
    try:
        if os.path.isdir(src):
            try:
                result = pack(src, module.params["dest"], write=not module.check_mode)
            except FileExistsError:  # another host's task was faster
                result = pack(src, module.params["dest"], write=False)
        elif os.path.isfile(src):
            result = {"changed": False, "path": src, "checksum": _archive.checksum(src)}
        else:
            module.fail_json(msg=f"app_release_src: there is no file or folder {src} on the controller; give the path of the release")
    except (_archive.ArchiveError, OSError) as error:
        module.fail_json(msg=f"app_release_src: {src} cannot be a release: {error}")
    wanted = (module.params["checksum"] or "").removeprefix("sha256:").lower()
    if wanted and wanted != result["checksum"]:
        module.fail_json(msg=f"app_release_checksum: {src} has the SHA-256 {result['checksum']}, not {wanted}; fetch or build it again")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
