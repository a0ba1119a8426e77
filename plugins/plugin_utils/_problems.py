# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the types of an app's variables let pass and nobody could carry out. Private to the collection.

All of it is decided on the controller, so a wrong variable costs no connection and changes nothing. What belongs here
needs the variables alone; whatever needs to look at the host is for the modules to refuse.

Each function asks one kind of question, and yields what is wrong: which variable, why, and what to give instead. A
function may rely on what was asked before it, since only the first problem is told.
"""

from __future__ import annotations

import os.path
import re
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.holdfast.systemd.plugins.filter.below import below
from ansible_collections.holdfast.systemd.plugins.filter.socket_units import socket_units
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check, CheckError
from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import UnitFileError, environment_file, render

LISTS = (
    *("app_exec_start_pre", "app_sudo_users", "app_directories", "app_environment_files", "app_unit_after", "app_unit_wants", "app_unit_requires"),
    *("app_runtime_environment_after", "app_read_write_paths", "app_read_only_paths", "app_inaccessible_paths", "app_shared_paths"),
    *("app_before_switch", "app_after_switch", "app_protected_releases", "app_create_dirs", "app_copy_files"),
)
DICTIONARIES = (
    *("app_environment", "app_unit_options", "app_service_options", "app_socket_options"),
    *("app_load_credentials", "app_health_check"),
)
TIMES = ("app_start_timeout", "app_stop_timeout", "app_stand_in_timeout", "app_command_timeout")
SIZES = ("app_release_max_size", "app_memory_headroom")
NUMBERS = ("app_release_strip_components", "app_keep_releases", "app_keep_days", "app_settle_seconds", "app_lock_timeout")
MODES = ("app_umask", "app_runtime_mode", "app_state_mode", "app_cache_mode", "app_logs_mode", "app_configuration_mode", "app_tmp_mode")
DIRECTORIES = (
    *("app_runtime_directory", "app_state_directory", "app_cache_directory"),
    *("app_logs_directory", "app_configuration_directory", "app_tmp_directory"),
)
# What systemd opens as root, before the app runs.
OPENED_BY_ROOT = (
    *("EnvironmentFile", "LoadCredential", "LoadCredentialEncrypted", "OpenFile", "RootDirectory", "RootImage"),
    *("StandardInput", "StandardOutput", "StandardError"),
)

OOM_SCORES = range(-1000, 1001)
UNIT_NAME = r"[a-z][a-z0-9_-]{0,30}\Z"
RELEASE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
PLAIN_PATH = r"/[A-Za-z0-9._/-]*\Z"
# systemd.time(7)
TIME_UNIT = "usec|us|[µμ]s|msec|ms|seconds?|sec|s|minutes?|min|m|hours?|hr|h|days?|d|weeks?|w|months?|M|years?|y"
TIME_SPAN = rf"\s*(infinity|([+]?([0-9]+|[0-9]*[.][0-9]+)(?![0-9.])\s*({TIME_UNIT})?\s*)+)\s*\Z"
# As systemd reads it: a backslash takes away the meaning of what follows, in quotes of both kinds too.
CLOSED_QUOTES = r"""([^"'\\]|\\.|"([^"\\]|\\.)*"|'([^'\\]|\\.)*')*\Z"""
PLAIN_ROOT_COMMAND = r"""[-@:|]*[+!]+(/[\w.+-]+)+([ \t]+[^\s"'\\;%]+)*\Z"""


class Variables(t.Protocol):
    """The variables of an app by their names; one that has no value is None."""

    def __getattr__(self, name: str) -> t.Any: ...


def problems(app: Variables) -> t.Iterator[str]:
    """What is wrong with these variables, the first thing first."""
    for ask in QUESTIONS:
        yield from ask(app)


def _containers(app: Variables) -> t.Iterator[str]:
    """By its type a text passes for either, and would break the other questions before they could say so."""
    wrong = [name for name in LISTS if isinstance(getattr(app, name), str) or not isinstance(getattr(app, name), t.Sequence)]
    if wrong:
        yield f"""{", ".join(wrong)}: give a list; on the command line as JSON, for instance -e '{{"app_before_switch": ["bin/migrate"]}}'"""
    wrong = [name for name in DICTIONARIES if not isinstance(getattr(app, name), t.Mapping)]
    if wrong:
        yield f"""{", ".join(wrong)}: give a dictionary; on the command line as JSON, for instance -e '{{"app_environment": {{"COLOUR": "blue"}}}}'"""


def _names(app: Variables) -> t.Iterator[str]:
    if not _matches(UNIT_NAME, app.app_name):
        yield (f"app_name: '{app.app_name}' cannot name units, accounts and folders; use up to 31 lower-case letters, digits, '-' and '_', with a letter first")
    if not _matches(r"(/+(?![.][.]?(/|\Z))[A-Za-z0-9._-]+)+/*\Z", app.app_base_dir):
        yield (f"app_base_dir: '{app.app_base_dir}' must be an absolute path of letters, digits, '.', '_', '-' and '/', without '..', for instance /srv")
    if not _all_match(UNIT_NAME, [app.app_ext_name, app.app_service_name]):
        yield (
            f"app_ext_name, app_service_name: '{app.app_ext_name}' and '{app.app_service_name}' must be up to 31 lower-case letters, digits, '-' and '_', "
            "with a letter first"
        )
    if app.app_ext_name == "root" and "root" in (app.app_user, app.app_group):
        yield "app_name: with the name root the app would run as root; choose another one, or an app_user and an app_group"
    if not _all_match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?\Z", [app.app_user, app.app_group]):
        yield "app_user, app_group: give names of accounts, of letters, digits, '.', '_' and '-'"
    if not _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", app.app_release_name):
        yield f"app_release_name: '{app.app_release_name}' cannot be the name of a program in bin/; use letters, digits, '.', '_' and '-'"
    for name in ("app_rollback_to", "app_release_id"):
        given = getattr(app, name)
        if given is not None and not _matches(RELEASE_ID, given):
            advice = {
                "app_rollback_to": "the playbook status lists those of a host",
                "app_release_id": "use up to 64 letters, digits, '.', '_' and '-', with a letter or digit first",
            }
            yield f"{name}: '{given}' cannot be a release id; {advice[name]}"
    if not _all_match(r"[a-z_][a-z0-9_-]{0,31}\Z", [app.app_deploy_user, app.app_deploy_group, *app.app_sudo_users]):
        yield "app_deploy_user, app_deploy_group, app_sudo_users: give names of accounts, of lower-case letters, digits, '_' and '-'"


def _runtime(app: Variables) -> t.Iterator[str]:
    runtime = app.app_runtime
    if runtime is not None and getattr(app, f"app_preset_{runtime}") is None:
        yield f"app_runtime: there is no preset for '{runtime}'; ansible-doc -t role holdfast.systemd.app lists those that there are, and generic fits any app"


def _commands(app: Variables) -> t.Iterator[str]:
    command, commands = str(app.app_command or ""), app.app_commands
    if not _matches(r"[^\s]", command) or "\n" in command:
        example = f"for instance {app.app_preset.get('for_example', 'bin/shop start')}"
        if app.app_preset.get("app_command") or app.app_runtime in (None, "generic"):
            yield (
                f"app_command: give the command that runs the app, in one line, {example}; with app_release_system mix or distillery it follows "
                "from app_release_name"
            )
        else:
            yield f"app_command: give the command that runs the app, in one line, {example}; app_runtime {app.app_runtime} cannot know the name of your app"
        return
    background = re.match(r"\s*\S*bin/\S+\s+(daemon\w*)(\s|\Z)", command)
    if background and app.app_service_type != "forking" and (app.app_release_system == "mix" or app.app_runtime == "erlang"):
        yield (
            f"app_command, app_start_command: {background[1]} leaves the app to run_erl in the background, and a socket belongs to the process that systemd "
            f"starts (LISTEN_PID); use {'foreground' if app.app_runtime == 'erlang' else 'start'}"
        )
    if not _all_match(CLOSED_QUOTES, [given for given in [*commands, *app.app_before_switch, *app.app_after_switch] if isinstance(given, str)]):
        yield (
            "app_command, app_exec_start_wrap, app_exec_start_pre, app_exec_stop, app_before_switch, app_after_switch: a quotation mark has no second one, "
            "or a backslash is the last character"
        )
    if not _all_match(r"\s*[^\s]", app.app_exec_start_pre) or _any_has("[\n\r]", commands):
        yield "app_exec_start_pre, app_exec_start_wrap, app_exec_stop, app_start_command: each command is a text of one line, for instance bin/shop check"
    if _any_matches(r"""\s*[-+!]*[@:|][-+!@:|]*(?![-+!@:|]|["']?/)""", commands):
        yield (
            "app_command, app_exec_start_wrap, app_exec_start_pre, app_exec_stop: '@', ':' and '|' in front need a program with an absolute path; '-', '+' "
            "and '!' do not"
        )
    if app.app_deploy_user != "root" and _any_matches(r"""\s*[-!]*[+!][-+!]*(?![-+!]|["']?/)""", commands):
        yield (
            f"app_command, app_exec_start_wrap, app_exec_start_pre, app_exec_stop: with '+' or '!' in front {app.app_deploy_user} could be root by a program "
            "of a release; give a program with an absolute path"
        )
    if app.app_exec_start_wrap and _matches(r"\s*[-@:+!|]", command):
        yield f"app_command: put '{command.strip()[0]}' in front of app_exec_start_wrap, which is what systemd starts"
    if not _matches(PLAIN_PATH, app.app_working_dir) or "/../" in f"{app.app_working_dir}/":
        yield f"app_working_dir: '{app.app_working_dir}' must be an absolute path of letters, digits, '.', '_', '-' and '/', without '..'"
    if not f"{app.app_working_dir}/".startswith(f"{app.app_dir}/current/") and _matches(r"""\s*[-@:+!|]*["']?/""", command):
        yield (
            "app_working_dir: the process would neither work in its release nor be a program of it, so nothing could tell which release runs; give an "
            f"app_command that is relative to the release, or leave app_working_dir at {app.app_dir}/current"
        )


def _commands_of_a_deploy(app: Variables) -> t.Iterator[str]:
    commands = [*app.app_before_switch, *app.app_after_switch]
    if not all(isinstance(command, str) or (isinstance(command, t.Sequence) and command) for command in commands):
        yield "app_before_switch, app_after_switch: each command is a text or a list of arguments"
        return
    if _any_has("[\n\r]", _words(commands)):
        yield "app_before_switch, app_after_switch: each command must be one line"
    if not _matches("([A-Za-z0-9._/][^\n\r]*)?\\Z", app.app_runtime_environment_script or ""):
        yield "app_runtime_environment_script: give a command in one line and without a prefix, for it runs as the app, for instance bin/find-address"
    if not _matches("(-?([+!]{0,2}/|[A-Za-z0-9._])[^\n\r]*)?\\Z", app.app_config_sync_command or ""):
        yield (
            "app_config_sync_command: give a command in one line; one that runs as root ('+' or '!' in front) needs an absolute path, since a release "
            "belongs to whoever deploys it"
        )
    if _any_has("[\n\r]", [app.app_migrate_command, app.app_seed_command, app.app_console_command]):
        yield "app_migrate_command, app_seed_command, app_console_command: each must be one line"


def _directories(app: Variables) -> t.Iterator[str]:
    name = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
    if not _all_match(rf"{name}(/{name})*\Z", [getattr(app, variable) for variable in DIRECTORIES]):
        yield (
            "app_runtime_directory, app_state_directory, app_cache_directory, app_logs_directory, app_configuration_directory, app_tmp_directory: each must be "
            "a name such as shop or shop/web, which systemd makes below /run, /var/lib, /var/cache, /var/log, /etc and /var/tmp"
        )
    # What is no text is what YAML has read, and decimal.
    wrong = [mode for mode in (getattr(app, variable) for variable in MODES) if not (isinstance(mode, str) and _matches(r"[0-7]{3,4}\Z", mode))]
    if wrong:
        yield f"{', '.join(MODES)}: '{wrong[0]}' is no mode; give three or four octal digits with quotes, for instance \"0750\""
    if not _all_match(PLAIN_PATH, [app.app_scripts_dir, app.app_flags_dir, app.app_pid_file or "/"]):
        yield "app_scripts_dir, app_flags_dir, app_pid_file: give absolute paths of letters, digits, '.', '_', '-' and '/'"
    if not _all_match("/", _made_paths(app)):
        yield "app_copy_files, app_create_dirs: each dest and path must be an absolute path on the host"
    if _any_matches(r"/|(.*/)?[.][.](/|\Z)|[.]?/?\Z", app.app_shared_paths):
        yield "app_shared_paths: give paths inside the release, for instance public/uploads"


def _units(app: Variables) -> t.Iterator[str]:
    if not _matches(r"0*[1-9][0-9]*([.][0-9]+)? *(s|sec|seconds?|m|min|minutes?|h|hr|hours?)?\Z", app.app_restart_sec):
        yield (
            f"app_restart_sec: '{app.app_restart_sec}' is no time of at least one second, without which a release that dies at once would spin; give for "
            "instance 5s"
        )
    if not _all_match(r"[A-Za-z0-9:_.@\\-]+[.][a-z]+\Z", [*app.app_unit_after, *app.app_unit_wants, *app.app_unit_requires]):
        yield "app_unit_after, app_unit_wants, app_unit_requires: give names of units with their suffix, for instance postgresql.service"
    if app.app_unit_requires and app.app_socket_mode != "none":
        yield (
            "app_unit_requires: while such a unit is broken and a client waits at the held port, systemd would try again thousands of times a second; list "
            f"{' and '.join(app.app_unit_requires)} in app_unit_wants and app_unit_after, and the app is tried again with the pause of app_restart_sec"
        )
    for name in TIMES:
        if not _matches(TIME_SPAN, getattr(app, name)):
            yield f"{name}: '{getattr(app, name)}' is no time span of systemd; give for instance 90s, 1min 30s, 2h or infinity"
    try:
        render({"Unit": app.app_unit_options, "Service": app.app_service_options, "Socket": app.app_socket_options})
    except UnitFileError as error:
        yield f"app_unit_options, app_service_options, app_socket_options: {error}"
    if int(app.app_oom_score_adjust or 0) not in OOM_SCORES:
        yield "app_oom_score_adjust: give a number from -1000 to 1000"
    if app.app_pid_file and app.app_service_type != "forking":
        yield "app_pid_file: systemd looks at it only with app_service_type forking; leave it out"


def _environment(app: Variables) -> t.Iterator[str]:
    try:
        environment_file(app.app_environment)
    except UnitFileError as error:
        yield f"app_environment: {error}"
    if (
        app.app_has_root_commands
        and "runtime" in app.app_directories
        and _any_matches(rf"-?(/var)?/run/{re.escape(app.app_runtime_directory)}/", app.app_environment_files)
    ):
        yield (
            "app_environment_files: a command with '+' or '!' in front would let the app tell root what to load, by what it writes below "
            f"/run/{app.app_runtime_directory}; leave that file out"
        )
    # A specifier such as %E is an absolute path too.
    if not _all_match("-?[/%][^\n\r]*\\Z", app.app_environment_files):
        yield "app_environment_files: give absolute paths on the host, each with '-' in front if the file may be missing"
    if not _all_match(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", app.app_load_credentials):
        yield "app_load_credentials: the name of a credential is of letters, digits, '.', '_' and '-', with a letter or digit first"
    if not _all_match(r"/[^\s]*\Z", app.app_load_credentials.values()):
        yield "app_load_credentials: give the absolute path of a file on the host for each name, for instance {token: /etc/shop/token}"


def _sockets(app: Variables) -> t.Iterator[str]:
    try:
        units = _socket_units(app)
    except AnsibleFilterError as error:
        yield str(error)
        return
    removed = tuple(f"/run/{name}/" for name in _runtime_directories(app))
    fleeting = [path for path in _socket_paths(app) if f"{path}/".startswith(removed)]
    if fleeting:
        yield (
            f"app_listen: {fleeting[0]} would be removed with the app's runtime directory at each restart; put it elsewhere, for instance at "
            f"/run/{app.app_service_name}.sock, or take runtime out of app_directories"
        )
    if app.app_socket_mode != "proxy":
        return
    address = str(app.app_proxy_to or "")
    if not _matches(r"(/\S+|[0-9.]+:[0-9]+|\[[0-9a-fA-F:.]+\]:[0-9]+)\Z", address):
        yield (
            f"app_proxy_to: {repr(address) + ' is no address' if address else 'is not set'}; with app_socket_mode proxy say which address the app itself "
            f"binds, for instance 127.0.0.1:4001 or /run/{app.app_service_name}/http.sock"
        )
    streams = [str(stream) for unit in units for stream in unit["sections"]["Socket"].get("ListenStream", [])]
    everywhere = [stream.rpartition(":")[2] for stream in streams if _matches(r"(0[.]0[.]0[.]0:|\[::\]:)?[0-9]+\Z", stream)]
    if address in streams or address.rpartition(":")[2] in everywhere:
        yield f"app_proxy_to: {address} is held already, by app_listen; let the app bind another address, for instance 127.0.0.1:4001"
    if _any_matches("Listen(Datagram|Seq)", [key for unit in units for key in unit["sections"]["Socket"]]):
        yield "app_listen: a proxy passes on streams only; use app_socket_mode inherit for sockets of another type"
    if int(app.app_proxy_connections) <= 0:
        yield f"app_proxy_connections: '{app.app_proxy_connections}' would let nobody through; give a number above 0"
    if boolean(app.app_chroot):
        yield (
            "app_chroot: with app_socket_mode proxy a program of the host waits beside the app until it accepts connections, which a root of its own hides; "
            "use app_hardening instead"
        )


def _switch(app: Variables) -> t.Iterator[str]:
    options, kind = app.app_service_options, app.app_service_type
    if kind == "forking" and app.app_socket_mode != "none":
        yield (
            "app_service_type: forking cannot work behind a socket, because the process that systemd gives the socket to (LISTEN_PID) goes away, as with "
            "daemon and run_erl; run the app in the foreground with exec or notify, or use app_socket_mode none"
        )
    if _is_true(app.app_wait_until_accepting):
        yield from _waiting(app)
    if app.app_switch == "reload" and kind != "notify-reload" and not options.get("ExecReload"):
        yield (
            "app_switch: nothing says how the app reloads; give it ExecReload in app_service_options, or app_service_type notify-reload, or use app_switch "
            "restart"
        )
    if app.app_switch != "overlap":
        return
    if app.app_socket_mode != "inherit":
        yield (
            f"app_switch: overlap needs two instances on one socket, and with app_socket_mode {app.app_socket_mode} the app binds an address that only one "
            "can have; use app_switch restart"
        )
    if kind not in ("notify", "notify-reload") and not options.get("ExecStartPost") and not _is_true(app.app_wait_until_accepting):
        yield (
            f"app_switch: overlap must know when a release is ready, and app_service_type {kind} does not say so; use notify, or app_wait_until_accepting, or "
            "an ExecStartPost in app_service_options that waits until the release answers, or use app_switch restart"
        )
    if not boolean(app.app_socket_non_blocking):
        yield ("app_socket_non_blocking: a stand-in would freeze an app that waits in accept(), so app_switch overlap needs true; else use app_switch restart")


def _waiting(app: Variables) -> t.Iterator[str]:
    by_preset = _is_true(app.app_preset.get("app_wait_until_accepting"))
    if app.app_socket_mode == "none" and not by_preset:
        yield (
            "app_wait_until_accepting: with app_socket_mode none there is no socket that the app is given, and so none to look at; use app_service_type "
            "notify, or an ExecStartPost in app_service_options that waits until the release answers"
        )
    if app.app_socket_mode != "inherit":
        return  # what a preset says is for a socket, and a proxy waits by itself
    if not any(key in ("ListenStream", "ListenSequentialPacket") for unit in _socket_units(app) for key in unit["sections"]["Socket"]):
        yield "app_wait_until_accepting: none of the sockets in app_listen takes connections, so the app would be waited for in vain; set it to false"
    if boolean(app.app_chroot):
        yield (
            "app_wait_until_accepting: a program of the host looks at the app, which app_chroot hides; use app_service_type notify and set it to false, or use "
            "app_hardening instead of app_chroot"
        )


def _sandbox(app: Variables) -> t.Iterator[str]:
    options, base = app.app_service_options, app.app_base_dir
    if app.app_hardening != "none" and "ProtectHome" not in options and _matches(r"/(home|root|run/user)(/|\Z)", base):
        yield (
            f"app_base_dir: with app_hardening {app.app_hardening} the app sees nothing below /home, /root and /run/user, so it cannot be in {base}; put it "
            "elsewhere, for instance in /srv, or set app_service_options ProtectHome to read-only"
        )
    temporary = re.match(r"(/var)?/tmp(?=/|\Z)", base)
    if app.app_hardening != "none" and "PrivateTmp" not in options and temporary:
        yield (
            f"app_base_dir: with app_hardening {app.app_hardening} the app has a {temporary[0]} of its own, so it cannot be in {base}; put it elsewhere, for "
            "instance in /srv, or set app_service_options PrivateTmp to false"
        )
    paths = [*app.app_read_write_paths, *app.app_read_only_paths, *app.app_inaccessible_paths]
    wrong = [path for path in paths if not _matches(r"""-?[+]?/[^\s"']*\Z""", path)]
    if wrong:
        yield (
            f"app_read_write_paths, app_read_only_paths, app_inaccessible_paths: '{wrong[0]}' is no absolute path without blanks and quotes, for instance "
            "/var/lib/data, or -/var/lib/data if it may be missing"
        )
    if app.app_root_directory and not boolean(app.app_chroot):
        yield "app_root_directory: it means nothing without app_chroot; set app_chroot: true"


def _release(app: Variables) -> t.Iterator[str]:
    if not _matches(r"(sha256:)?[0-9a-fA-F]{64}\Z", app.app_release_checksum or "0" * 64):
        yield f"app_release_checksum: '{app.app_release_checksum}' is no SHA-256; give 64 hexadecimal digits"
    if not _matches(r"[^-\s]\S*\Z", app.app_release_git_ref):
        yield f"app_release_git_ref: '{app.app_release_git_ref}' cannot be a branch, a tag or a commit; the name of none has blanks or begins with '-'"
    for name in SIZES:
        if not _matches(r"([0-9]+|[0-9]*[.][0-9]+) *[KMGTkmgt]?B?\Z", getattr(app, name)):
            yield f"{name}: '{getattr(app, name)}' is no size; give a number with K, M, G or T, for instance 500M"
    if min(float(getattr(app, name)) for name in NUMBERS) < 0:
        yield f"{', '.join(NUMBERS)}: give numbers that are not negative"
    try:
        Check.read(app.app_health_check)
    except CheckError as error:
        yield f"app_health_check: {error}"


def _deploy_user(app: Variables) -> t.Iterator[str]:
    """Whoever may deploy an app without being root must not become root by it."""
    if app.app_user != "root" and app.app_user in (app.app_deploy_user, *app.app_sudo_users):
        yield f"app_deploy_user, app_sudo_users: {app.app_user} runs the app, which must not be able to change its own code or units; give another account"
    if app.app_deploy_user != "root" and app.app_deploy_group == app.app_group:
        yield (
            f"app_deploy_group: whoever is in {app.app_deploy_group} may put links into {app.app_dir}, and the app must not; give another group than app_group"
        )
    if not app.app_has_helper:
        return
    options = app.app_service_options
    if str(app.app_user) in ("root", "0") or str(options.get("User", app.app_user) or "") != str(app.app_user):
        yield (
            "app_deploy_user, app_sudo_users: whoever deploys an app that runs as root is root; give the app an app_user of its own, and no other User in "
            "app_service_options"
        )
    privileged = _privileged_commands(app)
    if privileged:
        yield (
            f"app_deploy_user, app_sudo_users: {privileged[0]} would run with root's rights what the deploy user may replace; take off the '+' or '!', or give "
            f"in plain words, without quotes and ';', a program that neither is nor names anything in {app.app_dir} or a folder of the app"
        )
    if "PermissionsStartOnly" in options or _any_matches("Exec", app.app_socket_options):
        yield (
            "app_service_options, app_socket_options: PermissionsStartOnly, and Exec of a socket, run commands with root's rights; with an app_deploy_user put "
            "'+' in front of those in app_service_options that need them"
        )
    if boolean(app.app_chroot):
        yield "app_chroot: with an app_deploy_user he would own the root directory, which programs that gain rights trust; use app_hardening instead"
    if _any_matches(r"""[\s"'@:-]*[+!|\\]""", ["".join(_words([command])) for command in (*app.app_before_switch, *app.app_after_switch)]):
        yield "app_before_switch, app_after_switch: with an app_deploy_user no command may begin with '+', '!' or '|'; the app's rights are all it gets"


def _links(app: Variables) -> t.Iterator[str]:
    """Where the deploy user or the app may write, either could put a link for root to follow."""
    if not app.app_has_helper:
        return
    folders = _folders_of_others(app)
    astray = below(_opened_by_root(app), [app.app_dir, *folders])
    if astray:
        yield (
            f"app_environment_files, app_load_credentials, app_service_options: systemd opens {astray[0]} as root, and the deploy user could make a link to "
            f"the secrets of others of it; give a plain path outside of {app.app_dir} and of the folders of the app"
        )
    sockets = below(_socket_paths(app), folders)
    if sockets:
        yield (
            f"app_listen: systemd changes the owner of {sockets[0]} as root, and the deploy user could make a link of it; put it where only root may write, "
            f"for instance at /run/{app.app_service_name}.sock"
        )
    inner = [f"{app.app_dir}/{name}" for name in ("releases", "current", ".deploy", "shared")]
    if below([app.app_scripts_dir, app.app_flags_dir], [*(folder for folder in folders if folder != app.app_dir), *inner]):
        yield (
            "app_scripts_dir, app_flags_dir: root writes there, and the deploy user could make links to elsewhere of what is below a folder that is his or the "
            "app's; give paths outside of these"
        )
    if below(_made_paths(app), folders):
        yield (
            f"app_copy_files, app_create_dirs: root writes them, and the deploy user could make links to elsewhere of what is below {app.app_dir} or a folder "
            "of the app; give paths outside of these"
        )


def _fleet(app: Variables) -> t.Iterator[str]:
    batches = [app.app_serial] if isinstance(app.app_serial, (str, int)) else app.app_serial
    if not batches or not isinstance(batches, t.Sequence) or not _all_match(r"([1-9][0-9]*|([1-9][0-9]?|100)%)\Z", batches):
        yield (
            f"app_serial: {app.app_serial!r} does not say how many hosts change at a time; give a number above 0, a percentage up to 100%, or a list of "
            """these; on the command line a list is JSON, for instance -e '{"app_serial": [1, "25%"]}'"""
        )
    for name in ("app_load_balancer_leave", "app_load_balancer_join"):
        path = getattr(app, name)
        if path and not os.path.isfile(os.path.expanduser(str(path))):
            yield f"{name}: '{path}' is no file on the controller; give the path of a file of tasks, from where ansible-playbook is called"


QUESTIONS = (
    *(_containers, _names, _runtime, _commands, _commands_of_a_deploy, _directories, _units, _environment, _sockets, _switch, _sandbox, _release),
    *(_deploy_user, _links, _fleet),
)


def _socket_units(app: Variables) -> list[dict[str, t.Any]]:
    return [] if app.app_socket_mode == "none" else socket_units(app.app_listen, app.app_service_name, user=app.app_user, group=app.app_group)


def _socket_paths(app: Variables) -> list[str]:
    """The paths of all sockets, each as it is spelled in the shortest way."""
    given = [app.app_socket_options, *(unit["sections"]["Socket"] for unit in _socket_units(app))]
    found = [str(value) for directives in given for key, values in directives.items() if key.startswith("Listen") for value in _words([values])]
    paths = [os.path.normpath(re.sub("/+", "/", path)) for path in found if path.startswith("/")]
    return [re.sub("^/var/run/", "/run/", path) for path in paths]


def _runtime_directories(app: Variables) -> list[str]:
    """systemd removes these when the service stops."""
    default = app.app_runtime_directory if "runtime" in app.app_directories else ""
    given = app.app_service_options.get("RuntimeDirectory", default)
    return [name.partition(":")[0] for name in " ".join(_words([given])).split()]


def _made_paths(app: Variables) -> list[str]:
    return [*(entry["dest"] for entry in app.app_copy_files), *(entry["path"] for entry in app.app_create_dirs)]


def _folders_of_others(app: Variables) -> list[str]:
    """Where others than root may write."""
    return [
        f"{app.app_dir}/shared" if app.app_deploy_user == "root" else app.app_dir,
        *(path for kind, path in app.app_directory_paths.items() if kind != "configuration"),
        *(path.lstrip("-+") for path in app.app_read_write_paths),
        *(entry["path"] for entry in app.app_create_dirs if entry.get("owner", "root") not in ("root", 0, "0")),
    ]


def _privileged_commands(app: Variables) -> list[str]:
    """What would run as root although others may replace it, or what it names, or of which only systemd can tell."""
    options = {key: value for key, value in app.app_service_options.items() if key.startswith("Exec")}
    others = [given for given in (app.app_config_sync_command, app.app_runtime_environment_script) if given]
    text = render({"Service": options}) + "\n" + render({"Service": {"ExecStart": ["", *app.app_commands, *others]}})
    commands = [command for command in re.findall(r"^Exec\w+=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE) if re.search(app.app_root_prefix, command)]
    folders = "|".join(re.escape(os.path.normpath(folder)) for folder in [app.app_dir, *_folders_of_others(app)])
    of_others = rf"(?<!:)/([.]*/|[.]{{2}})|[\s=:,][.]|({folders})(?![\w.+-])"
    return [command for command in commands if not re.match(PLAIN_ROOT_COMMAND, command) or re.search(of_others, command)]


def _opened_by_root(app: Variables) -> list[str]:
    options = {key: value for key, value in app.app_service_options.items() if key in OPENED_BY_ROOT}
    return [
        *(re.sub(r"^\s*-", "", str(path)) for path in app.app_environment_files),
        *(str(path) for path in app.app_load_credentials.values()),
        *re.findall(r'^\w+=\s*-?(?:[^/\n]*:)?([/\\%"].*)$', render({"Service": options}), re.MULTILINE),
    ]


def _words(values: t.Iterable[t.Any]) -> list[str]:
    """Texts and lists of texts, as one list of texts; of what is nothing there is none."""
    return [str(word) for value in values for word in ([value] if isinstance(value, (str, int)) else value or [])]


def _is_true(value: t.Any) -> bool:
    """Whether a switch is on; one that is given as nothing is off."""
    return boolean(value or False)


def _matches(pattern: str, value: object) -> bool:
    return bool(re.match(pattern, str(value)))


def _all_match(pattern: str, values: t.Iterable[object]) -> bool:
    return all(_matches(pattern, value) for value in values)


def _any_matches(pattern: str, values: t.Iterable[object]) -> bool:
    return any(_matches(pattern, value) for value in values)


def _any_has(pattern: str, values: t.Iterable[object]) -> bool:
    return any(re.search(pattern, str(value)) for value in values if value)
