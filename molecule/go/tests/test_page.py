# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page about Go says is what runs, and no client loses anything by it."""

from __future__ import annotations

import typing as t

import pytest

from guide import PAGES, check, told

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from guide import Story

# The types of the segments of a 64-bit ELF file; 3 is the path of a dynamic linker.
SEGMENTS = """
import struct, sys
binary = open(sys.argv[1], "rb").read()
[start] = struct.unpack_from("<Q", binary, 32)
size, number = struct.unpack_from("<HH", binary, 54)
print(*(struct.unpack_from("<I", binary, start + size * each)[0] for each in range(number)))
"""


@pytest.fixture(scope="module")
def story(host: Host) -> t.Iterator[Story]:
    found = told(host, "go")
    yield found
    found.app.remove()


def test_no_request_fails_and_the_right_release_answers(story: Story) -> None:
    check(story, backlog=PAGES["go"].backlog)


def test_who_is_connected_when_the_app_stops_is_answered(story: Story) -> None:
    assert story.app.ask_while_it_stops() == ["200", "200"]


def test_the_binary_needs_nothing_of_the_host(host: Host, story: Story) -> None:
    binary = f"/srv/{story.app.name}/current/bin/{story.app.variables['app_name']}"
    segments = host.check_output("python3 -c %s %s", SEGMENTS, binary).split()
    assert segments
    assert "3" not in segments
