# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of a command is one of the release that the command is for."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import _in_release


@pytest.mark.parametrize(
    ("command", "found"),
    [
        *[("bin/warm -x", "{}/bin/warm -x"), ("-bin/warm", "-{}/bin/warm"), ("+/usr/bin/id", "+/usr/bin/id"), ('"bin/warm"', '"bin/warm"')],
        *[(["bin/warm", "-x"], ["{}/bin/warm", "-x"]), (["-bin/warm"], ["-{}/bin/warm"]), (["+/usr/bin/id"], ["+/usr/bin/id"])],
        *[(["-!warm"], ["-!{}/warm"]), ("-warm", "-{}/warm"), (["id", "bin/warm"], ["id", "bin/warm"]), ("", ""), (["-"], ["-"])],
    ],
)
def test_a_program_of_the_release_keeps_its_prefix(tmp_path: Path, command: t.Any, found: t.Any) -> None:
    (tmp_path / "warm").touch()
    expected = [word.format(tmp_path) for word in found] if isinstance(found, list) else found.format(tmp_path)
    assert _in_release(command, str(tmp_path)) == expected
