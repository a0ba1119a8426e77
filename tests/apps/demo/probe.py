# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries what a process may do, and prints what came of it: each word of PROBES is a kind and what to try it on."""

import contextlib
import ctypes
import errno
import hashlib
import os
import socket
import subprocess
import tempfile


def writes(path):
    with tempfile.TemporaryFile(dir=path):
        return True


def reads(path):
    if os.path.isdir(path):
        return bool(os.listdir(path))
    with open(path, "rb") as stream:
        return bool(stream.read())


def digest(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def becomes_root(program):
    return subprocess.run([program], capture_output=True, check=True, text=True).stdout.strip() == "0"


def traces(_nothing):
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
    return True


def asks_the_kernel_for(family):
    # Without the privilege the kernel refuses in another way than a filter does.
    with contextlib.suppress(PermissionError):
        socket.socket(getattr(socket, family), socket.SOCK_RAW).close()
    return True


KINDS = {"write": writes, "read": reads, "digest": digest, "setuid": becomes_root, "trace": traces, "family": asks_the_kernel_for}

for probe in os.environ["PROBES"].split():
    kind, _separator, target = probe.partition(":")
    try:
        could = KINDS[kind](os.path.expandvars(target))
    except OSError as error:
        could = errno.errorcode.get(error.errno, "?")
    print(probe, could)
