# SPDX-License-Identifier: GPL-3.0-or-later
"""The public interface says the same thing wherever it stands."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
# Their defaults follow from another variable or from the environment, which an argument spec cannot say.
DERIVED = {
    "app_ext_name": "the app's name, `-` for `_`",
    "app_service_name": "`app_ext_name`",
    "app_release_name": "the app's name",
    "app_start_command": "`start` for mix, `foreground` for Distillery",
    "app_release_system": "`generic`, or by the runtime",
    "app_command": "required, but for mix, Distillery and some runtimes",
    "app_service_type": "`exec`, or by the runtime",
    "app_wait_until_accepting": "`false`, or by the runtime",
    "app_working_dir": "the release",
    "app_user": "`app_ext_name`",
    "app_group": "`app_ext_name`",
    "app_scripts_dir": "`bin` in the app's folder",
    "app_flags_dir": "`flags` in the app's folder",
    "app_pid_file": "none, but for forking",
    "app_mix_env": "`prod` for mix and Distillery",
    "app_syslog_identifier": "`app_service_name`",
    "app_deploy_group": "the deploy user's name",
    "app_deployed_by": "the user on the controller",
    **{f"app_{kind}_directory": "`app_service_name`" for kind in ("runtime", "state", "cache", "logs", "configuration", "tmp")},
}
DERIVED.update(dict.fromkeys(("app_migrate_command", "app_seed_command", "app_console_command"), "by the release system"))


def load(path: str) -> t.Any:
    return yaml.safe_load((ROOT / path).read_text())


def options() -> dict[str, t.Any]:
    return load("roles/app/meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_every_default_is_declared_with_the_same_value() -> None:
    defaults = load("roles/app/defaults/main.yml")
    declared = {name: option["default"] for name, option in options().items() if "default" in option}
    assert {name: value for name, value in defaults.items() if name not in DERIVED} == declared


def test_every_variable_has_a_type_and_a_meaning() -> None:
    for name, option in options().items():
        assert name.startswith("app_")
        assert option["type"]
        assert option["description"]


def test_the_readme_tells_the_same_types_and_defaults() -> None:
    rows = re.findall(r"^\| `(app_\w+)` \| (.*?) \| (.*?) \| .+ \|$", (ROOT / "roles/app/README.md").read_text(), re.MULTILINE)
    told = {name: (kind, default) for name, kind, default in rows}
    assert [name for name, _kind, _default in rows] == list(options())
    for name, option in options().items():
        if name in DERIVED:
            default = DERIVED[name]
        elif "default" in option:
            default = "`" + yaml.safe_dump(option["default"], default_flow_style=True).removesuffix("...\n").strip() + "`"
        else:
            default = "required" if option.get("required") else "none"
        assert told[name] == (option["type"], default), name


@pytest.mark.parametrize("role", [role for role in ROLES if role != "app"])
def test_every_role_speaks_the_vocabulary_of_the_role_app(role: str) -> None:
    (dependency,) = load(f"roles/{role}/meta/main.yml")["dependencies"]
    assert dependency["role"] == "holdfast.systemd.app"
    for folder in ("defaults", "vars"):
        if (ROOT / "roles" / role / folder).exists():
            assert all(name.startswith(f"{role}_") for name in load(f"roles/{role}/{folder}/main.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_every_role_declares_its_entry_points(role: str) -> None:
    entry_points = set(load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"])
    assert entry_points == {path.stem for path in (ROOT / "roles" / role / "tasks").iterdir()}
    assert (ROOT / "roles" / role / "README.md").exists()


def test_every_module_is_in_the_action_group() -> None:
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    assert set(load("meta/runtime.yml")["action_groups"]["all"]) == modules
