# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive is unpacked as it is meant, or refused; nothing outside its folder is touched."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive

GROUP = os.getgid()


def entry(name: str, kind: bytes = tarfile.REGTYPE, **attributes: t.Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found


def archive(path: Path, *entries: tarfile.TarInfo, mode: str = "w:gz") -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for item in entries:
            content = f"content of {item.name}".encode() if item.isreg() else b""
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "release").mkdir()
    return tmp_path / "release"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_compression_is_unpacked(tmp_path: Path, folder: Path, mode: str) -> None:
    source = archive(tmp_path / "a", entry("./bin", tarfile.DIRTYPE), entry("./bin/shop", mode=0o755), entry("lib/deep/file"), mode=mode)
    assert _archive.unpack(source, str(folder), group=GROUP) == 3
    assert (folder / "bin/shop").read_text() == "content of ./bin/shop"
    assert (folder / "lib/deep/file").exists()


@pytest.mark.parametrize(("found", "kept"), [(0o755, 0o755), (0o4755, 0o755), (0o777, 0o755), (0o600, 0o640), (0o664, 0o644), (0o700, 0o750), (0o000, 0o440)])
def test_nobody_but_the_owner_may_write_and_the_group_may_read_what_the_owner_may(tmp_path: Path, folder: Path, found: int, kept: int) -> None:
    _archive.unpack(archive(tmp_path / "a", entry("file", mode=found)), str(folder), group=GROUP)
    assert stat.S_IMODE((folder / "file").stat().st_mode) == kept


def test_a_folder_stays_passable(tmp_path: Path, folder: Path) -> None:
    _archive.unpack(archive(tmp_path / "a", entry("bin", tarfile.DIRTYPE, mode=0o2600), entry("bin/shop")), str(folder), group=GROUP)
    assert stat.S_IMODE((folder / "bin").stat().st_mode) == 0o750


def test_links_inside_and_to_the_system_are_kept(tmp_path: Path, folder: Path) -> None:
    links = [
        entry("now", tarfile.SYMTYPE, linkname="lib/v1"),
        entry("venv/bin/python3", tarfile.SYMTYPE, linkname="/usr/bin/python3"),
        entry("lib/v1/up", tarfile.SYMTYPE, linkname="../../file"),
        entry("same", tarfile.LNKTYPE, linkname="file"),
    ]
    _archive.unpack(archive(tmp_path / "a", entry("file"), *links), str(folder), group=GROUP)
    assert os.readlink(folder / "now") == "lib/v1"
    assert (folder / "lib/v1/up").read_text() == "content of file"
    assert (folder / "same").samefile(folder / "file")


HOSTILE = {
    "a path upwards": [entry("../escaped")],
    "a path up from within": [entry("a/../../escaped")],
    "an absolute path": [entry("/tmp/escaped-by-an-archive")],
    "a link upwards": [entry("link", tarfile.SYMTYPE, linkname="../escaped")],
    "a link to a secret": [entry("link", tarfile.SYMTYPE, linkname="/etc/shadow")],
    "a link past the system": [entry("link", tarfile.SYMTYPE, linkname="/usr/../etc/shadow")],
    "a link by way of another": [
        entry("d/e/a", tarfile.SYMTYPE, linkname="../.."),
        entry("b", tarfile.SYMTYPE, linkname="d/e/a/../escaped"),
    ],
    "a file through a link": [entry("out", tarfile.SYMTYPE, linkname="/usr/lib"), entry("out/escaped")],
    "a folder through a link": [entry("out", tarfile.SYMTYPE, linkname=".."), entry("out/escaped", tarfile.DIRTYPE)],
    "a file over a link": [entry("out", tarfile.SYMTYPE, linkname="../escaped"), entry("out")],
    "a folder over a link": [entry("out", tarfile.SYMTYPE, linkname="/usr/lib"), entry("out", tarfile.DIRTYPE)],
    "a hard link upwards": [entry("link", tarfile.LNKTYPE, linkname="../outside")],
    "a hard link through a link": [entry("out", tarfile.SYMTYPE, linkname=".."), entry("link", tarfile.LNKTYPE, linkname="out/outside")],
    "a hard link to nothing": [entry("link", tarfile.LNKTYPE, linkname="nothing")],
    "a device": [entry("device", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a fifo": [entry("fifo", tarfile.FIFOTYPE)],
    "the same file twice": [entry("file"), entry("file")],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_touches_nothing_outside(tmp_path: Path, folder: Path, entries: list[tarfile.TarInfo]) -> None:
    (tmp_path / "outside").write_text("precious")
    source = archive(tmp_path / "a", *entries)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(source, str(folder), group=GROUP)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "outside").read_text() == "precious"
    assert not os.path.exists("/tmp/escaped-by-an-archive")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_cut_in_half_is_refused(tmp_path: Path, folder: Path, mode: str) -> None:
    files = [entry(f"file{number}") for number in range(50)]
    source = Path(archive(tmp_path / "a", *files, mode=mode))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(str(source), str(folder), group=GROUP)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, b"\x1f\x8b\x08" + b"\0" * 20])
def test_what_is_no_archive_is_refused(tmp_path: Path, folder: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(str(tmp_path / "a"), str(folder), group=GROUP)


def test_an_archive_without_entries_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(_archive.ArchiveError, match="empty"):
        _archive.unpack(archive(tmp_path / "a"), str(folder), group=GROUP)
