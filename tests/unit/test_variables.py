# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the variables of an app on the controller: they are refused, or they are sections of units.

Ansible's own templates are asked directly. A run with a host for each case would take a minute.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import render

ROOT = Path(__file__).resolve().parents[2]
APP = {"app_name": "web_shop", "app_command": "bin/shop"}
MISSING = object()

REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "no_name": ({"app_name": MISSING}, "missing required arguments: app_name"),
    "no_name_for_a_pid_file": ({"app_name": MISSING, "app_service_type": "forking"}, "missing required arguments: app_name"),
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
    "mode_that_yaml_has_read": ({"app_runtime_mode": 488}, "'488' is no mode; give three or four octal digits with quotes"),
    "mode_that_looks_octal": ({"app_runtime_mode": 750}, "'750' is no mode"),
    "mode_of_five": ({"app_runtime_mode": "00750"}, "'00750' is no mode"),
    "umask_that_yaml_has_read": ({"app_umask": 23}, "app_umask, app_runtime_mode"),
    "flags_dir": ({"app_flags_dir": "flags"}, "app_scripts_dir, app_flags_dir, app_pid_file: give absolute paths"),
    "batches_of_words": ({"app_serial": "half"}, "app_serial: 'half' does not say how many hosts change at a time"),
    "a_batch_of_nobody": ({"app_serial": [1, 0]}, "app_serial: [1, 0] does not say how many hosts"),
    "no_batch": ({"app_serial": []}, "app_serial: [] does not say how many hosts"),
    "more_than_all": ({"app_serial": "101%"}, "app_serial: '101%' does not say how many hosts"),
    "leave_by_no_file": ({"app_load_balancer_leave": "no/such.yml"}, "app_load_balancer_leave: 'no/such.yml' is no file on the controller"),
    "join_by_a_folder": ({"app_load_balancer_join": "/etc"}, "app_load_balancer_join: '/etc' is no file on the controller"),
    "no_pause": ({"app_restart_sec": "999ms"}, "app_restart_sec: '999ms' is no time of at least one second"),
    "a_pause_of_none": ({"app_restart_sec": 0}, "app_restart_sec: '0' is no time of at least one second"),
    "restart_policy": ({"app_restart_policy": "sometimes"}, "app_restart_policy"),
    "after": ({"app_unit_after": ["postgresql"]}, "app_unit_after, app_unit_wants, app_unit_requires: give names of units with their suffix"),
    "requires": ({"app_unit_requires": ["a.service b.service"]}, "app_unit_after, app_unit_wants, app_unit_requires"),
    "requires_behind_a_port": ({"app_unit_requires": ["postgresql.service"]}, "list postgresql.service in app_unit_wants and app_unit_after"),
    "forking": ({"app_service_type": "forking"}, "app_service_type: forking cannot work behind a socket"),
    "environment_of_root": (
        {"app_exec_start_pre": ["+/usr/bin/x"], "app_environment_files": ["-/run/web-shop/environment"]},
        "app_environment_files: a command with '+' or '!' in front would let the app tell root what to load",
    ),
    "pid_file": ({"app_pid_file": "/run/shop.pid"}, "app_pid_file: systemd looks at it only with app_service_type forking"),
    "socket_in_the_runtime_directory": (
        {"app_runtime_directory": "shop", "app_listen": ["/run/shop/web.sock"]},
        "app_listen: /run/shop/web.sock would be removed",
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
# What mix_systemd is told with nil.
EMPTY = (
    *("app_exec_start_wrap", "app_exec_stop", "app_runtime_environment_script", "app_config_sync_command", "app_root_directory", "app_pid_file"),
    *("app_limit_core", "app_limit_nofile", "app_env_lang", "app_mix_env", "app_migrate_command", "app_seed_command", "app_console_command"),
)

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
    "arguments": (
        {
            "app_environment_files": ["-/run/web-shop/environment"],
            "app_service_options": {"ExecStartPost": ["/usr/bin/date", "+%s"], "ExecStop": [["/bin/a", "+"], ["-/bin/b", "!"]], "ExecReload": ["", "/bin/c +"]},
        },
        {},
    ),
    **{
        f"root_{number}": ({"app_service_options": {"ExecStartPost": command}}, {})
        for number, command in enumerate(["-+/bin/x", ["!/bin/x", "y"], [["/bin/x"], ["@+/bin/y", "y"]], ["", "/bin/x", "+/bin/y"]])
    },
    "dependencies": (
        {"app_socket_mode": "none", "app_unit_requires": ["a.service"], "app_unit_wants": ["b.service"], "app_unit_after": ["a.service", "b.target"]},
        {"Wants": ["b.service"]},
    ),
    "one_second": ({"app_restart_sec": 1}, {"RestartSec": 1}),
    "minutes": ({"app_restart_sec": "2 min"}, {"RestartSec": "2 min"}),
    "never": ({"app_restart_policy": "no"}, {"Restart": "no"}),
    "nothing": (
        dict.fromkeys(EMPTY),
        {"ExecStop": None, "ExecStart": f"{IN_RELEASE}bin/shop", "PIDFile": None, "LimitCORE": None, "RuntimeDirectoryPreserve": "no"},
    ),
    "no_core": ({"app_limit_core": 0}, {"LimitCORE": 0}),
    "no_limit": ({"app_limit_nofile": ""}, {"LimitNOFILE": None, "LimitCORE": None}),
    "further_paths": (
        {
            "app_hardening": "strict",
            "app_directories": ["tmp"],
            "app_service_options": {"BindPaths": ["/data"], "ReadWritePaths": "/data", "ProtectSystem": False},
        },
        {"BindPaths": ["-/var/tmp/web-shop", "/data"], "ReadWritePaths": "/data"},
    ),
    "paths_taken_away": (
        {"app_directories": ["tmp"], "app_read_write_paths": ["/data"], "app_service_options": {"BindPaths": None, "ReadWritePaths": None}},
        {"BindPaths": None, "ReadWritePaths": None},
    ),
    "a_flag_that_the_app_removes": ({"app_restart_method": "touch"}, {}),
    "a_flag_in_a_root_of_its_own": ({"app_restart_method": "touch", "app_chroot": True, "app_flags_dir": "/opt/flags"}, {}),
    "beside_its_release": (
        {
            "app_chroot": True,
            "app_service_options": {
                "ExecStartPost": ["/srv/web-shop/current/bin/wait", "4000"],
                "ExecStopPost": [["/bin/a", "/srv/web-shop/current"], ["/bin/b", "50%"]],
                "Environment": {"HERE": "/srv/web-shop/current/x y", "THERE": "/srv/web-shop/current.env"},
                "EnvironmentFile": ["-/srv/web-shop/current-env", "-/srv/web-shop/current/env"],
            },
        },
        {},
    ),
    "modes": ({"app_runtime_mode": "2750", "app_umask": "022", "app_configuration_mode": "550"}, {"RuntimeDirectoryMode": "2750", "UMask": "022"}),
    "escaped_unit": ({"app_unit_after": ["mnt-my\\x2ddata.mount"]}, {"After": ["web-shop.socket", "network.target", "mnt-my\\x2ddata.mount"]}),
    "another_service": (
        {"app_service_name": "shop-eu", "app_directories": ["runtime", "configuration"]},
        {"RuntimeDirectory": "shop-eu", "ConfigurationDirectory": "shop-eu", "SyslogIdentifier": "shop-eu", "User": "web-shop"},
    ),
    "directories_below": ({"app_directories": ["state"], "app_state_directory": "shop/web"}, {"StateDirectory": "shop/web", "RuntimeDirectory": None}),
}


class Controller:
    """What Ansible makes of the variables of an app."""

    def __init__(self) -> None:
        self.loader = DataLoader()
        self.options = self.load("roles/app/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        self.variables = self.load("roles/app/tasks/main.yml")[0]["vars"]
        parts = sorted(path.relative_to(ROOT) for path in (ROOT / "roles/app/vars/main").iterdir())
        for path in ("roles/app/defaults/main.yml", *map(str, parts), "roles/units/vars/main.yml"):
            self.variables.update(self.load(path))

    def load(self, path: str) -> t.Any:
        return self.loader.load_from_file(str(ROOT / path), trusted_as_template=True)

    def with_defaults(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        return {**self.variables, **{name: value for name, value in {**APP, **given}.items() if value is not MISSING}}

    def values(self, given: dict[str, t.Any], *names: str) -> dict[str, t.Any]:
        variables = self.with_defaults(given)
        templar = Templar(self.loader, variables=variables)
        asked = {name: variables[name] for name in names if name in variables}
        # As the role does.
        asked.update({name: trust_as_template(f"{{{{ lookup('holdfast.systemd.app_vars', '{name}') }}}}") for name in names if name.startswith("units_")})
        return t.cast("dict[str, t.Any]", templar.template(asked))

    def complaints(self, given: dict[str, t.Any]) -> list[str]:
        """Why these variables are refused: for their types, or by the checks of the role."""
        try:
            wrong = ArgumentSpecValidator(self.options).validate(self.values(given, *self.options)).error_messages
            return list(wrong) or [problem for problem in [self.values(given, "app_problem")["app_problem"]] if problem]
        except AnsibleError as error:
            return [str(error)]


@pytest.fixture(scope="module", name="said")
def controller(templates_compiled_once: None) -> Controller:
    return Controller()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_its_name(said: Controller, case: str) -> None:
    given, complaint = REFUSED[case]
    assert complaint in " ".join(" ".join(said.complaints(given)).split())


def test_only_variables_that_there_are_are_looked_at(said: Controller) -> None:
    """One that is misspelt would look as if it had no value."""
    source = (ROOT / "plugins/plugin_utils/_problems.py").read_text()
    named = {*re.findall(r"\bapp[.](app_\w+)", source), *re.findall(r'"(app_\w+)"', source)}
    assert named - said.variables.keys() - said.options.keys() == set()


def service(said: Controller, case: str) -> dict[str, t.Any]:
    """The service alone, which takes a fifth of the time of all units."""
    sections = said.values(TAKEN[case][0], "units_service")["units_service"]
    return {**sections["Unit"], **sections["Service"]}


def units(said: Controller, case: str) -> dict[str, t.Any]:
    found = said.values(TAKEN[case][0], "units_files")["units_files"]
    return {f"{unit['name']}{unit.get('dropin', '')}": unit.get("sections") for unit in found}


@pytest.mark.parametrize("case", TAKEN)
def test_the_service_follows_from_the_variables(said: Controller, case: str) -> None:
    given, expected = TAKEN[case]
    assert said.complaints(given) == []
    found = service(said, case)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("case", ["relative", "mix", "further_paths"])
def test_what_is_worked_out_at_once_is_what_it_is_anyway(said: Controller, case: str) -> None:
    names = ("units_files", "units_for_people")
    variables = said.with_defaults(TAKEN[case][0])
    assert said.values(TAKEN[case][0], *names) == Templar(said.loader, variables=variables).template({name: variables[name] for name in names})


def test_nothing_is_nothing_whether_empty_or_null(said: Controller) -> None:
    empty = said.values(dict.fromkeys(EMPTY, ""), "units_files", "units_for_people")
    assert said.values(dict.fromkeys(EMPTY), "units_files", "units_for_people") == empty


def test_what_an_app_depends_on_joins_what_it_depends_on_anyway(said: Controller) -> None:
    unit = service(said, "dependencies")
    assert "a.service" in unit["Requires"]
    assert {"a.service", "b.target", "network.target"} <= set(unit["After"])


def test_a_stand_in_starts_the_program_of_its_own_release_wherever_it_works(said: Controller) -> None:
    assert units(said, "elsewhere")["web-shop@.service"]["Service"]["ExecStart"] == f"{FROM_ELSEWHERE_IN_STAND_IN}bin/shop"
    assert units(said, "relative")["web-shop@.service"]["Service"]["EnvironmentFile"][0] == "-/srv/web-shop/releases/%i/etc/environment"


def test_a_stand_in_has_its_own_release_in_whatever_form_it_is_named(said: Controller) -> None:
    found = units(said, "beside_its_release")
    assert {
        'ExecStartPost="/srv/web-shop/releases/%i/bin/wait" "4000"',
        'ExecStopPost="/bin/a" "/srv/web-shop/releases/%i"',
        'ExecStopPost="/bin/b" "50%%"',
        'Environment="HERE=/srv/web-shop/releases/%i/x y"',
        'Environment="THERE=/srv/web-shop/current.env"',
        "EnvironmentFile=-/srv/web-shop/current-env",
        "EnvironmentFile=-/srv/web-shop/releases/%i/env",
    } <= set(render(found["web-shop@.service"]).splitlines())
    assert "BindReadOnlyPaths=/srv/web-shop/releases/%i:/" in render(found["web-shop@.service10-sandbox"]).splitlines()


@pytest.mark.parametrize(
    ("stop", "lines"),
    [
        (None, []),
        ("/bin/a b", ["/bin/a b"]),
        (["/bin/a", "b"], ['"/bin/a" "b"']),
        (["", "/bin/a b", "/bin/c"], ["/bin/a b", "/bin/c"]),
        ([["/bin/a"], ["/bin/b"]], ['"/bin/a"', '"/bin/b"']),
    ],
)
def test_clients_are_held_back_before_the_app_s_own_commands_to_stop(said: Controller, stop: object, lines: list[str]) -> None:
    given = {"app_socket_mode": "proxy", "app_proxy_to": "127.0.0.1:4001", "app_service_options": {"ExecStop": stop}}
    found = render(said.values(given, "units_behind_proxy")["units_behind_proxy"]).splitlines()
    reset, hold, *own = [line.partition("=")[2] for line in found if line.startswith("ExecStop=")]
    assert (reset, '"hold"' in hold, own) == ("", True, lines)


def test_the_module_of_a_release_is_named_as_elixir_does(said: Controller) -> None:
    given = {"app_name": "my-web_app", "app_release_system": "mix"}
    assert said.values(given, "app_migrate_command")["app_migrate_command"] == "bin/my-web_app eval 'MyWebApp.Release.migrate()'"


def test_only_a_release_of_elixir_gets_its_variables(said: Controller) -> None:
    names = {"MIX_ENV", "RELEASE_TMP", "RELEASE_MUTABLE_DIR"}
    for case, given in (("relative", set()), ("mix", {"MIX_ENV", "RELEASE_TMP"}), ("distillery", names)):
        environment = service(said, case)["Environment"]
        assert {name for name in names if environment.get(name)} == given
    assert service(said, "mix_that_forks")["Environment"]["PIDFILE"] == "/run/web-shop/web_shop.pid"


def test_the_app_may_write_its_own_folders_at_any_level(said: Controller) -> None:
    shared, flags = ("-/srv/web-shop/shared", "-/srv/web-shop/flags")
    expected = {"relative": [shared], "further_paths": [shared], "paths_taken_away": None, "a_flag_that_the_app_removes": [shared, flags]}
    for case, paths in expected.items():
        sandbox = said.values(TAKEN[case][0], "units_sandbox")["units_sandbox"]["Service"]
        assert sandbox.get("ReadWritePaths") == paths
        assert ("ProtectSystem" in sandbox) == (case != "further_paths")
    chroot = said.values(TAKEN["a_flag_in_a_root_of_its_own"][0], "units_sandbox")["units_sandbox"]["Service"]
    assert chroot["BindPaths"] == ["/srv/web-shop/shared", "/opt/flags"]


@pytest.mark.parametrize(("case", "is_for_root"), [("arguments", False), *((f"root_{number}", True) for number in range(4))])
def test_a_command_of_root_is_one_whose_program_says_so(said: Controller, case: str, is_for_root: bool) -> None:
    assert ("-/run/web-shop/environment" in service(said, case)["EnvironmentFile"]) != is_for_root


def test_systemd_reads_nothing_that_a_deploy_user_could_make_a_link_of(said: Controller) -> None:
    release, folder, runtime = (f"-{path}/environment" for path in ("/srv/web-shop/current/etc", "/srv/web-shop/etc", "/run/web-shop"))
    for case, given in (("relative", {release, folder, runtime}), ("helped", {release, folder}), ("deployed_by_another", set())):
        assert set(units(said, case)["web-shop.service"]["Service"]["EnvironmentFile"]) & {release, folder, runtime} == given


def test_what_a_quoted_command_of_root_runs_reads_nothing_that_the_app_may_write(said: Controller) -> None:
    for case in ("quoted_root", "second_root"):
        assert "-/run/web-shop/environment" not in units(said, case)["web-shop.service"]["Service"]["EnvironmentFile"]


def test_the_runtime_directory_of_a_stand_in_can_be_no_other_app_s(said: Controller) -> None:
    """There may be an app web-shop-admin, and a release admin of this one."""
    differs = units(said, "distillery")["web-shop@.service10-stand-in"]["Service"]
    assert differs["RuntimeDirectory"] == ["", "web-shop@%i"]
    assert {line.partition("=")[2] for line in differs["Environment"][1:]} == {"/run/web-shop@%i"}


def test_what_root_runs_reads_nothing_that_the_app_may_write(said: Controller) -> None:
    assert "-/run/web-shop/environment" in units(said, "relative")["web-shop.service"]["Service"]["EnvironmentFile"]
    files = units(said, "pre")["web-shop.service"]["Service"]["EnvironmentFile"]
    assert "-/run/web-shop/environment" not in files
    assert "-/srv/web-shop/current/etc/environment" in files


@pytest.mark.parametrize("mode", ["inherit", "proxy"])
def test_an_app_finds_its_own_ports_and_not_those_of_an_instance(said: Controller, mode: str) -> None:
    """A port that is found and not wanted any more is closed."""
    listens = {"app_listen": [4000, {"listen": 4001, "name": "admin"}], "app_socket_mode": mode, "app_proxy_to": "127.0.0.1:4002"}
    instances = ["shop", "shop-eu", "shop-proxy"]
    given = {name: {**listens, "app_name": "shop", "app_ext_name": name} for name in instances}
    installed = [(name, unit) for name in instances for unit in said.values(given[name], "units_files")["units_files"] if "dropin" not in unit]
    for name in instances:
        names, content = (said.values(given[name], variable)[variable] for variable in ("units_to_look_for", "units_of_this_app"))
        found = [
            (owner, unit["name"])
            for owner, unit in installed
            if any(fnmatch.fnmatch(unit["name"], pattern) for pattern in names)
            and any(re.match(content, line) for line in render(unit.get("sections", {})).splitlines())
        ]
        own = [f"{name}.socket", f"{name}-admin.socket", *([f"{name}-proxy.service"] if mode == "proxy" else [])]
        assert found == [(name, unit) for unit in own]


def test_an_app_finds_the_ports_of_an_earlier_set_up(said: Controller) -> None:
    assert re.match(said.values({}, "units_of_this_app")["units_of_this_app"], "Service=web-shop.service\n")


@pytest.mark.parametrize(("mode", "has_backlog"), [("inherit", True), ("proxy", False), ("none", False)])
def test_a_flag_restarts_the_app_in_each_mode(said: Controller, mode: str, has_backlog: bool) -> None:
    given = {"app_restart_method": "systemd_flag", "app_socket_mode": mode}
    _path, restart, _run = said.values(given, "units_for_people")["units_for_people"]
    words = restart["sections"]["Service"]["ExecStart"][2]
    assert ("systemctl start web-shop-backlog.service;" in words) == has_backlog
    assert words.endswith("; exec systemctl restart web-shop.service")
    assert restart["sections"]["Unit"]["StartLimitIntervalSec"] == 0
