# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test host, Python keeps what it has compiled out of an archive (tools/image puts this into each).

Ansible sends a module as an archive of sources. Python compiles them anew each time, which is half of what a module costs
a processor, and the tests send thousands. What runs is the same.
"""

import _imp
import marshal
import os
import sys
import zipimport

FOLDER = "/var/cache/kept-modules"
compile_source = zipimport._compile_source


def kept(pathname, source):
    path = f"{FOLDER}/{_imp.source_hash(0, source).hex()}.{sys.implementation.cache_tag}"
    try:
        with open(path, "rb") as file:
            return marshal.loads(file.read())  # noqa: S302 -- Only root writes there.
    except OSError:
        code = compile_source(pathname, source)
        keep(path, marshal.dumps(code))
        return code


def keep(path, compiled):
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "xb") as file:
            file.write(compiled)
        os.rename(new, path)
    except OSError:
        # Only root may write there, and a full disk is one of the tests.
        pass


zipimport._compile_source = kept
