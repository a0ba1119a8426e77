# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the variables of an app on the controller: they are refused, or they are sections of units. No host is connected to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = {"app_name": "web_shop", "app_command": "bin/shop"}
MISSING = None

PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "roles": ["holdfast.systemd.app"],
        "tasks": [
            {"ansible.builtin.include_vars": {"file": str(ROOT / "roles/units/vars/main.yml")}},
            {"ansible.builtin.debug": {"var": "units_files"}},
        ],
    }
]

REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "ext_name": ({"app_ext_name": "../etc"}, "app_ext_name, app_service_name: '../etc'"),
    "service_name": ({"app_service_name": "shop@"}, "app_ext_name, app_service_name: 'web-shop' and 'shop@'"),
    "service_name_of_two_lines": ({"app_service_name": "shop\n"}, "app_ext_name, app_service_name"),
    "release_name": (
        {"app_release_system": "mix", "app_command": MISSING, "app_release_name": "../x"},
        "app_release_name: '../x' cannot be the name of a program",
    ),
    "no_command": (
        {"app_command": MISSING},
        "app_command: give the command that runs the app, in one line, for instance bin/shop start; with app_release_system",
    ),
    "pre_of_two_lines": ({"app_exec_start_pre": ["bin/x\nUser=root"]}, "app_exec_start_pre, app_exec_start_wrap, app_exec_stop, app_start_command: each"),
    "pre_of_nothing": ({"app_exec_start_pre": [" "]}, "app_exec_start_pre, app_exec_start_wrap"),
    "stop_of_two_lines": ({"app_exec_stop": "bin/x\nUser=root"}, "app_exec_start_pre, app_exec_start_wrap, app_exec_stop"),
    "relative_with_another_name": ({"app_command": "@bin/shop shop"}, "'@', ':' and '|' in front need a program with an absolute path"),
    "relative_without_variables": ({"app_exec_start_pre": ["-:bin/shop"]}, "'@', ':' and '|' in front need a program with an absolute path"),
    "wrapped_prefix": ({"app_exec_start_wrap": "bin/wrap", "app_command": "-bin/shop"}, "app_command: put '-' in front of app_exec_start_wrap"),
    "a_root_that_a_deploy_user_could_be": (
        {"app_deploy_user": "deployer", "app_exec_start_pre": ["-+bin/x"]},
        "with '+' or '!' in front deployer could be root by a program of a release",
    ),
    "working_dir": ({"app_working_dir": "shared"}, "app_working_dir: 'shared' must be an absolute path"),
    "working_dir_that_leads_out": ({"app_working_dir": "/srv/web-shop/../x"}, "app_working_dir: '/srv/web-shop/../x' must be"),
    "working_dir_without_a_proof": (
        {"app_working_dir": "/var", "app_command": "/usr/bin/shop"},
        "nothing could tell which release runs; give an app_command that is relative",
    ),
    "directory": ({"app_state_directory": "../x"}, "each must be a name such as shop or shop/web"),
    "directory_of_two": ({"app_logs_directory": "a b"}, "app_tmp_directory: each must be a name"),
    "directory_kind": ({"app_directories": ["home"]}, "app_directories"),
    "mode_that_yaml_has_read": ({"app_runtime_mode": 488}, "'488' is no mode; give four octal digits with quotes"),
    "umask_that_yaml_has_read": ({"app_umask": 23}, "app_umask, app_runtime_mode"),
    "flags_dir": ({"app_flags_dir": "flags"}, "app_scripts_dir, app_flags_dir, app_pid_file: give absolute paths"),
    "no_pause": ({"app_restart_sec": "999ms"}, "app_restart_sec: '999ms' is no time of at least one second"),
    "a_pause_of_none": ({"app_restart_sec": 0}, "app_restart_sec: '0' is no time of at least one second"),
    "restart_policy": ({"app_restart_policy": "sometimes"}, "app_restart_policy"),
    "after": ({"app_unit_after": ["postgresql"]}, "app_unit_after, app_unit_wants, app_unit_requires: give names of units with their suffix"),
    "requires": ({"app_unit_requires": ["a.service b.service"]}, "app_unit_after, app_unit_wants, app_unit_requires"),
    "requires_behind_a_port": ({"app_unit_requires": ["postgresql.service"]}, "list postgresql.service in app_unit_wants and app_unit_after"),
    "forking": ({"app_service_type": "forking"}, "app_service_type: forking cannot work behind a socket"),
    "pid_file": ({"app_pid_file": "/run/shop.pid"}, "app_pid_file: systemd looks at it only with app_service_type forking"),
    "socket_in_the_runtime_directory": (
        {"app_runtime_directory": "shop", "app_listen": ["/run/shop/web.sock"]},
        "app_listen: a socket below /run/shop would be removed",
    ),
    **{
        f"a_user_that_is_root_{number}": ({"app_deploy_user": "deployer", **given}, "whoever deploys an app that runs as root is root")
        for number, given in enumerate(
            [
                {"app_user": "root"},
                {"app_user": "root", "app_service_options": {"User": "web-shop"}},
                {"app_service_options": {"User": ""}},
                {"app_service_options": {"User": None}},
                {"app_service_options": {"User": "other"}},
            ]
        )
    },
    **{
        f"a_command_of_root_{number}": ({"app_sudo_users": ["ana"], **given}, "would run with root's rights what the deploy user may replace")
        for number, given in enumerate(
            [
                {"app_service_options": {"ExecStopPost": command}}
                for command in (
                    "+bin/x",
                    " +/srv/web-shop/current/x",
                    "'+/srv/web-shop/current/x'",
                    '-"+"/srv/web-shop/current/x',
                    "\\x2b/srv/web-shop/current/x",
                    "/bin/true ; +/srv/web-shop/current/x",
                    "+/srv//web-shop/current/x",
                    "+/etc/../srv/web-shop/current/x",
                    '+/bin/sh -c ". ./env"',
                    "+/bin/sh -c 'cat env'",
                    "+/usr/bin/x \\x2e/env",
                    "+/usr/bin/x a;b",
                    "+/bin/sh ./env",
                    "+/usr/bin/env --file=../x",
                    "+/bin/sh /run/web-shop/x",
                    ["", "+/usr/bin/x %t/web-shop/x"],
                )
            ]
            + [{"app_exec_start_pre": ["/bin/true ; +/bin/sh"]}, {"app_exec_start_wrap": "/usr/bin/nice", "app_command": "; +/srv/web-shop/current/x"}]
        )
    },
    "commands_of_root_by_an_option": ({"app_sudo_users": ["ana"], "app_service_options": {"PermissionsStartOnly": True}}, "PermissionsStartOnly, and Exec"),
    "commands_of_a_socket": ({"app_sudo_users": ["ana"], "app_socket_options": {"ExecStartPost": "/srv/web-shop/current/x"}}, "and Exec of a socket"),
    **{
        f"a_file_that_systemd_opens_{number}": ({"app_sudo_users": ["ana"], "app_directories": ["runtime", "logs"], **given}, "as root, and the deploy user")
        for number, given in enumerate(
            [
                {"app_environment_files": ["-/run/web-shop/environment"]},
                {"app_environment_files": ["/var/run//web-shop/environment"]},
                {"app_environment_files": ["-%t/web-shop/environment"]},
                {"app_environment_files": ["-/var/lib/shop/environment"], "app_create_dirs": [{"path": "/var/lib/shop", "owner": "web-shop"}]},
                {"app_load_credentials": {"token": "/srv/web-shop/shared/token"}},
                *(
                    {"app_service_options": {key: value}}
                    for key, value in (
                        ("EnvironmentFile", "-/srv/web-shop/current/x"),
                        ("LoadCredential", ["a:/etc/a", "b:/srv/web-shop/current/b"]),
                        ("StandardOutput", "append:/var/log/web-shop/out"),
                        ("StandardError", "truncate:%L/web-shop/out"),
                        ("StandardInput", "file:/srv/web-shop/current/in"),
                        ("OpenFile", "/run/web-shop/x:name:read-only"),
                    )
                ),
            ]
        )
    },
    "a_socket_that_could_be_a_link": (
        {"app_deploy_user": "deployer", "app_listen": ["/srv/web-shop/shared/web.sock"]},
        "app_listen: systemd changes the owner of /srv/web-shop/shared/web.sock as root",
    ),
    "a_file_that_could_be_a_link": (
        {"app_sudo_users": ["ana"], "app_directories": ["state"], "app_copy_files": [{"src": "x", "dest": "/var/lib/web-shop/x"}]},
        "app_copy_files, app_create_dirs: root writes them",
    ),
    "programs_that_could_be_links": (
        {"app_deploy_user": "deployer", "app_scripts_dir": "/srv/web-shop/current/bin/x"},
        "app_scripts_dir, app_flags_dir: root writes there",
    ),
    "the_group_of_the_app": ({"app_deploy_user": "deployer", "app_deploy_group": "web-shop"}, "app_deploy_group: whoever is in web-shop"),
    "a_quoted_command_before_a_switch": ({"app_sudo_users": ["ana"], "app_before_switch": ["'+bin/x'"]}, "app_before_switch, app_after_switch: with an"),
}

IN_RELEASE = """/bin/sh -c 'exec "$$(pwd -P)/$$0" "$$@"' """
FROM_ELSEWHERE = """/bin/sh -c 'exec "$$(cd /srv/web-shop/current && pwd -P)/$$0" "$$@"' """
FROM_ELSEWHERE_IN_STAND_IN = FROM_ELSEWHERE.replace("current", "releases/%i")
FORKING = {"app_socket_mode": "none", "app_service_type": "forking", "app_command": MISSING}

# The directives of the service that follow from variables, by the name of the case.
TAKEN: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {
    "relative": ({}, {"ExecStart": f"{IN_RELEASE}bin/shop", "WorkingDirectory": "/srv/web-shop/current", "ExecStop": None, "PIDFile": None}),
    "absolute": ({"app_command": "/usr/bin/shop -x"}, {"ExecStart": "/usr/bin/shop -x"}),
    "quoted": ({"app_command": '"/opt/a b/shop" -x'}, {"ExecStart": '"/opt/a b/shop" -x'}),
    "another_name": ({"app_command": "@/usr/bin/shop shop"}, {"ExecStart": "@/usr/bin/shop shop"}),
    "prefix": ({"app_command": "-bin/shop"}, {"ExecStart": f"-{IN_RELEASE}bin/shop"}),
    "mix": ({"app_release_system": "mix", "app_command": MISSING}, {"ExecStart": f"{IN_RELEASE}bin/web_shop start"}),
    "distillery": ({"app_release_system": "distillery", "app_command": MISSING}, {"ExecStart": f"{IN_RELEASE}bin/web_shop foreground"}),
    "mix_that_forks": (
        {**FORKING, "app_release_system": "mix", "app_release_name": "shop"},
        {"ExecStart": f"{IN_RELEASE}bin/shop daemon", "Type": "forking", "PIDFile": "/run/web-shop/web_shop.pid"},
    ),
    "distillery_that_forks": ({**FORKING, "app_release_system": "distillery"}, {"ExecStart": f"{IN_RELEASE}bin/web_shop start"}),
    "start_command": (
        {"app_release_system": "mix", "app_command": MISSING, "app_start_command": "start_iex"},
        {"ExecStart": f"{IN_RELEASE}bin/web_shop start_iex"},
    ),
    "wrapped": ({"app_exec_start_wrap": "bin/wrap -x"}, {"ExecStart": f"{IN_RELEASE}bin/wrap -x {IN_RELEASE}bin/shop"}),
    "wrapped_from_outside": ({"app_exec_start_wrap": "/usr/bin/nice -n 5"}, {"ExecStart": f"/usr/bin/nice -n 5 {IN_RELEASE}bin/shop"}),
    "elsewhere": ({"app_working_dir": "/var/lib/shop"}, {"ExecStart": f"{FROM_ELSEWHERE}bin/shop", "WorkingDirectory": "/var/lib/shop"}),
    "in_a_folder_of_the_release": (
        {"app_working_dir": "/srv/web-shop/current/web", "app_command": "/usr/bin/shop"},
        {"ExecStart": "/usr/bin/shop", "WorkingDirectory": "/srv/web-shop/current/web"},
    ),
    "deployed_by_another": ({"app_deploy_user": "deployer"}, {}),
    "quoted_root": ({"app_service_options": {"ExecStopPost": "'+/usr/bin/x'"}}, {}),
    "second_root": ({"app_service_options": {"ExecStopPost": "/bin/x ; +/bin/y"}}, {}),
    "pre_with_a_deploy_user": (
        {"app_deploy_user": "deployer", "app_exec_start_pre": ["-bin/x", "!/usr/bin/y"]},
        {"EnvironmentFile": ["/etc/web-shop/app_environment", "-/etc/web-shop/environment"]},
    ),
    "helped": (
        {
            "app_sudo_users": ["ana"],
            "app_service_options": {"User": "web-shop", "ExecStopPost": "-+/usr/bin/x --to=a s3://b/c /etc/d $MAINPID", "StandardOutput": "append:/var/log/x"},
            "app_config_sync_command": "+/usr/bin/s3cmd --config=/etc/shop-s3cmd.conf --no-preserve sync s3://config/production/ /etc/shop/",
            "app_environment_files": ["-/etc/shop/more"],
            "app_exec_start_pre": ["/bin/sh -c 'a ; b ; c'"],
            "app_copy_files": [{"src": "x", "dest": "/srv/web-shop/etc/x"}],
        },
        {"User": "web-shop"},
    ),
    "pre": ({"app_exec_start_pre": ["-bin/x", "!/usr/bin/y"]}, {"ExecStartPre": ["", f"-{IN_RELEASE}bin/x", "!/usr/bin/y"]}),
    "dependencies": (
        {"app_socket_mode": "none", "app_unit_requires": ["a.service"], "app_unit_wants": ["b.service"], "app_unit_after": ["a.service", "b.target"]},
        {"Wants": ["b.service"]},
    ),
    "one_second": ({"app_restart_sec": 1}, {"RestartSec": 1}),
    "minutes": ({"app_restart_sec": "2 min"}, {"RestartSec": "2 min"}),
    "never": ({"app_restart_policy": "no"}, {"Restart": "no"}),
    "no_limit": ({"app_limit_nofile": ""}, {"LimitNOFILE": None, "LimitCORE": None}),
    "directories_below": ({"app_directories": ["state"], "app_state_directory": "shop/web"}, {"StateDirectory": "shop/web", "RuntimeDirectory": None}),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one run of Ansible says, to which each case is a host."""
    folder = tmp_path_factory.mktemp("variables")
    cases = {**{f"no-{name}": given for name, (given, _complaint) in REFUSED.items()}, **{f"yes-{name}": given for name, (given, _seen) in TAKEN.items()}}
    hosts = {case: {name: value for name, value in {**APP, **given}.items() if value is not MISSING} for case, given in cases.items()}
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(json.dumps(PLAY))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_NOCOLOR": "1"}
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", folder / "inventory.json", "--forks=4", folder / "play.yml"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_its_name(said: str, case: str) -> None:
    failure = re.search(rf"^fatal: \[no-{case}\]: (.*?)(?=^\S|\Z)", said, re.MULTILINE | re.DOTALL)
    assert failure, said
    assert REFUSED[case][1] in " ".join(failure[1].replace("\\n", " ").replace('\\"', '"').split())


def units(said: str, case: str) -> dict[str, t.Any]:
    start = re.search(rf"^ok: \[yes-{case}\] => (?=.*\n? *\"units_files\")", said, re.MULTILINE)
    assert start, said
    found = json.JSONDecoder().raw_decode(said, start.end())[0]["units_files"]
    return {f"{unit['name']}{unit.get('dropin', '')}": unit["sections"] for unit in found}


@pytest.mark.parametrize("case", TAKEN)
def test_the_service_follows_from_the_variables(said: str, case: str) -> None:
    sections = units(said, case)["web-shop.service"]
    service = {**sections["Unit"], **sections["Service"]}
    assert {key: service[key] for key in TAKEN[case][1]} == TAKEN[case][1]


def test_what_an_app_depends_on_joins_what_it_depends_on_anyway(said: str) -> None:
    unit = units(said, "dependencies")["web-shop.service"]["Unit"]
    assert "a.service" in unit["Requires"]
    assert {"a.service", "b.target", "network.target"} <= set(unit["After"])


def test_a_stand_in_starts_the_program_of_its_own_release_wherever_it_works(said: str) -> None:
    assert units(said, "elsewhere")["web-shop@.service"]["Service"]["ExecStart"] == f"{FROM_ELSEWHERE_IN_STAND_IN}bin/shop"
    assert units(said, "relative")["web-shop@.service"]["Service"]["EnvironmentFile"][0] == "-/srv/web-shop/releases/%i/etc/environment"


def test_only_a_release_of_elixir_gets_its_variables(said: str) -> None:
    names = {"MIX_ENV", "RELEASE_TMP", "RELEASE_MUTABLE_DIR"}
    for case, given in (("relative", set()), ("mix", {"MIX_ENV", "RELEASE_TMP"}), ("distillery", names)):
        environment = units(said, case)["web-shop.service"]["Service"]["Environment"]
        assert {name for name in names if environment.get(name)} == given
    assert units(said, "mix_that_forks")["web-shop.service"]["Service"]["Environment"]["PIDFILE"] == "/run/web-shop/web_shop.pid"


def test_systemd_reads_nothing_that_a_deploy_user_could_make_a_link_of(said: str) -> None:
    release, folder, runtime = (f"-{path}/environment" for path in ("/srv/web-shop/current/etc", "/srv/web-shop/etc", "/run/web-shop"))
    for case, given in (("relative", {release, folder, runtime}), ("helped", {release, folder}), ("deployed_by_another", set())):
        assert set(units(said, case)["web-shop.service"]["Service"]["EnvironmentFile"]) & {release, folder, runtime} == given


def test_what_a_quoted_command_of_root_runs_reads_nothing_that_the_app_may_write(said: str) -> None:
    for case in ("quoted_root", "second_root"):
        assert "-/run/web-shop/environment" not in units(said, case)["web-shop.service"]["Service"]["EnvironmentFile"]


def test_the_runtime_directory_of_a_stand_in_can_be_no_other_app_s(said: str) -> None:
    """There may be an app web-shop-admin, and a release admin of this one."""
    differs = units(said, "distillery")["web-shop@.service10-stand-in"]["Service"]
    assert differs["RuntimeDirectory"] == ["", "web-shop@%i"]
    assert {line.partition("=")[2] for line in differs["Environment"][1:]} == {"/run/web-shop@%i"}


def test_what_root_runs_reads_nothing_that_the_app_may_write(said: str) -> None:
    assert "-/run/web-shop/environment" in units(said, "relative")["web-shop.service"]["Service"]["EnvironmentFile"]
    files = units(said, "pre")["web-shop.service"]["Service"]["EnvironmentFile"]
    assert "-/run/web-shop/environment" not in files
    assert "-/srv/web-shop/current/etc/environment" in files
