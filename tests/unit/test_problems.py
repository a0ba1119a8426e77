# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever somebody writes into a variable, the answer is a sentence and no traceback."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.holdfast.systemd.plugins.plugin_utils._problems import problems
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
LOADER = DataLoader()
OPTIONS: dict[str, t.Any] = LOADER.load_from_file(str(ROOT / "roles/app/meta/argument_specs.yml"))["argument_specs"]["main"]["options"]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2000, 2000), st.text(max_size=12), st.sampled_from(["/", "+/bin/x y", "-", "root", "a b", "../x", "%t/x"])
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=5)
# With the types that most of them have, so that not all is refused for its type.
FITTING = {"list": st.lists(ANYTHING, max_size=3), "dict": st.dictionaries(st.sampled_from(["Exec", "User", "Environment", "url", "a"]), ANYTHING, max_size=3)}


def has_the_right_types(chosen: dict[str, t.Any]) -> bool:
    try:
        return not ArgumentSpecValidator({name: OPTIONS[name] for name in chosen}).validate(chosen).error_messages
    except TypeError:
        # Ansible has no sentence itself where it wants a dictionary with certain keys.
        return False


@pytest.fixture(scope="module", name="defaults")
def every_variable() -> dict[str, t.Any]:
    variables: dict[str, t.Any] = {"app_name": "shop", "app_command": "bin/shop"}
    for path in (ROOT / "roles/app/defaults/main.yml", *sorted((ROOT / "roles/app/vars").rglob("*.yml"))):
        variables = {**LOADER.load_from_file(str(path), trusted_as_template=True), **variables}
    templar = Templar(LOADER, variables=variables)
    return {name: templar.template(value) for name, value in variables.items()}


@given(data=st.data())
def test_every_value_is_accepted_or_refused_with_a_sentence(defaults: dict[str, t.Any], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), min_size=1, max_size=3, unique=True))
    chosen = {name: data.draw(st.one_of(ANYTHING, FITTING.get(OPTIONS[name]["type"], SCALARS)), label=name) for name in names}
    if not has_the_right_types(chosen):
        return
    app = SimpleNamespace(**{**dict.fromkeys(OPTIONS), **defaults, **chosen})
    for sentence in problems(app):
        assert sentence.startswith("app_"), sentence
        break
