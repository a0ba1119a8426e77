# SPDX-License-Identifier: GPL-3.0-or-later
"""What people run sees the world as the app does."""

from __future__ import annotations

import re
import typing as t

from companions.app import NAME
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion

usual_hosts = [OLDEST]

RUN = f"/srv/{NAME}/bin/run"
# What systemd gives to each process anew, what comes with a socket, and what the shell of a relative command adds.
OF_ONE_PROCESS = re.compile(r"LISTEN_\w+|NOTIFY_SOCKET|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MEMORY_PRESSURE_\w+|TERM|PWD")
# Types into a terminal, and shows what comes back.
TYPE = """
import os, pty, sys
child, terminal = pty.fork()
if not child:
    os.execv(sys.argv[1], sys.argv[1:])
os.write(terminal, b"test -t 0 && tty; id -un; echo $NAME_OF_UNIT; exit 5\\n")
seen = b""
while True:
    try:
        read = os.read(terminal, 1000)
    except OSError:
        break
    if not read:
        break
    seen += read
print(seen.decode(errors="replace"))
print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_command_sees_the_same_environment_as_the_app(host: Host, app: Companion) -> None:
    seen = dict(variable.split("=", 1) for variable in host.check_output(f"{RUN} env -0").split("\0") if variable)
    expected = {name: value for name, value in app.environment().items() if not OF_ONE_PROCESS.fullmatch(name)}
    assert expected["GREETING"] == 'hello "$world"'
    assert expected["ADDRESS"]
    assert {name: value for name, value in seen.items() if not OF_ONE_PROCESS.fullmatch(name)} == expected


def test_a_program_of_the_release_runs_as_the_app_in_its_folder(host: Host, app: Companion) -> None:
    told = host.check_output("%s bin/report 'two words' '$HOME' '%%n' '' 'a\\b\"c'", RUN).splitlines()
    assert told == [
        f"user {NAME}:{NAME}",
        f"folder /srv/{NAME}/releases/one",
        f"program /srv/{NAME}/releases/one/bin/report",
        *[f"argument {argument}" for argument in ("two words", "$HOME", "%n", "", 'a\\b"c')],
    ]
    assert host.check_output(f"{RUN} sh -c 'ulimit -n'") == "4321"


def test_input_output_and_status_are_those_of_the_command(host: Host, app: Companion) -> None:
    assert host.check_output(f"echo some input | {RUN} cat") == "some input"
    assert host.run(f"{RUN} bin/report fail").rc == 7
    assert host.run(f"{RUN} /bin/sh -c 'echo wrong >&2; exit 3'").stderr.strip() == "wrong"
    assert host.run(RUN).rc == 64
    assert host.run(f"{RUN} no-such-program").rc != 0


def test_the_directory_of_the_live_app_outlives_a_command(host: Host, app: Companion) -> None:
    host.check_output(f"{RUN} true")
    assert host.file(f"/run/{NAME}/environment").exists


def test_no_secret_stands_on_a_command_line(host: Host, app: Companion) -> None:
    host.check_output(f"systemd-run --quiet --unit={NAME}-long {RUN} sleep 60")
    app.wait_until("pgrep --exact sleep >/dev/null")
    assert "world" not in host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    host.check_output(f"systemctl stop {NAME}-long.service '{NAME}-run-*'")


def test_migrate_gets_its_arguments_and_seed_is_not_there(host: Host, app: Companion) -> None:
    told = host.check_output(f"/srv/{NAME}/bin/migrate --dry-run").splitlines()
    assert told[3:] == ["argument migrate", "argument two words", "argument --dry-run"]
    assert not host.file(f"/srv/{NAME}/bin/seed").exists


def test_a_console_has_a_terminal(host: Host, app: Companion) -> None:
    for helper in ("remote-console", "set-env"):
        told = host.check_output("python3 -c %s %s", TYPE, f"/srv/{NAME}/bin/{helper}").replace("\r", "").splitlines()
        assert any("/dev/pts/" in line for line in told), told
        assert {NAME, "a b"} <= set(told)
        assert told[-1] == "status 5"


def test_they_are_programs_of_root(host: Host, app: Companion) -> None:
    found = host.check_output(f"stat -c '%n %U %G %a' /srv/{NAME}/bin /srv/{NAME}/bin/*").splitlines()
    assert len(found) == 5
    assert all(line.endswith("root root 755") for line in found)
