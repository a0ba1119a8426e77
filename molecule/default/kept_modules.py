# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the code of Ansible's modules on a test host, where Python would compile the same text anew for every task.

Ansible sends a module and what it imports as a zip file, of which Python keeps nothing. The file beside this one makes
each Python of the host read it at its start (see create.yml).
"""

import marshal
import os
import sys
import zipimport

FOLDER = "/var/cache/kept-modules"


def kept(compile_source):
    def compile_or_remember(path, source):
        # Only here, since every Python of the host would take the time to load it.
        import hashlib  # noqa: PLC0415

        name = f"{FOLDER}/{sys.hexversion:x}-{hashlib.sha256(source).hexdigest()}"
        try:
            with open(name, "rb") as stream:
                return marshal.loads(stream.read())
        except OSError:
            pass
        code = compile_source(path, source)
        try:
            unfinished = f"{name}.{os.getpid()}"
            with open(unfinished, "wb") as stream:
                stream.write(marshal.dumps(code))
            os.rename(unfinished, name)
        except OSError:
            pass  # whoever may not write there compiles, as everywhere else
        return code

    return compile_or_remember


if hasattr(zipimport, "_compile_source"):
    zipimport._compile_source = kept(zipimport._compile_source)
