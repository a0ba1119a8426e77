# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages about Python's servers say is what runs, and no client loses anything by it."""

from __future__ import annotations

import re
import typing as t

import pytest
import testinfra

from guide import PAGES, check, expect, told
from versions import EVERYWHERE

if t.TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

    from guide import Story

START_SECONDS = 3
# Those that app_runtime knows, and the others if there is time for them.
SERVERS = ["gunicorn", "uvicorn", *(["asyncio", "hypercorn"] if EVERYWHERE else [])]
# Its host is part of a test's name, by which the workers share the tests (molecule/conftest.py).
ON_ITS_HOST = [pytest.param(name, id=f"{name}-podman://holdfast-{PAGES[name].suite}") for name in SERVERS]


@pytest.fixture(scope="module", params=ON_ITS_HOST)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def host(page: str) -> Host:
    """In place of testinfra's, which would try each page on all hosts."""
    return testinfra.get_host(f"podman://holdfast-{PAGES[page].suite}")


@pytest.fixture(scope="module")
def story(page: str, host: Host) -> t.Iterator[Story]:
    found = told(host, page)
    yield found
    found.app.remove()


def test_no_request_fails_and_the_right_release_answers(page: str, story: Story) -> None:
    check(story, backlog=PAGES[page].backlog)


def test_who_is_connected_when_the_app_stops_is_answered(story: Story) -> None:
    assert story.app.ask_while_it_stops() == ["200", "200"]


def test_a_release_is_ready_only_when_its_app_is_loaded(story: Story) -> None:
    app = story.app
    server = next(name for name in ("shop.py", "server.py") if name in app.guide.files)

    def slow_to_load(content: Path) -> None:
        (content / server).write_text(f"import time\n\ntime.sleep({START_SECONDS})\n{app.guide.files[server]}")

    archive = app.build_changed("slow", slow_to_load)
    with app.under_load() as reports:
        expect(app.deploy("slow", archive, app_switch="overlap"))
    assert app.answers() == "slow"
    assert app.start_up() > START_SECONDS
    assert not reports[0].failures
    assert reports[0].slowest < START_SECONDS


def test_what_the_build_has_compiled_is_used(story: Story) -> None:
    app = story.app
    for package in re.findall(r"^\w+", app.guide.files.get("requirements.txt", ""), flags=re.MULTILINE):
        said = app.host.check_output(f"cd /srv/{app.name}/current/ && PYTHONDONTWRITEBYTECODE=1 venv/bin/python -v -c 'import {package}' 2>&1")
        assert re.search(rf"/site-packages/{package}/\S+ matches", said)
        # The one that may be is of the venv itself, and small.
        assert set(re.findall(r"bytecode is stale for '(\w+)", said)) <= {"_distutils_hack"}
