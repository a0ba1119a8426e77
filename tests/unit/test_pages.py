# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages say of the code is so, and what they lead to is there. What they promise of hosts is for molecule to show."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.holdfast.systemd.plugins.module_utils import _history

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Names that begin like a variable and are none: a fact, a lookup and the like, and what a page names as a part of a name.
NO_VARIABLES = {"app_environment_file", "app_status", "app_vars", "app_problems", "app_hosts", "app_serial", "app_history", "app_doctor"}
# Where each symptom of docs/troubleshooting.md is made: a scenario or a file of unit tests, and a test of it.
SYMPTOMS = {
    "Its main process ended": "releases test_it_is_refused_and_no_client_is",
    "It was not ready in time": "overlap test_a_release_that_never_gets_ready_has_touched_nothing",
    "Its address is in use": "troubleshooting test_it_is_gone_back_from_and_the_error_says_what_it_did",
    "It does not answer": "troubleshooting test_it_is_gone_back_from_and_the_error_says_what_it_did",
    "It answers, and not as it should": "releases test_it_is_refused_and_no_client_is",
    "It is not known when it is ready": "overlap test_what_it_needs_is_asked_before_anything_starts",
    "Somebody else deploys": "disasters test_who_waits_too_long_is_told_for_whom",
    "The id is taken": "releases test_other_content_under_the_same_id_is_refused_with_both_checksums",
    "The archive is refused": "releases test_a_wrong_checksum_is_refused_before_anything_is_copied",
    "There is no room": "disasters test_a_release_that_does_not_fit_leaves_nothing",
    "A right is missing": "unprivileged test_who_lacks_a_right_is_told_which_and_what_to_do",
    "There is nothing to go back to": "releases test_each_rollback_goes_one_good_release_further_back_until_none_is_left",
    "The port is held": "sockets test_an_app_that_binds_its_own_port_is_named_and_taken_over_on_demand",
    "A live port would be closed": "reconfigure test_another_address_on_a_live_port_is_refused_and_the_port_serves_on",
    "systemd would not take the units": "unit test_what_systemd_would_ignore_is_refused_before_anything_is_written",
    "A variable is refused": "refusals test_setup_refuses",
    "They wait, and nobody answers": "companions test_without_it_the_app_does_not_start_and_clients_wait",
    "They wait at each deploy": "releases test_a_release_that_ignores_sigterm_holds_the_next_one_up_and_no_client_is_refused",
    "Some time out during a restart": "overlap test_hundreds_of_clients_wait_behind_an_app_that_lowered_its_backlog",
    "Some are cut off at each restart": "proxy test_a_request_in_hand_is_answered_by_the_old_process",
    "They are refused": "proxy test_without_a_socket_unit_a_deploy_refuses_clients_and_goes_back_as_always",
    "A variable has no effect": "reconfigure test_a_changed_directive_is_in_effect_at_once",
    "The app has the code or the files of another release": "overlap test_an_old_process_drains_undisturbed_and_never_loads_new_code",
    "A change of configuration restarts the app twice": "reconfigure test_a_changed_environment_restarts_the_release_and_not_the_socket",
}
# What happened before each row of the first table of docs/rollback.md, as (action, from, id, result).
PASTS = {
    "one, two, three were deployed": "deploy one, deploy two, deploy three",
    "and once more": "deploy one, deploy two, deploy three, rollback two",
    "one, two, three, a rollback, four were deployed": "deploy one, deploy two, deploy three, rollback two, deploy four",
    "one, two were deployed, three failed": "deploy one, deploy two, failed three",
    "one, two, one were deployed": "deploy one, deploy two, deploy one",
}


def load(path: str) -> t.Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pages() -> list[Path]:
    return [ROOT / name for name in load("docs/site/source.py").found(["*.md", "docs/*.md", "docs/runtimes/*.md", "roles/*/README.md"])]


def test_no_link_leads_nowhere() -> None:
    assert load("docs/site/source.py").broken() == []


def test_a_link_to_what_is_not_on_the_site_leads_to_where_it_is_published() -> None:
    source = load("docs/site/source.py")
    said = "[a\nb](x/y.md#z) [c](../LICENSE) [d](../tools) [e](https://example.org) [f](#here)\n```text\n[g](../LICENSE)\n```\n"
    published = f"{source.REPOSITORY}/blob/main/LICENSE"
    assert source.on_the_site("docs/page.md", said, {"docs/x/y.md"}) == said.replace("[c](../LICENSE)", f"[c]({published})").replace(
        "[d](../tools)", f"[d]({source.REPOSITORY}/tree/main/tools)"
    )


def test_an_anchor_is_that_of_the_heading() -> None:
    text = "# How it works\n## `app_switch`: overlap, and more\n## [A link](b.md)\n```text\n# no heading\n```\n## How it works\n"
    assert load("docs/site/source.py").anchors(text) == {"how-it-works", "app_switch-overlap-and-more", "a-link", "how-it-works-1"}


def test_every_page_is_in_the_contents_of_the_site_once() -> None:
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", (DOCS / "site/index.md").read_text(), re.MULTILINE | re.DOTALL)
    listed = re.findall(r"^(?:.* <)?([\w/*-]+)>?$", "\n".join(trees), re.MULTILINE)
    assert sorted(set(listed)) == sorted(listed)
    there = {str(path.relative_to(ROOT).with_suffix("")) for path in pages()}
    # All of one folder are listed by a star; the reference has a page of its own.
    assert {page for page in there - set(listed) if not page.startswith("docs/runtimes/")} == {"CHANGELOG"}


def test_the_picture_is_what_its_source_draws() -> None:
    assert (DOCS / "how-it-works.svg").read_text() == load("docs/pictures/how_it_works.py").draw()


def test_the_architecture_names_everything_that_there_is() -> None:
    named = set(re.findall(r"`(\w+)`", (DOCS / "architecture.md").read_text()))
    there = {path.stem for folder in (ROOT / "plugins").iterdir() for path in folder.glob("*.py")}
    there |= {path.stem for path in (ROOT / "playbooks").glob("*.yml")} | {path.name for path in (ROOT / "roles").iterdir()}
    assert there - named == set()


@pytest.mark.parametrize("path", sorted((ROOT / "plugins/module_utils").glob("*.py")), ids=lambda path: path.stem)
def test_a_module_utility_says_what_belongs_there(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert "Private to the collection." in said
    # In so many words, or by naming the room of what does not.
    assert re.search(r"\bbelongs?\b|\b\b[Ww]hat\s[\w\s,]+\bis\s(judged\sby\s)?_\w+", said)


@functools.cache
def sayings() -> str:
    """All that the collection can say: the texts in its code, those of a file in their order."""
    texts: list[str] = []
    for path in [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "roles").rglob("*.py")]:
        constants = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        texts += [node.value for node in sorted(constants, key=lambda node: (node.lineno, node.col_offset))]
    texts += [" ".join(path.read_text().split()) for path in (ROOT / "roles").rglob("*.yml")]
    return "".join(texts)


def test_every_message_of_the_page_about_trouble_is_one() -> None:
    lines = [line for block in re.findall(r"^```text\n(.*?)^```$", (DOCS / "troubleshooting.md").read_text(), re.M | re.S) for line in block.splitlines()]
    assert len(lines) > 15
    pieces = [piece.strip() for line in lines for piece in line.split("...")]
    assert [piece for piece in pieces if piece and piece not in sayings()] == []


def test_every_symptom_is_made_in_a_test() -> None:
    headings = re.findall(r"^### (.+)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert headings == list(SYMPTOMS)
    for where in SYMPTOMS.values():
        scenario, name = where.split()
        assert any(f"def {name}(" in path.read_text() for path in (ROOT / "molecule" / scenario).rglob("test_*.py")), where


def test_a_rollback_goes_where_its_page_says() -> None:
    rows = dict(re.findall(r"^\| ([a-z, ]+) \| (\w+)\b", (DOCS / "rollback.md").read_text(), re.MULTILINE))
    for head in ("what has happened", "when it fails"):
        rows.pop(head)
    assert set(rows) == set(PASTS)
    for happened, told in rows.items():
        records: list[dict[str, str | None]] = []
        current = None
        for action, release in (step.split() for step in PASTS[happened].split(", ")):
            failed = action == "failed"
            records.append({"id": release, "from": current, "action": "deploy" if failed else action, "result": "failed" if failed else "ok"})
            current = current if failed else release
        assert _history.previous(records, current=current, usable=lambda _release: True) == told, happened


def test_a_variable_of_a_page_is_one_of_the_role() -> None:
    known = set(yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"])
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in pages()
        for name in re.findall(r"(?<![\w.])app_[a-z_]+\b(?!\*|_<|\.service)", path.read_text())
        if name not in known | NO_VARIABLES and not name.endswith("_") and not name.startswith("app_preset_")
    }
    assert unknown == set()


def test_the_workflows_call_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {name for path in (ROOT / ".github/workflows").glob("*.yml") for name in re.findall(r"\bmake ([a-z-]+)", path.read_text())}
    assert {"check", "quality", "docs", "sanity-all", "molecule"} <= called <= targets
    helped = set(re.findall(r'@echo "make ([a-z-]+)', (ROOT / "Makefile").read_text()))
    assert helped == targets - {"help"}


def test_what_the_definition_of_an_execution_environment_names_is_there() -> None:
    needs = yaml.safe_load((ROOT / "meta/execution-environment.yml").read_text())["dependencies"]
    assert all((ROOT / path).exists() for path in needs.values())
    assert yaml.safe_load((ROOT / "execution-environment.yml").read_text())["version"] == 3
