# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role app refuses, by the variable's name and without a connection, and what it lets pass."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
import yaml
from runs import ROOT, run

# What all of its tests need is made once.
pytestmark = pytest.mark.xdist_group("checks")
APP = {"app_name": "shop", "app_command": "bin/shop start"}

BAD: dict[str, tuple[str, t.Any]] = {
    "a name with a line break": ("app_name", "shop\n"),
    "the name of root": ("app_name", "root"),
    "an id with a line break": ("app_release_id", "1\n"),
    "a checksum with a line break": ("app_release_checksum", "0" * 64 + "\n"),
    "an account of two words": ("app_user", "no such:user"),
    "an account without a name": ("app_user", ""),
    "a group of two words": ("app_group", "a b"),
    "a group with a line break": ("app_group", "web\n"),
    "a quotation mark alone": ("app_command", "bin/shop 'start"),
    "a quotation mark alone in a migration": ("app_before_switch", ['bin/migrate "all']),
    "a backslash at the end": ("app_after_switch", ["bin/warm up\\"]),
    "an unknown unit of time": ("app_start_timeout", "30 apples"),
    "a negative time": ("app_stop_timeout", "-1"),
    "no time": ("app_command_timeout", ""),
    "a number with two points": ("app_stand_in_timeout", "1.5.5 min"),
    "digits that no unit follows": ("app_stand_in_timeout", "1" * 40 + "x"),
    "an unknown size": ("app_memory_headroom", "lots"),
    "a size of points": ("app_release_max_size", ".."),
    "a relative environment file": ("app_environment_files", ["/etc/one", "two"]),
    "a negative time to settle": ("app_settle_seconds", -1),
    "a negative time to wait": ("app_lock_timeout", "-0.5"),
    "a git ref that is an option": ("app_release_git_ref", "--upload-pack=x"),
    "a git ref of two words": ("app_release_git_ref", "a b"),
    "a reload of which nobody knows how": ("app_switch", "reload"),
    "a base folder that leads up": ("app_base_dir", "/srv/../x"),
    "a base folder that ends above": ("app_base_dir", "/srv/.."),
    "a base folder that stays": ("app_base_dir", "/srv/./x"),
    "a relative base folder": ("app_base_dir", "srv"),
    "a base folder with a line break": ("app_base_dir", "/srv\n"),
    "a sequential socket in the runtime directory": ("app_listen", [{"listen": "/run/shop/x", "type": "sequential"}]),
    "a socket spelled with more slashes": ("app_listen", ["//run//shop/x"]),
    "a socket spelled with dots": ("app_listen", ["/run/./web/../shop/x"]),
    "a socket in place of the runtime directory": ("app_listen", ["/var/run/shop"]),
}
# Where the variable alone is not wrong.
BAD_TOGETHER: dict[str, tuple[str, dict[str, t.Any]]] = {
    "a socket in a runtime directory of another name": ("app_listen", {"app_listen": ["/run/web/x"], "app_service_options": {"RuntimeDirectory": "web"}}),
    "a socket in one of several": ("app_listen", {"app_listen": ["/run/web/a/x"], "app_service_options": {"RuntimeDirectory": ["shop", "b web/a:link"]}}),
    "a socket among the directives": ("app_listen", {"app_socket_options": {"ListenFIFO": "/run/shop/x"}}),
    "no way to reload": ("app_switch", {"app_switch": "reload", "app_service_options": {"ExecReload": None}}),
    "root under another name": ("app_name", {"app_name": "root", "app_user": "web"}),
}

GOOD: dict[str, dict[str, t.Any]] = {
    "nothing else": {},
    "root by will": {"app_user": "root", "app_group": "root"},
    "a name that is only root's": {"app_name": "root", "app_user": "web", "app_group": "web"},
    "accounts from elsewhere": {"app_user": "Web.App_1-x$", "app_group": 1000},
    "quotation marks in pairs": {"app_command": """bin/shop "it's" 'a "word"' \\" \\' "\\"" a"b c"d"""},
    "arguments that are taken as they are": {"app_before_switch": [["bin/migrate", "it's", "\\"]]},
    "environment files": {"app_environment_files": ["/etc/one", "-/etc/two words", "-%E/three", "/etc/*.env"]},
    "a base folder with slashes": {"app_base_dir": "//srv//apps/", "wanted_dir": "/srv/apps/shop"},
    "a base folder with points": {"app_base_dir": "/srv/.apps/v1.2/..x"},
    "numbers": {"app_settle_seconds": "0", "app_lock_timeout": "0.5", "app_start_timeout": 90, "app_stop_timeout": 0},
    "sizes": {"app_release_max_size": "1.5 GB", "app_memory_headroom": 1048576},
    "a git ref": {"app_release_git_ref": "release/1.x-rc_1"},
    "a reload that systemd knows": {"app_switch": "reload", "app_service_type": "notify-reload"},
    "a reload by a command": {"app_switch": "reload", "app_service_options": {"ExecReload": "/bin/kill -HUP $MAINPID"}},
    "a socket beside the runtime directory": {"app_listen": ["/run/shop.sock", {"listen": "/run/shopping/x", "name": "x"}]},
    "a socket without a runtime directory": {"app_listen": ["/run/shop/x"], "app_directories": []},
    "a socket with the runtime directory taken away": {"app_listen": ["/run/shop/x"], "app_service_options": {"RuntimeDirectory": None}},
    "a socket beside a runtime directory of another name": {"app_listen": ["/run/shop/x"], "app_service_options": {"RuntimeDirectory": "web"}},
}
TIMES = [
    ("0", "90", "1.5", "90s"),
    ("1min 30s", "1min30s", "2 h", "500ms"),
    (".5s", "infinity", " 5  minutes ", "+5s"),
    ("3 µs", "3 μs", "1y 2months", "1 M 3w 1day"),
]
SPANS = ("app_start_timeout", "app_stop_timeout", "app_stand_in_timeout", "app_command_timeout")
LISTS = (
    *("app_exec_start_pre", "app_sudo_users", "app_directories", "app_environment_files", "app_unit_after", "app_unit_wants", "app_unit_requires"),
    *("app_runtime_environment_after", "app_read_write_paths", "app_read_only_paths", "app_inaccessible_paths"),
    *("app_shared_paths", "app_before_switch", "app_after_switch", "app_protected_releases"),
)
DICTIONARIES = ("app_environment", "app_unit_options", "app_service_options", "app_socket_options", "app_load_credentials", "app_health_check")

HOSTS: dict[str, dict[str, t.Any]] = {
    **{name: {variable: value} for name, (variable, value) in BAD.items()},
    **{name: variables for name, (_variable, variables) in BAD_TOGETHER.items()},
    **GOOD,
    **{f"times like {', '.join(four)}": dict(zip(SPANS, four)) for four in TIMES},
    **{f"{variable} as a text": {variable: "runtime" if variable == "app_directories" else "tcp=1"} for variable in (*LISTS, *DICTIONARIES)},
    **{f"{variable} as a number": {variable: 5} for variable in ("app_before_switch", "app_protected_releases")},
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], str]:
    """What the role says to each, of which one run of Ansible makes a host."""
    folder = tmp_path_factory.mktemp("checks")
    known = {name: f"host-{number}" for number, name in enumerate(HOSTS)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {known[name]: {**APP, **variables} for name, variables in HOSTS.items()}}}))
    tasks = [{"ansible.builtin.assert": {"that": "app_dir == wanted_dir"}, "when": "wanted_dir is defined"}]
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": ["holdfast.systemd.app"], "tasks": tasks}]))
    command = ["ansible-playbook", "-i", folder / "hosts.json", folder / "play.yml"]
    done = run(*command, folder=folder, environment={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    assert "UNREACHABLE" not in done.stdout
    assert all(re.search(rf"^{host} +: ok=", done.stdout, re.MULTILINE) for host in known.values()), done.stdout + done.stderr
    failures = dict(re.findall(r"^fatal: \[([^]]+)\]: FAILED! => (.*)$", done.stdout, re.MULTILINE))
    return lambda name: json.loads(failures[known[name]])["msg"] if known[name] in failures else ""


@pytest.mark.parametrize("name", [*BAD, *BAD_TOGETHER])
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(answers: t.Callable[[str], str], name: str) -> None:
    variable = {**BAD, **BAD_TOGETHER}[name][0]
    assert re.match(rf"([a-z_]+, )*{variable}(, [a-z_]+)*: ", answers(name)), answers(name)


@pytest.mark.parametrize("name", [*GOOD, *(f"times like {', '.join(four)}" for four in TIMES)])
def test_a_good_value_passes(answers: t.Callable[[str], str], name: str) -> None:
    assert answers(name) == ""


@pytest.mark.parametrize("variable", LISTS)
def test_a_text_in_place_of_a_list_is_refused_by_name(answers: t.Callable[[str], str], variable: str) -> None:
    assert answers(f"{variable} as a text").startswith(f"{variable}: give a list; on the command line as JSON")


@pytest.mark.parametrize("variable", DICTIONARIES)
def test_a_text_in_place_of_a_dictionary_is_refused_by_name(answers: t.Callable[[str], str], variable: str) -> None:
    assert answers(f"{variable} as a text").startswith(f"{variable}: give a dictionary; on the command line as JSON")


@pytest.mark.parametrize("variable", ["app_before_switch", "app_protected_releases"])
def test_a_number_in_place_of_a_list_is_refused_too(answers: t.Callable[[str], str], variable: str) -> None:
    assert answers(f"{variable} as a number").startswith(f"{variable}: give a list")


def test_every_list_and_dictionary_is_looked_at() -> None:
    options = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    # An address alone is a list of one, headers alone Ansible takes as text, and what has options of its own it looks at itself.
    lists = {name for name, option in options.items() if option["type"] == "list" and "options" not in option}
    assert lists == {*LISTS, "app_listen"}
    assert {name for name, option in options.items() if option["type"] == "dict"} == {*DICTIONARIES, "app_release_headers"}
