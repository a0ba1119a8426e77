# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door to an app's folder: releases, the link `current`, manifests, history, lock. Private to the collection.

    /srv/shop/releases/<id>/               a release, complete from the moment it has this name
    /srv/shop/releases/<id>/.release.json  its manifest
    /srv/shop/releases/.staging-*          a release in the making; an orphan once nobody holds its lock
    /srv/shop/releases/.removed-*          a release on its way out, no longer one from the moment it has this name
    /srv/shop/shared/                      what all releases share; the app may write here
    /srv/shop/current                      a link to the live release
    /srv/shop/.deploy/lock                 held by whoever switches; the kernel frees it
    /srv/shop/.deploy/pending.json         the switch under way; left behind only by one that died
    /srv/shop/.deploy/history.jsonl        how each switch ended, a line each

What belongs here knows the folder and nothing of systemd. Root reads and writes here with the rights of whoever owns `releases`:
that may be a deploy user, and a link that he had planted would lead root elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import functools
import glob
import json
import os
import re
import shutil
import tempfile
import time
import typing as t

from ansible_collections.holdfast.systemd.plugins.module_utils import _files
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import acting_as_owner

# An id is the name of a folder and of a systemd instance at once, hence the narrow alphabet.
RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MANIFEST = ".release.json"
STAGING = ".staging-"
REMOVED = ".removed-"
ABANDONED = 24 * 3600
PASSABLE = 0o055
WRITABLE_FOR_OTHERS = 0o022


class ReleaseError(Exception):
    """What is wrong with a release or its folder, and what to do."""


class LockedError(ReleaseError):
    """Somebody else has the lock; the text says who."""


def check_id(release: str) -> str:
    """Returns a release id, or raises ReleaseError if it cannot be one."""
    if not RELEASE_ID.match(release):
        raise ReleaseError(f"app_release_id: {release!r} cannot be a release id; use up to 64 letters, digits, '.', '_' and '-', with a letter or digit first")
    return release


Method = t.TypeVar("Method", bound=t.Callable[..., t.Any])


def _as_owner(method: Method) -> Method:
    """A method of Releases that opens files."""

    @functools.wraps(method)
    def with_his_rights(self: Releases, *arguments: t.Any, **named: t.Any) -> t.Any:
        with self.acting_as_owner():
            return method(self, *arguments, **named)

    return t.cast("Method", with_his_rights)


class Releases:
    """The releases of one app, kept below its folder (for instance /srv/shop)."""

    def __init__(self, folder: str) -> None:
        self.folder = folder = os.path.normpath(folder)
        self.releases = os.path.join(folder, "releases")
        self.shared = os.path.join(folder, "shared")
        self.current_link = os.path.join(folder, "current")
        self._deploy = os.path.join(folder, ".deploy")
        self._pending = os.path.join(self._deploy, "pending.json")
        self._history = os.path.join(self._deploy, "history.jsonl")

    @contextlib.contextmanager
    def acting_as_owner(self) -> t.Iterator[None]:
        """Does what follows with no more rights than those of the owner of the releases."""
        with contextlib.ExitStack() as rights:
            try:
                rights.enter_context(acting_as_owner(self.releases))
            except FileNotFoundError:
                self._refuse_foreign_folder()
            yield

    def _refuse_foreign_folder(self) -> None:
        """Raises ReleaseError where root would begin in a folder in which others may put what they like."""
        with contextlib.suppress(FileNotFoundError):
            if os.geteuid() == 0 and os.stat(self.folder).st_mode & WRITABLE_FOR_OTHERS:
                raise ReleaseError(f"app_deploy_user: {self.releases} is not there, so nobody owns the releases; run the setup playbook")

    # Releases

    def path(self, release: str) -> str:
        """The folder of a release, whether it exists or not."""
        return os.path.join(self.releases, check_id(release))

    @_as_owner
    def manifest(self, release: str) -> dict[str, t.Any] | None:
        """What was staged under this id, or None if no complete release has it."""
        with contextlib.suppress(PermissionError):  # what nobody here may read, nobody has staged here
            return _read_json(os.path.join(self.path(release), MANIFEST))
        return None

    def all(self) -> list[dict[str, t.Any]]:
        """The manifests of all complete releases, oldest first."""
        try:
            names = [name for name in os.listdir(self.releases) if RELEASE_ID.match(name)]
        except FileNotFoundError:
            return []
        manifests = [manifest for manifest in map(self.manifest, names) if manifest]
        return sorted(manifests, key=lambda manifest: (manifest["staged_at"], manifest["id"]))

    # Staging

    @contextlib.contextmanager
    def staging(self, release: str) -> t.Iterator[str]:
        """A hidden folder to build a release in; it is gone afterwards unless `publish` took it."""
        handle, folder = self._claim(check_id(release))
        try:
            yield folder
        finally:
            with self.acting_as_owner():
                shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)

    @_as_owner
    def _claim(self, release: str) -> tuple[int, str]:
        """A new folder to stage in, and the lock on it that says that somebody is at work there; whoever dies lets it go."""
        os.makedirs(self.releases, mode=0o755, exist_ok=True)
        if os.stat(self.releases).st_mode & PASSABLE != PASSABLE:  # it was made under a narrow umask
            os.chmod(self.releases, 0o755)
        while True:
            folder = tempfile.mkdtemp(prefix=f"{STAGING}{release}-", dir=self.releases)
            with contextlib.suppress(FileNotFoundError):
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.path.exists(folder):
                    return handle, folder
                # Another staging took it for an orphan before it was locked.
                os.close(handle)

    @_as_owner
    def publish(self, staging: str, manifest: dict[str, t.Any]) -> None:
        """Makes a staged folder a release: durable first, then visible, in one rename."""
        target = self.path(manifest["id"])
        _files.write_atomically(os.path.join(staging, MANIFEST), json.dumps(manifest, sort_keys=True) + "\n")
        _files.sync_filesystem(staging)
        try:
            os.rename(staging, target)
        except OSError as error:
            raise ReleaseError(f"{target} exists, but was not staged by this collection; remove it, or choose another app_release_id") from error
        _files.sync_folder(self.releases)

    def discard_orphans(self) -> None:
        """Removes what stagings that died have left behind, and nothing that somebody works on."""
        for archive in glob.glob(os.path.join(glob.escape(self.folder), ".incoming-*")):
            # Nothing says whether somebody still brings it, except that nobody does for a whole day.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if time.time() - os.lstat(archive).st_mtime > ABANDONED:
                    os.unlink(archive)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.releases):
                if name.startswith(STAGING):
                    self._discard_orphan(os.path.join(self.releases, name))

    @_as_owner
    def _discard_orphan(self, folder: str) -> None:
        with contextlib.suppress(OSError):  # somebody works on it, or it is no folder of ours
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)

    # Removal

    @_as_owner
    def hide(self, release: str) -> None:
        """Takes a release out of sight in one rename; `discard_hidden` then takes its time."""
        os.rename(self.path(release), tempfile.mkdtemp(prefix=f"{REMOVED}{release}-", dir=self.releases))

    @_as_owner
    def discard_hidden(self) -> list[str]:
        """Deletes what was taken out of sight, also by runs that died; returns what could not be deleted, and why."""
        troubles: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.releases)):
                if name.startswith(REMOVED):
                    folder = os.path.join(self.releases, name)
                    try:
                        shutil.rmtree(folder)
                    except FileNotFoundError:
                        pass  # another run deletes it too
                    except OSError as error:
                        troubles.append(f"{folder}: {error.strerror or error}")
        return troubles

    # The link

    def current(self) -> str | None:
        """The id of the live release, or None before the first switch."""
        try:
            target = os.readlink(self.current_link)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ReleaseError(f"{self.current_link} is not a symbolic link; move it away, then deploy again") from error
        parent, release = os.path.split(os.path.normpath(os.path.join(self.folder, target)))
        if parent != self.releases or not RELEASE_ID.match(release):
            raise ReleaseError(f"{self.current_link} points to {target}, which is no release of this app; remove the link, then deploy again")
        return release

    @_as_owner
    def flip(self, release: str | None) -> None:
        """Points `current` to a release in one rename; None takes the link away."""
        if release is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.current_link)
        else:
            # One name for all, since whoever flips holds the lock: what a dead run left is replaced.
            temporary = os.path.join(self.folder, ".current")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.symlink(os.path.join("releases", check_id(release)), temporary)
            os.rename(temporary, self.current_link)
        _files.sync_folder(self.folder)

    # The transaction's memory

    @contextlib.contextmanager
    def lock(self, release: str, *, who: str, timeout: float) -> t.Iterator[None]:
        """Holds the app's one lock; raises LockedError after `timeout` seconds, saying who has it."""
        with self.acting_as_owner():
            os.makedirs(self._deploy, mode=0o755, exist_ok=True)
            handle = os.open(os.path.join(self._deploy, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Who may read it may hold it, and nobody could deploy any more.
            os.fchmod(handle, 0o600)
            self._acquire(handle, timeout)
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"release {release} by {who} (PID {os.getpid()}) since {now()}".encode(), 0)
            yield
        finally:
            os.close(handle)

    @staticmethod
    def _acquire(handle: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 4096, 0).decode(errors="replace")
                    raise LockedError(
                        f"another deploy of this app is under way: {holder}; wait for it to end and try again, or raise app_lock_timeout ({timeout:g} s)"
                    ) from None
                time.sleep(0.1)

    @_as_owner
    def begin(self, record: dict[str, t.Any]) -> None:
        """Notes what a switch is about to do."""
        for name in os.listdir(self._deploy):
            if name.startswith("."):  # half a note of a run that died; nobody else writes, for we hold the lock
                os.unlink(os.path.join(self._deploy, name))
        _files.write_atomically(self._pending, json.dumps(record) + "\n")

    @_as_owner
    def pending(self) -> dict[str, t.Any] | None:
        """The note of a switch that has not ended, or None."""
        record = _read_json(self._pending)
        # It died between its last two moves: the history has it, the note is still there.
        if record and any((known["time"], known["id"]) == (record["time"], record["id"]) for known in self.history()[-1:]):
            return None
        return record

    @_as_owner
    def finish(self, record: dict[str, t.Any]) -> None:
        """Adds to the history how a switch ended, and forgets that it was under way."""
        handle = os.open(self._history, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            line = ("\n" if torn else "") + json.dumps(record) + "\n"
            if os.write(handle, line.encode()) != len(line.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._history)
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._pending)
        _files.sync_folder(self._deploy)

    @_as_owner
    def history(self) -> list[dict[str, t.Any]]:
        """How each switch ended, oldest first."""
        records = []
        with contextlib.suppress(FileNotFoundError), open(self._history, encoding="utf-8") as stream:
            for line in stream:
                # A line that a crash cut off tells nothing.
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
        return records


def now(moment: datetime.datetime | None = None) -> str:
    """A time, or the present one, as it stands in manifests and in the history: UTC, to the millisecond."""
    moment = moment or datetime.datetime.now(datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _read_json(path: str) -> dict[str, t.Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
