# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps compiled Jinja templates for the Ansible runs of the tests.

Ansible compiles each template anew in each process, and each task of each host is a process. A user's run does so a few
times; the tests do so for the same templates many thousand times, which was a fifth of their time. What a template does
is the same: only its way from text to code is remembered.

    kept_templates.py FOLDER ARGUMENT...    runs ansible-playbook with these arguments
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import types
import typing as t
from pathlib import Path

from ansible._internal._templating._jinja_bits import _TEMPLATE_OVERRIDE_FIELD_NAMES, AnsibleEnvironment, _TemplateCompileContext

Compile = t.Callable[..., t.Any]


def keep(folder: Path) -> None:
    """From here on this process, and those that it forks, look in the folder before they compile a template."""
    folder.mkdir(exist_ok=True)
    compile_template: Compile = AnsibleEnvironment.compile
    compile_python: Compile = AnsibleEnvironment._compile

    def kept_template(self: AnsibleEnvironment, source: t.Any, *further: t.Any, **options: t.Any) -> t.Any:
        # The tree of an expression has no text of its own; what is made of it has (below).
        if further or options or not isinstance(source, str):
            return compile_template(self, source, *further, **options)
        context = _TemplateCompileContext.current(optional=True)
        settings = [getattr(self, field) for field in _TEMPLATE_OVERRIDE_FIELD_NAMES]
        key = repr((str(source), settings, context and context.escape_backslashes))
        return _kept(folder, key, lambda: compile_template(self, source))

    def kept_python(self: AnsibleEnvironment, source: str, filename: str) -> t.Any:
        return _kept(folder, f"{filename}\n{source}", lambda: compile_python(self, source, filename))

    AnsibleEnvironment.compile = kept_template  # type: ignore[assignment, method-assign]
    AnsibleEnvironment._compile = kept_python  # type: ignore[method-assign]


def _kept(folder: Path, key: str, make: t.Callable[[], t.Any]) -> t.Any:
    path = folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        return marshal.loads(path.read_bytes())
    except FileNotFoundError:
        code = make()
    if isinstance(code, types.CodeType):
        # Others write the same at the same time, and read only what is whole.
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(marshal.dumps(code))
        unfinished.rename(path)
    return code


if __name__ == "__main__":
    from ansible.cli.playbook import PlaybookCLI

    keep(Path(sys.argv[1]))
    PlaybookCLI.cli_executor(["ansible-playbook", *sys.argv[2:]])
