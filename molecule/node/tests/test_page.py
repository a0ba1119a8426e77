# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page about Node says is what runs, and no client loses anything by it."""

from __future__ import annotations

import typing as t

import pytest

from guide import PAGES, check, told

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from guide import Story


@pytest.fixture(scope="module")
def story(host: Host) -> t.Iterator[Story]:
    found = told(host, "node")
    yield found
    found.app.remove()


def test_no_request_fails_and_the_right_release_answers(story: Story) -> None:
    check(story, backlog=PAGES["node"].backlog)


def test_who_is_connected_when_the_app_stops_is_answered(story: Story) -> None:
    assert story.app.ask_while_it_stops() == ["200", "200"]
