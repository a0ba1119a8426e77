# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive is unpacked as it is meant, or refused; nothing outside its folder is touched."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import random
import shutil
import socket
import stat
import sys
import tarfile
import tempfile
import tracemalloc
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _archive
from hypothesis import given, settings
from hypothesis import strategies as st

GROUP = os.getgid()
MIB = 1 << 20
HAS_ZSTD = bool(importlib.util.find_spec("_zstd")) or bool(shutil.which("zstd"))
COMPRESSIONS = ["w", "w:gz", "w:bz2", "w:xz", *(["zstd"] if HAS_ZSTD else [])]


def entry(name: str, kind: bytes = tarfile.REGTYPE, **attributes: t.Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found


def archive(path: Path, *entries: tarfile.TarInfo, mode: str = "w:gz") -> str:
    with tarfile.open(path, "w" if mode == "zstd" else mode) as tar:  # type: ignore[call-overload]
        for item in entries:
            content = f"content of {item.name}".encode("utf-8", "surrogateescape") if item.isreg() else b""
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    if mode == "zstd":
        path.write_bytes(zstd_frame(path.read_bytes()))
    return str(path)


def zstd_frame(content: bytes) -> bytes:
    """A frame whose blocks are stored as they are, which takes no compressor to write."""
    blocks = [content[start : start + 0x20000] for start in range(0, len(content), 0x20000)] or [b""]
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x50"  # neither length nor checksum; a window of 1 MiB
    for number, block in enumerate(blocks):
        is_last = number == len(blocks) - 1
        frame += (len(block) << 3 | is_last).to_bytes(3, "little") + block
    return frame


class Zipped(t.NamedTuple):
    """An entry of a zip archive; a mode of 0 is what an archive has that knows none."""

    name: str
    mode: int = stat.S_IFREG | 0o644
    content: bytes = b""
    system: int = _archive.MADE_ON_UNIX


def zip_archive(path: Path, *entries: Zipped, compression: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w") as file:
        for item in entries:
            info = zipfile.ZipInfo(item.name)
            # The lower half is what DOS knows: that the file is one to archive.
            info.create_system, info.external_attr, info.compress_type = item.system, item.mode << 16 | 0x20, compression
            file.writestr(info, item.content)
    return str(path)


def written(folder: Path) -> int:
    """How many bytes of files are in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """What is in a folder: the bytes of files, the targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in folder.rglob("*"):
        found[str(path.relative_to(folder))] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "release").mkdir()
    return tmp_path / "release"


@pytest.mark.parametrize("mode", COMPRESSIONS)
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


@pytest.mark.parametrize("mode", COMPRESSIONS)
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


@pytest.mark.parametrize("entries", [[], [entry("./", tarfile.DIRTYPE)], [entry("shop/..", tarfile.DIRTYPE), entry("./.")]])
def test_an_archive_without_entries_is_refused(tmp_path: Path, folder: Path, entries: list[tarfile.TarInfo]) -> None:
    with pytest.raises(_archive.ArchiveError, match="empty"):
        _archive.unpack(archive(tmp_path / "a", *entries), str(folder), group=GROUP)


# Damage

DAMAGED_ZIPS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "stored": zipfile.ZIP_STORED}


def flip_a_bit_in_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def noise(size: int) -> bytes:
    """What no compressor makes smaller, the same each time."""
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("compression", DAMAGED_ZIPS.values(), ids=DAMAGED_ZIPS.keys())
def test_a_damaged_zip_archive_is_refused(tmp_path: Path, folder: Path, compression: int) -> None:
    source = zip_archive(tmp_path / "a", Zipped("file", content=noise(50_000)), compression=compression)
    flip_a_bit_in_the_middle(tmp_path / "a")
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(source, str(folder), group=GROUP)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_damaged_tar_archive_is_refused(tmp_path: Path, folder: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "a", mode) as tar:  # type: ignore[call-overload]
        item = entry("file", size=50_000)
        tar.addfile(item, io.BytesIO(noise(50_000)))
    flip_a_bit_in_the_middle(tmp_path / "a")
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(str(tmp_path / "a"), str(folder), group=GROUP)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.999])
def test_a_zip_archive_cut_off_is_refused(tmp_path: Path, folder: Path, part: float) -> None:
    source = Path(zip_archive(tmp_path / "a", *(Zipped(f"file{number}", content=noise(100)) for number in range(50))))
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * part)])
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(str(source), str(folder), group=GROUP)


def test_a_tar_archive_cut_off_between_two_entries_is_refused(tmp_path: Path, folder: Path) -> None:
    source = Path(archive(tmp_path / "a", entry("one"), entry("two"), mode="w"))
    source.write_bytes(source.read_bytes()[: 2 * tarfile.BLOCKSIZE])
    with pytest.raises(_archive.ArchiveError, match="its end is missing"):
        _archive.unpack(str(source), str(folder), group=GROUP)


# zstd


def test_without_zstd_the_host_is_told_what_to_install(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setattr(shutil, "which", lambda *_arguments, **_options: None)
    with pytest.raises(_archive.ArchiveError, match="install the package zstd"):
        _archive.unpack(archive(tmp_path / "a", entry("file"), mode="zstd"), str(folder), group=GROUP)


# Zip archives


def test_a_zip_archive_is_unpacked(tmp_path: Path, folder: Path) -> None:
    entries = [
        Zipped("bin/", stat.S_IFDIR | 0o750),
        Zipped("bin/shop", stat.S_IFREG | 0o755, b"program"),
        Zipped("lib/deep/file", content=b"content"),
        Zipped("now", stat.S_IFLNK | 0o777, b"lib/deep"),
        Zipped("python", stat.S_IFLNK | 0o777, b"/usr/bin/python3"),
    ]
    assert _archive.unpack(zip_archive(tmp_path / "a", *entries), str(folder), group=GROUP) == 5
    assert contents(folder) == {
        "bin": None,
        "bin/shop": b"program",
        "lib": None,
        "lib/deep": None,
        "lib/deep/file": b"content",
        "now": "lib/deep",
        "python": "/usr/bin/python3",
    }
    assert stat.S_IMODE((folder / "bin").stat().st_mode) == 0o750
    assert stat.S_IMODE((folder / "bin/shop").stat().st_mode) == 0o755


@pytest.mark.parametrize(("found", "kept"), [(0o6755, 0o755), (0o777, 0o755), (0o600, 0o640), (0o700, 0o750)])
def test_modes_in_a_zip_archive_follow_the_same_rules(tmp_path: Path, folder: Path, found: int, kept: int) -> None:
    _archive.unpack(zip_archive(tmp_path / "a", Zipped("file", stat.S_IFREG | found)), str(folder), group=GROUP)
    assert stat.S_IMODE((folder / "file").stat().st_mode) == kept


@pytest.mark.parametrize(("system", "mode"), [(0, 0), (0, stat.S_IFLNK | 0o200), (_archive.MADE_ON_UNIX, 0)])
def test_a_zip_archive_that_knows_no_modes_can_be_read_by_all(tmp_path: Path, folder: Path, system: int, mode: int) -> None:
    source = zip_archive(tmp_path / "a", Zipped("bin/", mode, system=system), Zipped("bin/shop", mode, b"program", system=system))
    _archive.unpack(source, str(folder), group=GROUP)
    assert stat.S_IMODE((folder / "bin").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "bin/shop").stat().st_mode) == 0o644
    assert (folder / "bin/shop").read_bytes() == b"program"


HOSTILE_ZIPS = {
    "a path upwards": [Zipped("../escaped")],
    "a path up from within": [Zipped("a/../../escaped")],
    "an absolute path": [Zipped("/tmp/escaped-by-an-archive")],
    "a folder upwards": [Zipped("../escaped/", stat.S_IFDIR | 0o755)],
    "a link upwards": [Zipped("link", stat.S_IFLNK, b"../escaped")],
    "a link to a secret": [Zipped("link", stat.S_IFLNK, b"/etc/shadow")],
    "a link to nowhere": [Zipped("link", stat.S_IFLNK, b"")],
    "a link to a name that is too long": [Zipped("link", stat.S_IFLNK, b"x" * 5000)],
    "a link with a zero byte": [Zipped("link", stat.S_IFLNK, b"file\0")],
    "a file through a link": [Zipped("out", stat.S_IFLNK, b".."), Zipped("out/escaped")],
    "a file over a link": [Zipped("out", stat.S_IFLNK, b"../escaped"), Zipped("out")],
    "no name": [Zipped("")],
    "a name that is too long": [Zipped("x" * 300)],
    "a device": [Zipped("device", stat.S_IFCHR | 0o666)],
    "a fifo": [Zipped("fifo", stat.S_IFIFO | 0o666)],
    "the same file twice": [Zipped("file"), Zipped("./file")],
    "a file that is a folder too": [Zipped("file"), Zipped("file/below")],
}


# Two entries of one name is what is tested.
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("entries", HOSTILE_ZIPS.values(), ids=HOSTILE_ZIPS.keys())
def test_a_hostile_zip_archive_is_refused_and_touches_nothing_outside(tmp_path: Path, folder: Path, entries: list[Zipped]) -> None:
    source = zip_archive(tmp_path / "a", *entries)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(source, str(folder), group=GROUP)
    assert sorted(os.listdir(tmp_path)) == before
    assert not os.path.exists("/tmp/escaped-by-an-archive")


def test_a_tar_archive_that_ends_in_a_zip_archive_is_still_a_tar_archive(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "app").mkdir()
    jar = Path(zip_archive(tmp_path / "app/app.jar", Zipped("Main.class")))
    with open(tmp_path / "a", "wb") as stream:
        _archive.pack(str(tmp_path / "app"), stream)
    _archive.unpack(str(tmp_path / "a"), str(folder), group=GROUP)
    assert contents(folder) == {"app.jar": jar.read_bytes()}


# Names


@pytest.mark.parametrize("name", ["BZh91AY", "PK\x03\x04", "\x1f\udc8b\x08", "(\udcb5/\udcfd"])
def test_the_first_name_of_a_tar_archive_may_look_like_a_compressed_one(tmp_path: Path, folder: Path, name: str) -> None:
    _archive.unpack(archive(tmp_path / "a", entry(name), mode="w"), str(folder), group=GROUP)
    assert os.path.isfile(os.path.join(folder, name))


@pytest.mark.parametrize("name", ["line\nbreak", "caf\udce9", "-rf", "*", "a b", "$(id)", "\\..\\..\\x"])
def test_an_odd_name_is_unpacked_as_it_is(tmp_path: Path, folder: Path, name: str) -> None:
    _archive.unpack(archive(tmp_path / "a", entry(name), entry(f"folder {name}/file")), str(folder), group=GROUP)
    assert sorted(os.listdir(folder)) == sorted([name, f"folder {name}"])


@given(st.lists(st.text(st.sampled_from("./a\\\n\udce9"), min_size=1), min_size=1, max_size=3), st.sampled_from(["tar", "zip"]), st.integers(0, 2))
def test_no_name_whatsoever_leads_outside(names: list[str], kind: str, strip: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (outer := Path(scratch, "outer")).mkdir()
        (folder := outer / "release").mkdir()
        if kind == "tar":
            source = archive(Path(scratch, "a"), *map(entry, names), mode="w")
        else:
            source = zip_archive(Path(scratch, "a"), *(Zipped(name.replace("\udce9", "é")) for name in dict.fromkeys(names)))
        with contextlib.suppress(_archive.ArchiveError):
            _archive.unpack(source, str(folder), group=GROUP, strip=strip)
        assert sorted(os.listdir(scratch)) == ["a", "outer"]
        assert os.listdir(outer) == ["release"]


# Leading folders


@pytest.mark.parametrize(("strip", "left"), [(0, "shop-1.0/app/file"), (1, "app/file"), (2, "file")])
@pytest.mark.parametrize("start", ["", "./", ".//"])
def test_leading_folders_are_stripped(tmp_path: Path, folder: Path, start: str, strip: int, left: str) -> None:
    source = archive(tmp_path / "a", entry(f"{start}shop-1.0", tarfile.DIRTYPE), entry(f"{start}shop-1.0/app/file"))
    _archive.unpack(source, str(folder), group=GROUP, strip=strip)
    assert (folder / left).read_text() == f"content of {start}shop-1.0/app/file"


def test_what_has_no_name_left_is_left_out_and_not_counted(tmp_path: Path, folder: Path) -> None:
    source = archive(tmp_path / "a", entry("README"), entry("shop", tarfile.DIRTYPE), entry("shop/file"))
    assert _archive.unpack(source, str(folder), group=GROUP, strip=1) == 1
    assert os.listdir(folder) == ["file"]


def test_more_leading_folders_than_there_are_leave_nothing_to_unpack(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(_archive.ArchiveError, match="empty below its 3 leading folders"):
        _archive.unpack(archive(tmp_path / "a", entry("shop/app/file")), str(folder), group=GROUP, strip=3)
    assert os.listdir(folder) == []


def test_a_hard_link_finds_its_file_without_the_leading_folders(tmp_path: Path, folder: Path) -> None:
    source = archive(tmp_path / "a", entry("shop/file"), entry("shop/lib/same", tarfile.LNKTYPE, linkname="shop/file"))
    _archive.unpack(source, str(folder), group=GROUP, strip=1)
    assert (folder / "lib/same").samefile(folder / "file")


@pytest.mark.parametrize("target", ["shop", "../outside", "shop/../../outside"])
def test_a_hard_link_reaches_nothing_else_without_the_leading_folders(tmp_path: Path, folder: Path, target: str) -> None:
    (tmp_path / "outside").write_text("precious")
    with pytest.raises(_archive.ArchiveError):
        _archive.unpack(archive(tmp_path / "a", entry("shop/link", tarfile.LNKTYPE, linkname=target)), str(folder), group=GROUP, strip=1)


# Size


class Zeros(io.RawIOBase):
    """As many zeros as anybody asks for."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def bomb_tar(path: Path) -> str:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.addfile(entry("zeros", size=200 * MIB), Zeros())
    return str(path)


def bomb_zip(path: Path) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open("zeros", "w") as stream:
        for _mebibyte in range(200):
            stream.write(bytes(MIB))
    return str(path)


@pytest.mark.parametrize("bomb", [bomb_tar, bomb_zip])
def test_what_grows_beyond_its_limit_is_refused_before_the_disk_is_full(tmp_path: Path, folder: Path, bomb: t.Callable[[Path], str]) -> None:
    with pytest.raises(_archive.ArchiveError, match="app_release_max_size"):
        _archive.unpack(bomb(tmp_path / "a"), str(folder), group=GROUP, max_size=10 * MIB)
    assert written(folder) <= 10 * MIB


def test_many_empty_files_have_a_size_too(tmp_path: Path, folder: Path) -> None:
    files = [entry(f"file{number}", tarfile.DIRTYPE) for number in range(11)]
    with pytest.raises(_archive.ArchiveError, match="app_release_max_size"):
        _archive.unpack(archive(tmp_path / "a", *files), str(folder), group=GROUP, max_size=10 * 4096)
    assert len(os.listdir(folder)) <= 10


def test_what_fits_exactly_is_unpacked(tmp_path: Path, folder: Path) -> None:
    source = zip_archive(tmp_path / "a", Zipped("file", content=bytes(1000)))
    assert _archive.unpack(source, str(folder), group=GROUP, max_size=4096 + 1000) == 1


def peak_of_refusal(source: Path, folder: Path) -> int:
    """How many bytes of memory it took to refuse an archive."""
    tracemalloc.start()
    try:
        with pytest.raises(_archive.ArchiveError):
            _archive.unpack(str(source), str(folder), group=GROUP)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HEADERS = [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]


@pytest.mark.parametrize("kind", HEADERS)
def test_a_huge_header_is_refused_without_taking_memory(tmp_path: Path, folder: Path, kind: bytes) -> None:
    size = 16 * MIB
    with tarfile.open(tmp_path / "a", "w:gz", compresslevel=1) as tar:
        tar.addfile(entry("header", kind, size=size), Zeros())
        tar.addfile(entry("file"))
    assert peak_of_refusal(tmp_path / "a", folder) < size / 4


def test_the_map_of_a_sparse_file_is_refused_without_taking_memory(tmp_path: Path, folder: Path) -> None:
    size = MIB // 4
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "file", "GNU.sparse.realsize": "1"}
    with tarfile.open(tmp_path / "a", "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as tar:
        # A map begins with its length, and each of its numbers stands on a line of its own.
        tar.addfile(entry("file", size=size, pax_headers=sparse), io.BytesIO((b"1000000000\n" + b"0\n" * size)[:size]))
    assert peak_of_refusal(tmp_path / "a", folder) < size


# Packing


def packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    _archive.pack(str(folder), stream)
    return stream.getvalue()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/shop").write_text("program")
    (folder / "bin/shop").chmod(0o755)
    (folder / "assets").mkdir()
    (folder / "now").symlink_to("bin")
    return folder


def test_the_same_folder_packs_to_the_same_bytes_whenever_and_wherever(app: Path, tmp_path: Path) -> None:
    before = packed(app)
    os.utime(app / "bin/shop", (0, 0))
    os.chown(app / "bin/shop", -1, max(os.getgroups() or [GROUP]))
    (app / "bin/shop").rename(app / "bin/other")
    (app / "bin/other").rename(app / "bin/shop")
    app.rename(tmp_path / "moved")
    assert packed(tmp_path / "moved") == before
    assert packed(Path(shutil.copytree(tmp_path / "moved", tmp_path / "copy", symlinks=True))) == before


def change_content(app: Path) -> None:
    (app / "bin/shop").write_text("another")


def change_mode(app: Path) -> None:
    (app / "bin/shop").chmod(0o700)


def change_name(app: Path) -> None:
    (app / "bin/shop").rename(app / "bin/store")


def change_link(app: Path) -> None:
    (app / "now").unlink()
    (app / "now").symlink_to("assets")


@pytest.mark.parametrize("change", [change_content, change_mode, change_name, change_link])
def test_another_folder_packs_to_other_bytes(app: Path, change: t.Callable[[Path], None]) -> None:
    before = packed(app)
    change(app)
    assert packed(app) != before


@pytest.mark.parametrize("name", [".git", ".hg", ".svn", "vendor/lib/.git"])
def test_what_version_control_keeps_for_itself_is_left_out(app: Path, name: str) -> None:
    (app / name).parent.mkdir(parents=True, exist_ok=True)
    before = packed(app)
    (app / name).mkdir()
    (app / name / "config").write_text("secret")
    assert packed(app) == before


def test_a_file_that_is_merely_called_alike_is_packed(app: Path, folder: Path, tmp_path: Path) -> None:
    (app / ".gitignore").write_text("*.log")
    (tmp_path / "a").write_bytes(packed(app))
    _archive.unpack(str(tmp_path / "a"), str(folder), group=GROUP)
    assert (folder / ".gitignore").read_text() == "*.log"


def test_a_folder_with_a_fifo_is_refused(app: Path) -> None:
    os.mkfifo(app / "fifo")
    with pytest.raises(_archive.ArchiveError, match="'fifo' is neither"):
        packed(app)


def test_a_socket_that_a_program_has_left_behind_is_passed_over(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(app)
    monkeypatch.chdir(app)  # a socket's path may have no more than 107 bytes
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("left.sock")
    assert packed(app) == before


NAMES = st.binary(min_size=1, max_size=12).map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")))
FILES = st.tuples(st.binary(max_size=700), st.sampled_from([0o644, 0o755, 0o640]))
TREES: st.SearchStrategy[t.Any] = st.recursive(
    FILES, lambda below: st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), below, max_size=4), max_leaves=8
)


def grow(folder: Path, tree: dict[str, t.Any]) -> None:
    for name, below in tree.items():
        if isinstance(below, dict):
            (folder / name).mkdir()
            grow(folder / name, below)
        else:
            (folder / name).write_bytes(below[0])
            (folder / name).chmod(below[1])


@settings(max_examples=50)
@given(st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), TREES, min_size=1, max_size=4))
def test_what_is_packed_is_unpacked_the_same(tree: dict[str, t.Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, "source"), Path(scratch, "target")
        source.mkdir()
        target.mkdir()
        grow(source, tree)
        Path(scratch, "a").write_bytes(packed(source))
        _archive.unpack(str(Path(scratch, "a")), str(target), group=GROUP)
        assert contents(target) == contents(source)
        assert packed(target) == packed(source)


def test_the_checksum_is_the_sha_256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(noise(3 * MIB // 2))
    assert _archive.checksum(str(tmp_path / "a")) == hashlib.sha256(noise(3 * MIB // 2)).hexdigest()
