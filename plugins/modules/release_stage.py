#!/usr/bin/python
# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_stage
version_added: 1.0.0
short_description: Unpacks an archive as a release, atomically
author: The holdfast.systemd developers (@holdfast)
description:
  - Unpacks a tar archive on the target into a hidden folder, checks it, forces it to the disk and renames it to
    C(releases/<id>). A release is complete from the moment it has this name, and what is live is not touched.
  - The code belongs to root. The app's group may read it and nobody else may write it.
  - A staging that died is thrown away by the next one.
extends_documentation_fragment:
  - holdfast.systemd._attributes
  - holdfast.systemd._attributes.changes
  - holdfast.systemd._options.app_folder
options:
  release:
    description:
      - The id of the release. Up to 64 letters, digits, C(.), C(_) and C(-), with a letter or a digit first.
    type: str
    required: true
  src:
    description:
      - The archive on the target, a tar file that is plain or compressed with gzip, bzip2 or xz.
      - An entry that reaches outside the release, a device, a second entry of the same name and a damaged
        archive are refused. Set-user-ID bits and foreign write permissions are dropped.
      - A symbolic link may lead outside the release to the system's own programs below C(/usr), C(/bin), C(/lib) and C(/opt),
        as those of a Python virtual environment do.
    type: path
    required: true
  checksum:
    description:
      - The SHA-256 that the archive must have, in hexadecimal.
      - It also tells whether a release of the same id is the same release.
    type: str
  remove_src:
    description: Remove the archive afterwards, also when it was refused.
    type: bool
    default: false
  group:
    description: The group that may read the release, usually the app's.
    type: str
    default: root
seealso:
  - module: holdfast.systemd.release_switch
"""

EXAMPLES = r"""
- name: Stage a release
  holdfast.systemd.release_stage:
    path: /srv/shop
    release: "2026-11-21"
    src: /var/tmp/shop.tar.gz
    group: shop
"""

RETURN = r"""
release:
  description: The id of the release.
  returned: success
  type: str
  sample: "2026-11-21"
folder:
  description: The folder of the release.
  returned: success
  type: str
  sample: /srv/shop/releases/2026-11-21
checksum:
  description: The SHA-256 of the archive that the release was made of.
  returned: success
  type: str
entries:
  description: How many entries the archive had.
  returned: when the release was staged by this run
  type: int
"""

import contextlib
import grp
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive, _argspec
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases, now


class Stage:
    def __init__(self, module: AnsibleModule) -> None:
        parameters = module.params
        self.check_mode: bool = module.check_mode
        self.releases = Releases(parameters["path"])
        self.release: str = parameters["release"]
        self.src: str = parameters["src"]
        self.checksum: str | None = parameters["checksum"]
        self.group: str = parameters["group"]

    def run(self) -> dict[str, t.Any]:
        folder = self.releases.path(self.release)
        staged = self.releases.manifest(self.release)
        if staged:
            checksum = self.checksum or self._checksum()
            if staged["checksum"] != checksum:
                raise ReleaseError(
                    f"app_release_id: release {self.release} is already on this host with other content "
                    f"(SHA-256 {staged['checksum']} there, {checksum} given); choose another id"
                )
            return {"changed": False, "release": self.release, "folder": folder, "checksum": staged["checksum"]}
        checksum = self._checksum()
        result = {"changed": True, "release": self.release, "folder": folder, "checksum": checksum or ""}
        result["diff"] = {"before_header": folder, "after_header": folder, "before": "", "after": f"a release made of {checksum or self.src}\n"}
        if not self.check_mode:
            result["entries"] = self._stage(checksum or "")
        return result

    def _checksum(self) -> str | None:
        if not os.path.exists(self.src):
            # In check mode the task that brings the archive has only said that it would.
            if self.check_mode:
                return self.checksum
            raise ReleaseError(f"app_release_src: {self.src} does not exist on this host")
        found = _archive.checksum(self.src)
        if self.checksum and found != self.checksum:
            raise ReleaseError(f"app_release_checksum: {self.src} has the SHA-256 {found}, not {self.checksum}; fetch or build it again")
        return found

    def _stage(self, checksum: str) -> int:
        self.releases.discard_orphans()
        group = grp.getgrnam(self.group).gr_gid
        with self.releases.staging(self.release) as staging:
            try:
                entries = _archive.unpack(self.src, staging, group=group)
            except _archive.ArchiveError as error:
                raise ReleaseError(f"app_release_src: the archive was refused: {error}") from error
            os.chown(staging, -1, group)
            os.chmod(staging, 0o755)
            self.releases.publish(staging, {"id": self.release, "checksum": checksum, "entries": entries, "staged_at": now()})
        return entries


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            "release": {"type": "str", "required": True},
            "src": {"type": "path", "required": True},
            "checksum": {"type": "str"},
            "remove_src": {"type": "bool", "default": False},
            "group": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    try:
        result = Stage(module).run()
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=str(error))
    except KeyError:
        module.fail_json(msg=f"app_group: there is no group {module.params['group']} on this host; run the setup playbook first")
    finally:
        if module.params["remove_src"] and not module.check_mode:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(module.params["src"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
