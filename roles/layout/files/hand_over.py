# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives what somebody else has deployed to who deploys from now on, and takes away what others could write. Says what it has given.

usage: hand_over.py APP_FOLDER USER

It runs as root while the other may still be at it. So nothing is done by a path, of which he could make a link to elsewhere;
each folder is root's while what is in it is given, so that nobody else can change that; nothing is done in a folder that is the new
owner's already, where that one could have put what is not his, nor to what has another name too, which may be elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import sys


def main(folder: str, user: str) -> None:
    owner = pwd.getpwnam(user).pw_uid
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for name in (".deploy", "releases", "current"):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid != owner:
                give(name, parent, owner, os.fstat(parent).st_dev, links=name != ".deploy")


def give(name: str, parent: int, owner: int, device: int, *, links: bool) -> None:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        # A link, or a socket. Where there is no reason for one it is a trap.
        if links:
            os.chown(name, owner, -1, dir_fd=parent, follow_symlinks=False)
        else:
            os.unlink(name, dir_fd=parent)
        return
    try:
        found = os.fstat(handle)
        if found.st_dev != device or (found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)):
            return
        print(name)
        os.fchown(handle, 0, -1)
        os.fchmod(handle, found.st_mode & 0o755)
        for child in os.listdir(handle) if stat.S_ISDIR(found.st_mode) else ():
            give(child, handle, owner, device, links=links)
        os.fchown(handle, owner, -1)
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(*sys.argv[1:])
