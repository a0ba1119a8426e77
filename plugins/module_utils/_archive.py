# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking an archive that nobody trusts into a folder that it cannot leave, and packing one. Private to the collection.

What belongs here knows bytes, names and a folder, and trusts no word of an archive. What a release is, and where it goes,
belongs to _releases.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import errno
import functools
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import typing as t
import zipfile
import zlib

try:
    from compression import zstd  # type: ignore[import-not-found]
except ImportError:  # before Python 3.14
    zstd = None

# What a stream that is damaged raises.
DAMAGE: tuple[type[Exception], ...] = (OSError, EOFError, *((zstd.ZstdError,) if zstd else ()))
# Where a link may lead outside its release: to the system's own programs, as in a virtual environment.
SYSTEM_FOLDERS = ("/bin/", "/lib/", "/lib64/", "/opt/", "/usr/")
# What a version control system keeps for itself is no part of a release.
NOT_PACKED = frozenset({".git", ".hg", ".svn"})
# What the smallest entry takes on a disk, so that many empty ones count too.
LEAST_SIZE = 4096
BLOCK = 1 << 20
MADE_ON_UNIX = 3  # in a zip archive, which then knows modes and links


class ArchiveError(Exception):
    """Why an archive was refused."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of an archive, of whichever format."""

    name: str
    kind: str  # file, folder, symlink, hardlink, or what it is instead
    mode: int
    target: str = ""
    open: t.Callable[[], t.IO[bytes]] | None = None


def checksum(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def pack(folder: str, stream: t.IO[bytes]) -> None:
    """Writes a folder as a tar archive whose bytes depend on names, contents and modes alone.

    It is not compressed, since two versions of a compressor may differ. Raises ArchiveError for a folder that
    holds something else than files, folders and symbolic links.
    """

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if os.path.basename(entry.name) in NOT_PACKED:
            return None
        if not (entry.isfile() or entry.isdir() or entry.issym() or entry.islnk()):
            raise ArchiveError(f"{entry.name!r} is neither a file, a folder nor a link")
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as entries:
        for name in sorted(os.listdir(folder)):
            # A socket is what tarfile itself passes over.
            entries.add(os.path.join(folder, name), arcname=name, filter=plain)


def unpack(archive: str, folder: str, *, group: int, strip: int = 0, max_size: int | None = None) -> int:
    """Unpacks a tar or zip archive into an empty folder and returns the number of its entries.

    `strip` takes that many leading folders off each name, and what has no more of a name is left out. `max_size` is
    how many bytes everything may take on the disk. Everything belongs to the caller and to `group`, which may read
    but not write. Raises ArchiveError for a damaged archive and for an entry that reaches outside the folder or is
    neither file, folder nor link.
    """
    unpacking = _Unpacking(os.path.realpath(folder), group, strip, max_size)
    entries = _zip_entries if _is_zip(archive) else _tar_entries
    try:
        for entry in entries(archive):
            unpacking.add(entry)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"it cannot be unpacked: {error}") from error
    except (lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"it is damaged: {error}") from error
    except OSError as error:
        # bz2 raises one without a number; the others are about names that no file can have there.
        if error.errno in (None, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ):
            raise ArchiveError(f"it cannot be unpacked: {error}") from error
        raise
    if not os.listdir(folder):
        raise ArchiveError("it is empty" + (f" below its {strip} leading folders" if strip else ""))
    unpacking.check_links()
    return unpacking.count


# Formats


def _is_zip(archive: str) -> bool:
    # zipfile.is_zipfile looks at the end, where a tar archive may have a jar.
    return _beginning(archive)[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _beginning(archive: str) -> bytes:
    """The first bytes of an archive, by which its kind is known; none of a plain tar archive, which begins with a name of whatever letters."""
    with open(archive, "rb") as stream:
        block = stream.read(tarfile.BLOCKSIZE)
    return b"" if block[257:262] == b"ustar" else block


def _tar_entries(archive: str) -> t.Iterator[Entry]:
    with contextlib.closing(_decompressed(archive)) as stream:
        source = _Source(stream)
        # A stream is read once, front to back, so memory does not grow with the archive.
        with tarfile.open(fileobj=t.cast("t.IO[bytes]", source), mode="r|", tarinfo=_Info) as entries:
            for info in entries:
                kind = "file" if info.isreg() else "folder" if info.isdir() else "symlink" if info.issym() else "hardlink" if info.islnk() else "other"
                yield Entry(info.name, kind, info.mode, info.linkname, functools.partial(_content, entries, info))
                entries.members = []  # type: ignore[attr-defined]  # it would keep every entry
        if not source.ends_in_zeros():
            raise ArchiveError("its end is missing")


def _zip_entries(archive: str) -> t.Iterator[Entry]:
    with zipfile.ZipFile(archive) as entries:
        for info in entries.infolist():
            if not info.filename:
                raise ArchiveError("an entry has no name")
            mode = info.external_attr >> 16 if info.create_system == MADE_ON_UNIX else 0
            if info.is_dir():
                yield Entry(info.filename, "folder", stat.S_IMODE(mode) or 0o755)
            elif stat.S_ISLNK(mode):
                with entries.open(info) as stream:
                    yield Entry(info.filename, "symlink", 0o777, os.fsdecode(stream.read(4096)))
            else:
                kind = "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "other"
                yield Entry(info.filename, kind, stat.S_IMODE(mode) or 0o644, open=functools.partial(entries.open, info))


def _decompressed(archive: str) -> t.IO[bytes]:
    start = _beginning(archive)
    openers: dict[bytes, t.Callable[..., t.Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"\x28\xb5\x2f\xfd": _zstd}
    opener = next((opener for magic, opener in openers.items() if start.startswith(magic)), open)
    return t.cast("t.IO[bytes]", opener(archive, "rb"))


def _zstd(archive: str, mode: str) -> t.Any:
    if zstd:
        return zstd.open(archive, mode)
    program = shutil.which("zstd")
    if not program:
        raise ArchiveError("it is compressed with zstd, which this host lacks; install the package zstd, or compress it with gzip or xz")
    return _ZstdProgram(program, archive)


class _ZstdProgram:
    """What the program zstd makes of an archive."""

    def __init__(self, program: str, archive: str) -> None:
        # run_command has all output at once, and this may be larger than the memory.
        # pylint: disable-next=ansible-bad-function
        self._process = subprocess.Popen([program, "--decompress", "--stdout", "--quiet", "--", archive], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def read(self, size: int) -> bytes:
        block = t.cast("t.IO[bytes]", self._process.stdout).read(size)
        if not block and self._process.wait() != 0:
            raise EOFError(f"zstd ended with status {self._process.returncode}")
        return block

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _content(entries: tarfile.TarFile, info: tarfile.TarInfo) -> t.IO[bytes]:
    return t.cast("t.IO[bytes]", entries.extractfile(info))  # None only for what is no file


class _Info(tarfile.TarInfo):
    """An entry whose names fit into memory: tarfile reads them whole, however long they say they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Info:
        info = super().frombuf(buf, encoding, errors)
        if info.size > BLOCK and info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            raise ArchiveError(f"an entry has a name or attributes of {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            cls._refuse_sparse()
        return info

    def _proc_gnusparse_10(self, *_arguments: object) -> None:
        # tarfile would read a map of any length into memory.
        self._refuse_sparse()

    @staticmethod
    def _refuse_sparse() -> t.NoReturn:
        raise ArchiveError("it has a sparse file; make it without --sparse")


class _Source:
    """A stream that remembers how it ended: tarfile takes one that was cut off between two entries for complete."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._stream = stream
        self._tail = b""

    def read(self, size: int) -> bytes:
        try:
            block = self._stream.read(size)
        except DAMAGE as error:
            # gzip and bz2 raise these for damage, and only here can they be told from a disk that is full.
            raise ArchiveError(f"it cannot be unpacked: {error}") from error
        seen = self._tail + block
        first = max(0, len(seen) - tarfile.BLOCKSIZE)
        self._tail = seen[first:]
        return block

    def ends_in_zeros(self) -> bool:
        while self.read(BLOCK):
            pass
        return self._tail == bytes(tarfile.BLOCKSIZE)


# Entries


class _Unpacking:
    """What has been unpacked so far, and the rules for what comes next."""

    def __init__(self, folder: str, group: int, strip: int, max_size: int | None) -> None:
        self.folder = folder
        self.group = group
        self.strip = strip
        self.max_size = max_size
        self.size = 0
        self.count = 0

    def add(self, entry: Entry) -> None:
        name = self._stripped(entry.name)
        if name is None:
            return
        self.count += 1
        self._grow(LEAST_SIZE)
        path = self._inside(name)
        if path == self.folder:
            return
        self._make_parents(path)
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        if os.path.lexists(path) and not (is_folder and entry.kind == "folder"):
            raise ArchiveError(f"{entry.name!r} occurs twice in it")
        if entry.kind == "folder":
            if not is_folder:
                os.mkdir(path)
        elif entry.kind == "file":
            self._write(path, t.cast("t.Callable[[], t.IO[bytes]]", entry.open))
        elif entry.kind == "symlink":
            os.symlink(entry.target, path)
            os.lchown(path, -1, self.group)
            return
        elif entry.kind == "hardlink":
            linked = self._inside(self._stripped(entry.target) or "")
            if os.path.realpath(linked) != linked or not os.path.isfile(linked):
                raise ArchiveError(f"{entry.name!r} is a hard link to {entry.target!r}, which is no file of it")
            os.link(linked, path)
            return
        else:
            raise ArchiveError(f"{entry.name!r} is neither a file, a folder nor a link")
        os.chown(path, -1, self.group)
        # What the owner may read the app may read; nobody else may write; no setuid. A folder stays passable.
        mode = entry.mode & 0o755 | (0o700 if entry.kind == "folder" else 0o400)
        os.chmod(path, mode | (mode & 0o500) >> 3)

    def check_links(self) -> None:
        """Refuses links that lead outside, now that all that they may lead to is there."""
        for parent, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                path = os.path.join(parent, name)
                if not os.path.islink(path):
                    continue
                target = os.readlink(path)
                leads_to = os.path.realpath(path) + "/"
                if not leads_to.startswith((self.folder + "/", *SYSTEM_FOLDERS)):
                    raise ArchiveError(f"{os.path.relpath(path, self.folder)!r} is a link to {target!r}, outside the release")

    def _stripped(self, name: str) -> str | None:
        if not self.strip:
            return name
        parts = [part for part in name.split("/") if part not in ("", ".")]
        del parts[: self.strip]
        return "/".join(parts) or None

    def _grow(self, size: int) -> None:
        self.size += size
        if self.max_size is not None and self.size > self.max_size:
            raise ArchiveError(f"unpacked it is larger than app_release_max_size ({self.max_size} bytes)")

    def _write(self, path: str, opener: t.Callable[[], t.IO[bytes]]) -> None:
        with opener() as source, open(path, "xb") as target:
            for block in iter(lambda: source.read(BLOCK), b""):
                self._grow(len(block))
                target.write(block)

    def _inside(self, name: str) -> str:
        path = os.path.normpath(os.path.join(self.folder, name))
        if name.startswith("/") or not (path + "/").startswith(self.folder + "/"):
            raise ArchiveError(f"{name!r} leads outside the release")
        return path

    def _make_parents(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent == self.folder:
            return
        try:
            kind = os.lstat(parent).st_mode
        except FileNotFoundError:
            self._make_parents(parent)
            os.mkdir(parent)
            os.chmod(parent, 0o755)
            os.chown(parent, -1, self.group)
            return
        if not stat.S_ISDIR(kind):
            raise ArchiveError(f"{os.path.relpath(path, self.folder)!r} leads through something that is not a folder")
        self._make_parents(parent)
