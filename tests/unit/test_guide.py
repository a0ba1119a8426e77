# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a page about a runtime is what runs, and a story in which a promise was broken is not passed over."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys
import time
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    import types

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = """
# A page

The app, `server.py`, counts what it has
accepted:

```python
print("`other.py`:")
```

Look at it with `systemctl`:

```console
# systemctl status
```

What it is told, `group_vars/app.yml`:

```yaml
app_name: shop
app_listen: ["127.0.0.1:4000", "[::1]:4000"]
app_environment: {PORT: 4000, PLACE: /srv/shop/shared, TIMES: 14000}
```

How it is built, `build`:

```shell
true
```
"""


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[types.ModuleType]:
    """As the tests of molecule see it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLECULE_PROJECT_DIRECTORY", str(ROOT))
        patch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(tmp_path_factory.mktemp("molecule")))
        for name in ("ANSIBLE_FORCE_COLOR", "ANSIBLE_NOCOLOR"):
            patch.setenv(name, "")
        patch.syspath_prepend(ROOT / "molecule")
        yield importlib.import_module("guide")
        for name in ("guide", "playbooks"):
            sys.modules.pop(name, None)


@pytest.fixture
def read(guide: types.ModuleType, tmp_path: Path) -> t.Callable[[str], t.Any]:
    def read(text: str) -> t.Any:
        (tmp_path / "page.md").write_text(text)
        return guide.Guide(tmp_path / "page.md")

    return read


def test_blocks_are_files_when_the_paragraph_before_them_says_so(read: t.Callable[[str], t.Any]) -> None:
    page = read(PAGE)
    assert page.files == {"server.py": 'print("`other.py`:")\n'}
    assert (page.build, page.packages, page.variables["app_name"]) == ("true\n", "", "shop")


def test_a_page_that_has_a_file_twice_is_refused(read: t.Callable[[str], t.Any]) -> None:
    with pytest.raises(ValueError, match=r"two blocks of the page are server\.py"):
        read(PAGE + "\nAnother way, `server.py`:\n\n```python\n```\n")


def test_an_app_is_tried_at_another_place_and_is_otherwise_the_page_s(guide: types.ModuleType, read: t.Callable[[str], t.Any]) -> None:
    assert guide._elsewhere(read(PAGE).variables, 4810, "page-x") == {
        "app_name": "shop",
        "app_ext_name": "page-x",
        "app_listen": ["0.0.0.0:4810", "[::]:4810"],
        "app_environment": {"PORT": 4810, "PLACE": "/srv/page-x/shared", "TIMES": 14000},
    }


def test_each_page_that_is_tried_can_be(guide: types.ModuleType) -> None:
    ports = [page.port for page in guide.PAGES.values()]
    assert len(ports) == len(set(ports))
    for name, page in guide.PAGES.items():
        found = guide.Guide(guide.DOCS / f"{name}.md")
        assert found.files
        assert found.variables["app_switch"] == "overlap"
        assert not isinstance(page.broken, str) or page.broken in found.files
        for path, text in found.files.items():
            if path.endswith(".py"):
                ast.parse(text, path)


def test_a_request_belongs_to_the_deploy_in_which_it_ended(guide: types.ModuleType) -> None:
    requests = [dataclasses.make_dataclass("Ended", ["ended"])(ended) for ended in (0.5, 1, 2.5, 9)]
    assert [[found.ended for found in window] for window in guide._windows(requests, [1, 2, 3])] == [[0.5], [1], [2.5], [9]]


def phases(guide: types.ModuleType) -> list[t.Any]:
    """Of a story in which all went well."""
    slowest = {"restart": 2.1, "restart, broken": 2.3, "overlap": 0.1, "overlap, broken": 0.1, "rollback": 0.1}
    told = []
    for name, seconds in slowest.items():
        good = "broken" not in name
        told.append(guide.Phase(name, 100, {}, seconds, 0.01, succeeded=good, said="", wanted="a", release="a", restarted=good, backlog=4096))
    return told


def story(guide: types.ModuleType, *, changed: dict[str, dict[str, t.Any]] | None = None, **differs: t.Any) -> t.Any:
    told = [dataclasses.replace(phase, **(changed or {}).get(phase.name, {})) for phase in phases(guide)]
    good = {"start_up": 2.0, "backlog": 4096, "releases": {"a": 500}, "socket_kept": True, "findings": "", "standstill": 0.1}
    return guide.Story(**{"app": None, "phases": told, **good, **differs})


def test_a_story_in_which_all_went_well_passes(guide: types.ModuleType) -> None:
    guide.check(story(guide))


@pytest.mark.parametrize(
    ("changed", "differs", "said"),
    [
        ({"overlap": {"failures": {"reset": 2}}}, {}, "overlap: 2 of 100 requests failed: .*stood still for 0.1 s"),
        ({"rollback": {"requests": 0}}, {}, "rollback: there was no request"),
        ({"restart": {"succeeded": False}}, {}, "restart: the playbook failed"),
        ({"overlap, broken": {"succeeded": True}}, {}, "overlap, broken: the playbook succeeded"),
        ({"restart, broken": {"release": "b"}}, {}, "restart, broken: release b answers, and not a"),
        ({"overlap, broken": {"restarted": True}}, {}, "overlap, broken: the live release was touched"),
        ({"restart": {"restarted": False}}, {}, "restart: the main process is the one of the release before"),
        ({"overlap": {"slowest": 2.2}}, {}, "a client waited for 2.20 s in overlap"),
        ({}, {"releases": {"a": 500, "broken-1": 1}}, "clients have seen a broken release"),
        ({}, {"socket_kept": False}, "the socket unit was restarted"),
        ({}, {"backlog": 100}, "only 100 clients may wait"),
        ({}, {"findings": "no-drain"}, "the doctor found something in an app that is well: no-drain"),
    ],
)
def test_a_broken_promise_is_told(guide: types.ModuleType, changed: dict[str, dict[str, t.Any]], differs: dict[str, t.Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        guide.check(story(guide, changed=changed, **differs))


def test_a_standstill_of_the_machine_is_seen(guide: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds + 0.5))
    with guide._standstill() as longest:
        sleep(0.2)
    assert longest[0] >= 0.5
