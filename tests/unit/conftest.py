# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types
import typing as t
from pathlib import Path

import hypothesis
import jinja2
import pytest
from ansible.plugins.loader import init_plugin_loader

# Ansible must find the collection before a test imports from it, for afterwards it would not look again.
init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".cache/collections")])

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def templates_compiled_once() -> t.Iterator[None]:
    """Each question to Ansible's templates is a Templar of its own, and each would compile the same thousand templates anew: most of the time."""
    compiled: dict[str, types.CodeType] = {}
    really = jinja2.Environment.compile

    def compile_once(environment: jinja2.Environment, source: t.Any, *arguments: t.Any, **options: t.Any) -> t.Any:
        if environment.overlayed or not isinstance(source, str):
            return really(environment, source, *arguments, **options)
        if source not in compiled:
            compiled[source] = really(environment, source, *arguments, **options)
        return compiled[source]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield
