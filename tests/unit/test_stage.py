# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive or a folder becomes a release, or nothing does."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import tarfile
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases
from ansible_collections.holdfast.systemd.plugins.modules.release_stage import Stage

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


class Host:
    """A host with the app's folder, and an app to stage there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "srv"
        self.shared = self.path / "shared"
        self.build = folder / "build"
        self.path.mkdir()
        self.build.mkdir()
        self.write("bin/shop", "program")

    def write(self, name: str, text: str) -> None:
        (self.build / name).parent.mkdir(parents=True, exist_ok=True)
        (self.build / name).write_text(text)

    def archive(self) -> str:
        """What was written so far, as an archive."""
        path = self.build.parent / "shop.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(self.build, arcname=".")
        return str(path)

    def stage(self, release: str = "1", *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        plain = {"path": str(self.path), "release": release, "src": str(self.build), "checksum": None, "user": USER, "group": GROUP, "service": None}
        parameters = {**plain, "remove_src": False, "strip_components": 0, "max_size": None, "shared_paths": [], **options}
        return Stage(t.cast("t.Any", SimpleNamespace(params=parameters, check_mode=check_mode))).run()

    def release(self, release: str = "1") -> Path:
        return self.path / "releases" / release

    def staged(self) -> list[str]:
        return [manifest["id"] for manifest in Releases(str(self.path)).all()]

    def leftovers(self) -> list[str]:
        """All that is no complete release."""
        return [path.name for path in [*self.path.glob(".*"), *self.path.glob("releases/*")] if path.name not in self.staged()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# What is staged


def test_an_archive_becomes_a_release(host: Host) -> None:
    archive = host.archive()
    result = host.stage(src=archive)
    assert (host.release() / "bin/shop").read_text() == "program"
    assert host.staged() == ["1"]
    assert result["changed"]
    assert result["folder"] == str(host.release())
    assert result["checksum"] == hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    assert result["entries"] == 3  # the folder itself, bin, and bin/shop


def test_a_folder_becomes_a_release_without_what_version_control_keeps(host: Host) -> None:
    host.write(".git/config", "secret")
    host.stage()
    assert (host.release() / "bin/shop").read_text() == "program"
    assert not (host.release() / ".git").exists()
    assert host.leftovers() == []


def test_leading_folders_are_taken_off(host: Host) -> None:
    host.stage(strip_components=1)
    assert (host.release() / "shop").read_text() == "program"


def test_the_same_content_under_the_same_id_is_staged_once(host: Host) -> None:
    host.stage()
    os.utime(host.build / "bin/shop", (0, 0))
    inode = host.release().stat().st_ino
    assert not host.stage()["changed"]
    assert host.release().stat().st_ino == inode


def test_other_content_under_the_same_id_is_refused(host: Host) -> None:
    host.stage()
    host.write("bin/shop", "another program")
    with pytest.raises(ReleaseError, match="app_release_id: release 1 is already on this host with other content"):
        host.stage()
    assert (host.release() / "bin/shop").read_text() == "program"


def test_an_archive_that_is_here_already_need_not_come_again(host: Host) -> None:
    archive = host.archive()
    checksum = host.stage(src=archive)["checksum"]
    os.unlink(archive)
    assert not host.stage(src=archive, remove_src=True, checksum=checksum)["changed"]
    with pytest.raises(ReleaseError, match="other content"):
        host.stage(src=archive, remove_src=True, checksum="0" * 64)


@pytest.mark.parametrize("write", [str, "sha256:{}".format, str.upper])
def test_a_checksum_may_be_written_in_several_ways(host: Host, write: t.Callable[[str], str]) -> None:
    archive = host.archive()
    assert host.stage(src=archive, checksum=write(_archive.checksum(archive)))["changed"]


# What is refused leaves nothing behind


def test_an_archive_with_another_checksum_is_refused(host: Host) -> None:
    with pytest.raises(ReleaseError, match=f"app_release_checksum: .* not {'0' * 64}"):
        host.stage(src=host.archive(), checksum="0" * 64)
    assert host.leftovers() == host.staged() == []


def test_an_archive_that_is_not_there_is_named(host: Host) -> None:
    with pytest.raises(ReleaseError, match="app_release_src: /none does not exist on this host"):
        host.stage(src="/none")


def test_an_archive_that_reaches_outside_is_refused(host: Host) -> None:
    (host.build / "secret").symlink_to("/etc/shadow")
    with pytest.raises(ReleaseError, match="app_release_src: the archive was refused: 'secret' is a link to '/etc/shadow'"):
        host.stage()
    assert host.leftovers() == host.staged() == []


def test_a_release_that_takes_more_room_than_it_may_is_refused(host: Host) -> None:
    host.write("data", "x" * 100_000)
    with pytest.raises(ReleaseError, match="app_release_max_size"):
        host.stage(max_size=50_000)
    assert host.leftovers() == host.staged() == []


def test_a_folder_that_holds_a_fifo_is_refused(host: Host) -> None:
    os.mkfifo(host.build / "fifo")
    with pytest.raises(ReleaseError, match="cannot be a release: 'fifo' is neither"):
        host.stage()
    assert host.leftovers() == host.staged() == []


@pytest.mark.parametrize("release", ["../1", ".1", "a b", ""])
def test_an_id_that_could_leave_the_folder_is_refused(host: Host, release: str) -> None:
    with pytest.raises(ReleaseError, match="app_release_id"):
        host.stage(release)
    assert os.listdir(host.path) == []


def test_a_group_that_this_host_lacks_leaves_nothing(host: Host) -> None:
    with pytest.raises(KeyError):
        host.stage(group="no-such-group")
    assert host.leftovers() == host.staged() == []


# Check mode


def test_check_mode_tells_what_would_be_staged_and_touches_nothing(host: Host) -> None:
    archive = host.archive()
    result = host.stage(src=archive, check_mode=True)
    assert result["changed"]
    assert result["diff"]["after"] == f"a release made of {_archive.checksum(archive)}\n"
    assert host.stage(check_mode=True)["changed"]
    assert os.listdir(host.path) == []


def test_check_mode_takes_an_archive_that_would_be_brought_for_granted(host: Host) -> None:
    assert host.stage(src="/none", remove_src=True, check_mode=True)["changed"]
    assert host.stage(src="/none", remove_src=True, checksum="0" * 64, check_mode=True)["checksum"] == "0" * 64


def test_check_mode_names_an_archive_that_nobody_would_bring(host: Host) -> None:
    with pytest.raises(ReleaseError, match="app_release_src: /none does not exist on this host"):
        host.stage(src="/none", check_mode=True)


def test_check_mode_refuses_what_would_be_refused(host: Host) -> None:
    host.stage()
    host.write("bin/shop", "another program")
    with pytest.raises(ReleaseError, match="other content"):
        host.stage(check_mode=True)


# What the releases share


def test_what_a_release_brings_is_the_first_content_of_what_is_shared(host: Host) -> None:
    host.write("public/uploads/logo.svg", "logo")
    host.stage(shared_paths=["public/uploads"])
    assert os.readlink(host.release() / "public/uploads") == str(host.shared / "public/uploads")
    assert (host.shared / "public/uploads/logo.svg").read_text() == "logo"


def test_a_shared_file_is_a_file(host: Host) -> None:
    host.write("settings.ini", "plain")
    host.stage(shared_paths=["settings.ini"])
    assert (host.release() / "settings.ini").is_symlink()
    assert (host.shared / "settings.ini").read_text() == "plain"


def test_what_is_shared_outlives_the_releases(host: Host) -> None:
    host.write("uploads/logo.svg", "logo")
    host.stage("1", shared_paths=["uploads"])
    (host.shared / "uploads/cat.jpg").write_text("cat")
    host.write("uploads/logo.svg", "another logo")
    host.stage("2", shared_paths=["uploads"])
    assert sorted(os.listdir(host.release("2") / "uploads")) == ["cat.jpg", "logo.svg"]
    assert (host.release("2") / "uploads/logo.svg").read_text() == "logo"


def test_what_nobody_brings_is_shared_as_an_empty_folder(host: Host) -> None:
    host.stage(shared_paths=["var/cache"])
    assert os.listdir(host.release() / "var/cache") == []
    assert (host.shared / "var/cache").is_dir()


def test_a_link_to_what_is_shared_can_be_reached_whatever_the_umask(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.stage(shared_paths=["var/cache"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((host.release() / "var").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["/etc", "..", "../x", "a/../../x", ".", "", " "])
def test_a_shared_path_outside_the_release_is_refused(host: Host, path: str) -> None:
    with pytest.raises(ReleaseError, match=r"app_shared_paths: .* must be a path inside the release"):
        host.stage(shared_paths=[path])
    assert os.listdir(host.path) == []


def test_a_shared_path_through_a_link_is_refused(host: Host) -> None:
    (host.build / "public").symlink_to("bin")
    with pytest.raises(ReleaseError, match="app_shared_paths: public/uploads leads through a link"):
        host.stage(shared_paths=["public/uploads"])
    assert host.leftovers() == host.staged() == []
