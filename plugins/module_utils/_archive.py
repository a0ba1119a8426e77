# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking an archive that nobody trusts into a folder that it cannot leave. Private to the collection."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import typing as t
import zlib

# Where a link may lead outside its release: to the system's own programs, as in a virtual environment.
SYSTEM_FOLDERS = ("/bin/", "/lib/", "/lib64/", "/opt/", "/usr/")


COMPRESSIONS: dict[bytes, t.Callable[..., t.Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class ArchiveError(Exception):
    """Why an archive was refused."""


def checksum(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: str, folder: str, *, group: int) -> int:
    """Unpacks a tar archive into an empty folder and returns the number of its entries.

    Everything belongs to the caller and to `group`, which may read but not write. Raises ArchiveError for
    a damaged archive and for an entry that reaches outside the folder or is neither file, folder nor link.
    """
    folder = os.path.realpath(folder)
    count = 0
    try:
        with _open(archive) as stream:
            source = _Source(stream)
            # A stream is read once, front to back, so memory does not grow with the archive.
            with tarfile.open(fileobj=t.cast("t.IO[bytes]", source), mode="r|") as entries:
                for entry in entries:
                    _extract(entries, entry, folder, group)
                    entries.members = []  # type: ignore[attr-defined]  # it would keep every entry
                    count += 1
            if not source.ends_in_zeros():
                raise ArchiveError("its end is missing")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"it cannot be unpacked: {error}") from error
    except (lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"it is damaged: {error}") from error
    if count == 0:
        raise ArchiveError("it is empty")
    _check_links(folder)
    return count


def _open(archive: str) -> t.IO[bytes]:
    with open(archive, "rb") as stream:
        start = stream.read(6)
    for magic, opener in COMPRESSIONS.items():
        if start.startswith(magic):
            return opener(archive, "rb")
    return open(archive, "rb")


class _Source:
    """A stream that remembers how it ended: tarfile takes one that was cut off between two entries for complete."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._stream = stream
        self._tail = b""

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._tail = (self._tail + block)[-tarfile.BLOCKSIZE :]
        return block

    def ends_in_zeros(self) -> bool:
        while self.read(1 << 20):
            pass
        return self._tail == bytes(tarfile.BLOCKSIZE)


def _extract(entries: tarfile.TarFile, entry: tarfile.TarInfo, folder: str, group: int) -> None:
    path = _inside(folder, entry.name)
    if path == folder:
        return
    _make_parents(path, folder, group)
    if entry.isdir():
        if not os.path.isdir(path) or os.path.islink(path):
            os.mkdir(path)
    elif os.path.lexists(path):
        raise ArchiveError(f"{entry.name!r} occurs twice in it")
    elif entry.isreg():
        source = t.cast("t.IO[bytes]", entries.extractfile(entry))  # None only for what is no file
        with open(path, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    elif entry.issym():
        os.symlink(entry.linkname, path)
        os.lchown(path, -1, group)
        return
    elif entry.islnk():
        linked = _inside(folder, entry.linkname)
        if os.path.realpath(linked) != linked or not os.path.isfile(linked):
            raise ArchiveError(f"{entry.name!r} is a hard link to {entry.linkname!r}, which is no file of it")
        os.link(linked, path)
        return
    else:
        raise ArchiveError(f"{entry.name!r} is neither a file, a folder nor a link")
    os.chown(path, -1, group)
    # What the owner may read the app may read; nobody else may write; no setuid. A folder stays passable.
    mode = entry.mode & 0o755 | (0o700 if entry.isdir() else 0o400)
    os.chmod(path, mode | (mode & 0o500) >> 3)


def _inside(folder: str, name: str) -> str:
    path = os.path.normpath(os.path.join(folder, name))
    if name.startswith("/") or not (path + "/").startswith(folder + "/"):
        raise ArchiveError(f"{name!r} leads outside the release")
    return path


def _make_parents(path: str, folder: str, group: int) -> None:
    parent = os.path.dirname(path)
    if parent == folder:
        return
    try:
        kind = os.lstat(parent).st_mode
    except FileNotFoundError:
        _make_parents(parent, folder, group)
        os.mkdir(parent)
        os.chmod(parent, 0o755)
        os.chown(parent, -1, group)
        return
    if not stat.S_ISDIR(kind):
        raise ArchiveError(f"{os.path.relpath(path, folder)!r} leads through something that is not a folder")
    _make_parents(parent, folder, group)


def _check_links(folder: str) -> None:
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                continue
            target: str = os.readlink(path)
            leads_to = os.path.realpath(path) + "/"
            if not leads_to.startswith((folder + "/", *SYSTEM_FOLDERS)):
                raise ArchiveError(f"{os.path.relpath(path, folder)!r} is a link to {target!r}, outside the release")
