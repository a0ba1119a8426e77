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
  - Unpacks an archive on the target into a hidden folder, checks it, links what the releases share, forces it to the disk
    and renames it to C(releases/<id>). A release is complete from the moment it has this name, and what is live is not touched.
  - The code belongs to root, or to whoever owns the folder C(releases). The app's group may read it and nobody else may write it.
  - A staging that died is thrown away by the next one.
  - Needs neither C(tar) nor C(unzip) on the target. For zstd it needs Python 3.14 or the program C(zstd) there.
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
      - The archive on the target, a zip file, or a tar file that is plain or compressed with gzip, bzip2, xz or zstd.
        Or a folder on the target, of which everything but C(.git), C(.hg) and C(.svn) is taken.
      - An entry that reaches outside the release, a device, a second entry of the same name and a damaged
        archive are refused. Set-user-ID bits and foreign write permissions are dropped.
      - A symbolic link may lead outside the release to the system's own programs below C(/usr), C(/bin), C(/lib) and C(/opt),
        as those of a Python virtual environment do.
    type: path
    required: true
  checksum:
    description:
      - The SHA-256 that the archive must have, in hexadecimal, with or without C(sha256:) in front.
      - It also tells whether a release of the same id is the same release.
    type: str
  remove_src:
    description:
      - Whether the archive was brought for this release alone. It is removed afterwards, also when it was refused, and in check mode
        it may not be there yet.
    type: bool
    default: false
  strip_components:
    description: How many leading folders to take off each name in the archive.
    type: int
    default: 0
  max_size:
    description:
      - How much room the release may take on the disk, for instance V(500M). Each entry counts as 4 KiB and its content.
      - Without it nothing limits what an archive can grow to.
    type: bytes
  shared_paths:
    description:
      - Paths relative to the release that become links to the same path below C(shared), which all releases share.
      - What C(shared) does not have yet is made there, from what the release brings at this path or else as an empty folder.
        It belongs to O(user) and O(group).
    type: list
    elements: str
    default: []
  user:
    description: The user that owns what is made in C(shared), usually the app's.
    type: str
    default: root
  group:
    description: The group that may read the release, usually the app's.
    type: str
    default: root
  service:
    description: The service unit that runs the app. A caller who is not root makes what is missing in C(shared) through its helper.
    type: str
seealso:
  - module: holdfast.systemd.release_pack
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
import errno
import grp
import os
import pwd
import shutil
import stat
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive, _argspec
from ansible_collections.holdfast.systemd.plugins.module_utils._privileges import lacking, way_in
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account, acting_as
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases, now

DISK_TROUBLE = {
    errno.ENOSPC: "there is no room left on the disk; free some, lower app_keep_releases, or give the app another disk with app_base_dir",
    errno.EDQUOT: "there is no room left in the quota; free some, or lower app_keep_releases",
    errno.EROFS: "the file system is mounted read-only; mount it for writing, or choose another app_base_dir",
}
# For a caller who is not root, as _bring does it: whole or not at all, and not if it is there.
BRING = """
[ ! -e "$2" ] && [ ! -L "$2" ] || exit 0
umask 027
mkdir -p "${2%/*}"
scratch=$(mktemp -d "${2%/*}/.new-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
if [ -d "$1" ]; then cp -RP --preserve=mode,timestamps "$1/." "$scratch/content"
elif [ -e "$1" ]; then cp "$1" "$scratch/content"
else mkdir "$scratch/content"
fi
mv "$scratch/content" "$2"
"""


class Stage:
    def __init__(self, module: AnsibleModule) -> None:
        parameters = module.params
        self.check_mode: bool = module.check_mode
        self.releases = Releases(parameters["path"])
        self.release: str = parameters["release"]
        self.src: str = parameters["src"]
        self.brought: bool = parameters["remove_src"]
        self.wanted: str = (parameters["checksum"] or "").removeprefix("sha256:").lower()
        self.strip: int = parameters["strip_components"]
        self.max_size: int | None = parameters["max_size"]
        self.shared_paths = [_relative(path) for path in parameters["shared_paths"]]
        self.user: str = parameters["user"]
        self.group: str = parameters["group"]
        self.way_in = way_in(parameters["service"])

    def run(self) -> dict[str, t.Any]:
        if self.brought and not self.check_mode:
            self._hand_over()
        with self.releases.acting_as_owner():
            return self._run()

    def _hand_over(self) -> None:
        """Gives an archive that root has brought to the owner of the releases, with whose rights it is unpacked."""
        with contextlib.suppress(FileNotFoundError):
            owner = os.lstat(self.releases.releases).st_uid
            handle = os.open(self.src, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if os.geteuid() == 0 and stat.S_ISREG(os.fstat(handle).st_mode):
                    os.fchown(handle, owner, -1)
            finally:
                os.close(handle)

    def _run(self) -> dict[str, t.Any]:
        folder = self.releases.path(self.release)
        staged = self.releases.manifest(self.release)
        with self._archive() as archive:
            checksum = self._checksum(archive, known=bool(staged))
            if staged:
                if checksum and staged["checksum"] != checksum:
                    raise ReleaseError(
                        f"app_release_id: release {self.release} is already on this host with other content "
                        f"(SHA-256 {staged['checksum']} there, {checksum} given); choose another id"
                    )
                return {"changed": False, "release": self.release, "folder": folder, "checksum": staged["checksum"]}
            result = {"changed": True, "release": self.release, "folder": folder, "checksum": checksum}
            result["diff"] = {"before_header": folder, "after_header": folder, "before": "", "after": f"a release made of {checksum or self.src}\n"}
            if not self.check_mode:
                result["entries"] = self._stage(archive, checksum)
            return result

    @contextlib.contextmanager
    def _archive(self) -> t.Iterator[str]:
        """The archive to unpack; a folder is packed first, so that one set of rules holds for both."""
        if not os.path.isdir(self.src):
            yield self.src
            return
        with tempfile.NamedTemporaryFile(prefix=".incoming-", dir=None if self.check_mode else self.releases.folder) as packed:
            try:
                _archive.pack(self.src, t.cast("t.IO[bytes]", packed))
            except _archive.ArchiveError as error:
                raise ReleaseError(f"app_release_src: {self.src} cannot be a release: {error}") from error
            packed.flush()
            yield packed.name

    def _checksum(self, archive: str, *, known: bool) -> str:
        if not os.path.exists(archive):
            # In check mode the task that brings the archive has only said that it would, and an archive that
            # is here already need not come again.
            if self.brought and (self.check_mode or (known and self.wanted)):
                return self.wanted
            raise ReleaseError(f"app_release_src: {archive} does not exist on this host")
        found = _archive.checksum(archive)
        if self.wanted and found != self.wanted:
            raise ReleaseError(f"app_release_checksum: {self.src} has the SHA-256 {found}, not {self.wanted}; fetch or build it again")
        return found

    def _stage(self, archive: str, checksum: str) -> int:
        self.releases.discard_orphans()
        group = grp.getgrnam(self.group).gr_gid
        with self.releases.staging(self.release) as staging:
            try:
                entries = _archive.unpack(archive, staging, group=group, strip=self.strip, max_size=self.max_size)
            except _archive.ArchiveError as error:
                raise ReleaseError(f"app_release_src: the archive was refused: {error}") from error
            os.chown(staging, -1, group)
            os.chmod(staging, 0o755)
            for path in self.shared_paths:
                self._share(staging, path)
            self.releases.publish(staging, {"id": self.release, "checksum": checksum, "entries": entries, "staged_at": now()})
        return entries

    def _share(self, staging: str, path: str) -> None:
        """Replaces a path of the release by a link into what all releases share."""
        own, shared = os.path.join(staging, path), os.path.join(self.releases.shared, path)
        if os.path.realpath(os.path.dirname(own)) != os.path.join(os.path.realpath(staging), os.path.dirname(path)).rstrip("/"):
            raise ReleaseError(f"app_shared_paths: {path} leads through a link in the archive; name the path that it leads to")
        # The app may write there and could have put a link in the way, so it is done with the app's rights.
        try:
            if self.way_in and pwd.getpwnam(self.user).pw_uid != os.geteuid():
                done = Account(self.user, self.group, self.way_in).run(["sh", "-euc", BRING, "bring", own, shared])
                if done.returncode != 0:
                    raise PermissionError(os.fsdecode(done.stderr).strip())
            else:
                with acting_as(self.user, self.group):
                    if not os.path.lexists(shared):
                        os.makedirs(os.path.dirname(shared), mode=0o750, exist_ok=True)
                        _bring(own, shared)
        except PermissionError as error:
            raise ReleaseError(f"app_shared_paths: {self.user} cannot make {path} in {self.releases.shared}: {error}") from error
        if os.path.isdir(own) and not os.path.islink(own):
            shutil.rmtree(own)
        elif os.path.lexists(own):
            os.unlink(own)
        _make_passable(os.path.dirname(own))
        os.symlink(os.path.join(os.path.realpath(self.releases.shared), path), own)


def _make_passable(folder: str) -> None:
    """Makes a folder and those above it, whatever the umask."""
    if not os.path.isdir(folder):
        _make_passable(os.path.dirname(folder))
        os.mkdir(folder)
        os.chmod(folder, 0o755)


def _relative(path: str) -> str:
    found = os.path.normpath(path)
    if os.path.isabs(path) or found.split("/")[0] in ("..", ".") or not path.strip():
        raise ReleaseError(f"app_shared_paths: {path!r} must be a path inside the release, for instance public/uploads")
    return found


def _bring(source: str, target: str) -> None:
    """Copies what a release brings as the first content of what is shared: whole or not at all."""
    scratch = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(target))
    try:
        new = os.path.join(scratch, "content")
        if os.path.isdir(source):
            shutil.copytree(source, new, symlinks=True)
        elif os.path.exists(source):
            shutil.copyfile(source, new)
        else:
            os.mkdir(new, 0o750)
        os.rename(new, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_argspec.app_folder(),
            "release": {"type": "str", "required": True},
            "src": {"type": "path", "required": True},
            "checksum": {"type": "str"},
            "remove_src": {"type": "bool", "default": False},
            "strip_components": {"type": "int", "default": 0},
            "max_size": {"type": "bytes"},
            "shared_paths": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "service": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = Stage(module).run()
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    except PermissionError as error:
        module.fail_json(msg=lacking(error))
    except OSError as error:
        what = DISK_TROUBLE.get(error.errno or 0, error.strerror or str(error))
        module.fail_json(msg=f"app_base_dir: release {module.params['release']} was not staged in {module.params['path']}: {what}")
    except KeyError as error:
        module.fail_json(msg=f"app_user, app_group: this host has no such account ({error}); run the setup playbook first")
    finally:
        if module.params["remove_src"] and not module.check_mode:
            with contextlib.suppress(OSError):
                os.unlink(module.params["src"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
