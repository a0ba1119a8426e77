# SPDX-License-Identifier: GPL-3.0-or-later
"""What the deploy user cannot do, whatever he says, and whatever he puts in the way of root."""

from __future__ import annotations

import json
import typing as t

import pytest

from apps import App
from playbooks import module, playbook
from unprivileged.app import DEPLOYER, HELPER, Unrooted
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

usual_hosts = [OLDEST]

RUN = ("run", "unrooted-deploy-1.service", "first", "10s", "app_before_switch")
# Words that are not what they look like, units that are not his, and options where a name belongs.
HOSTILE = [
    [],
    [""],
    ["--help"],
    ["edit", "unrooted.service"],
    ["cat", "unrooted.service"],
    ["show", "unrooted.service"],
    ["daemon-reload"],
    ["start"],
    ["start", ""],
    ["start", "--help"],
    ["start", "--root=/srv/unrooted/releases", "unrooted.service"],
    ["start", "-H", "root@elsewhere", "unrooted.service"],
    ["restart", "other.service"],
    ["restart", "unrooted.service", "other.service"],
    ["restart", "unrooted.service other.service"],
    ["restart", "unrooted.service\nother.service"],
    ["restart", "unrooted.service\n"],
    ["restart", "unrooted.socket"],
    ["restart", "unrooted*"],
    ["restart", "unrooted"],
    ["restart", "/etc/systemd/system/unrooted.service"],
    ["reload", "unrooted-backlog.service"],
    ["start", "unrooted-runtime-environment.service"],
    ["reload", "unrooted-config-sync.service"],
    ["stop", "other.socket"],
    ["stop", "sshd.service"],
    ["stop", "unrooted@*.service"],
    ["start", "unrooted@none.service"],
    ["start", "unrooted@first.service\n"],
    ["start", "unrooted@first.service.service"],
    ["start", "unrooted@--help.service"],
    ["start", "unrooted@../../../etc.service"],
    ["start", "unrooted@first/../first.service"],
    ["start", "other@one.service"],
    ["journal", "0", "10"],
    ["journal", "0", "10", "other.service"],
    ["journal", "0", "10", "unrooted.service", "other.service"],
    ["journal", "0", "10", "--file=/etc/shadow"],
    ["journal", "0", "10", "unrooted-deploy-*"],
    ["journal", "0 --file=/etc/shadow", "10", "unrooted.service"],
    ["journal", "0", "10\n", "unrooted.service"],
    ["forget", "other.service"],
    ["forget", "unrooted.service"],
    ["forget", "../../../etc/passwd"],
    ["forget", "unrooted-deploy-1.service", "other.service"],
    ["forget", "unrooted-deploy-7.service"],
    ["run", "unrooted-deploy-7.service", *RUN[2:]],
    ["run", "other.service", *RUN[2:]],
    ["run", "../unrooted-deploy-1.service", *RUN[2:]],
    ["run", "unrooted-deploy-1.service\n", *RUN[2:]],
    ["run", RUN[1], "..", *RUN[3:]],
    ["run", RUN[1], "../../../root", *RUN[3:]],
    ["run", RUN[1], "link", *RUN[3:]],
    ["run", RUN[1], "none", *RUN[3:]],
    ["run", *RUN[1:3], "1s\nUser=root", RUN[4]],
    ["run", *RUN[1:4], "x\n[Service]\nUser=root"],
    ["as-app", "/", "5"],
    ["as-app", "/", "-1", "id"],
    ["as-app", "/", "nan", "id"],
]
# What could be a command with root's rights, in systemd's ways to write one.
PRIVILEGED = [
    ["+/usr/bin/touch /root/marked"],
    ["!/usr/bin/touch /root/marked"],
    ["!!/usr/bin/touch /root/marked"],
    ["|/usr/bin/touch /root/marked"],
    ["-+/usr/bin/touch /root/marked"],
    ["@+/usr/bin/touch touch /root/marked"],
    ["  +/usr/bin/touch /root/marked"],
    ['"+/usr/bin/touch" /root/marked'],
    ["'+/usr/bin/touch' /root/marked"],
    ["\\x2b/usr/bin/touch /root/marked"],
    ['"\\x2b/usr/bin/touch" /root/marked'],
    ["/bin/true ; +/usr/bin/touch /root/marked"],
    ["/bin/true x ;"],
    ["; +/usr/bin/touch /root/marked"],
    ["/bin/true\nExecStart=+/usr/bin/touch /root/marked"],
    ["/bin/true\rExecStart=+/usr/bin/touch /root/marked"],
    ["/bin/true\nUser=root\nExecStart=/usr/bin/touch /root/marked"],
    ["/bin/true\0"],
    ["/bin/true \\"],
    # What Python takes for the end of a line, and systemd does not.
    *(["/bin/true " + separator + "x=/bin/true", '"+/usr/bin/touch" /root/marked'] for separator in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"),
    ['-"+"/usr/bin/touch /root/marked'],
    [["+/usr/bin/touch", "/root/marked"]],
    [["/bin/true", "x\nUser=root"]],
    [["/bin/true", {"a": 1}]],
    [[["/bin/true"]]],
    [""],
    [[]],
    [5],
    "/bin/true",
    {"ExecStart": "+/usr/bin/touch /root/marked"},
    None,
]


def state(host: Host) -> str:
    """What a deploy user could have changed that is not his: units, their processes, and files."""
    units = (
        "systemctl show --property=Id,ActiveState,MainPID,NRestarts,ActiveEnterTimestampMonotonic other.service other.socket unrooted.service unrooted.socket"
    )
    files = "find /etc /root /usr/local /run/systemd/system /srv/other -xdev -printf '%p %M %u %g %s %l\\n'"
    return str(host.check_output(f"{units}; {files} | sort"))


@pytest.fixture(scope="module", autouse=True)
def traps(app: Unrooted, other: App) -> None:
    """What a hostile deploy user, or an unlucky name, could have prepared."""
    host = app.host
    host.check_output("printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/unrooted-deploy-7.service && systemctl daemon-reload")
    done = app.sh(
        "ln -sfn /root /srv/unrooted/releases/link; mkdir -p /tmp/evil; cd /tmp/evil;"
        'echo \'import os; open("/tmp/evil/marked-%d" % os.geteuid(), "w")\' | tee json.py re.py sitecustomize.py usercustomize.py >/dev/null'
    )
    assert done.returncode == 0, done.stdout


def test_sudo_lets_him_run_the_helper_of_his_app_and_nothing_else(app: Unrooted, other: App) -> None:
    listed = [line.strip() for line in app.sh("sudo --non-interactive --list").stdout.splitlines()]
    rights = [line for line in listed if line.startswith("(")]
    assert rights in ([f"(root) NOSETENV: NOPASSWD: {HELPER}"], [f"(root) NOPASSWD: NOSETENV: {HELPER}"])
    for command in (
        "sh",
        "systemctl stop other.service",
        "--user=unrooted id",
        f"{HELPER}/../unrooted check",
        "--edit /etc/passwd",
        f"PYTHONPATH=/tmp {HELPER} check",
    ):
        done = app.sh(f"sudo --non-interactive {command}")
        assert done.returncode != 0, command
        assert "sudo" in done.stdout
    assert app.sh(f"sudo --non-interactive {HELPER} check").returncode == 0
    # Who is named in app_sudo_users has the same way in.
    assert app.sh(f"sudo --non-interactive {HELPER} check", user="oncall").returncode == 0
    assert app.sh(f"sudo --non-interactive {HELPER} check", user="www-data").returncode != 0


def test_no_words_reach_anything_but_his_app(host: Host, app: Unrooted, other: App) -> None:
    before = state(host)
    answers = app.ask(*({"words": words, "input": '["/bin/true"]'} for words in HOSTILE))
    assert [answer["words"] for answer in answers if answer["status"] != 1 or f"{HELPER} refused this: " not in answer["said"]] == []
    assert [answer["said"] for answer in answers if "Traceback" in answer["said"]] == []
    assert state(host) == before


def test_what_he_may_ask_for_is_done(host: Host, app: Unrooted) -> None:
    # The runtime directory of another app, unrooted-first.
    host.check_output("mkdir -p /run/unrooted-first")
    answers = app.ask(
        {"words": ["start", "unrooted.socket"]},
        {"words": ["start", "unrooted-backlog.service"]},
        {"words": ["start", "unrooted@first.service"]},
        {"words": ["stop", "unrooted@first.service"]},
        {"words": ["journal", "0", "1000", "unrooted.service", "unrooted@*.service"]},
        {"words": RUN, "input": json.dumps(["-/bin/false", "/usr/bin/touch /run/unrooted/asked", ["/bin/true", ";"]])},
    )
    assert [answer["status"] for answer in answers] == [0] * 6, answers
    assert "Started" in answers[4]["said"]
    assert host.file("/run/unrooted/asked").user == "unrooted"
    assert host.check_output("stat --format=%U /run/unrooted-first && rmdir /run/unrooted-first") == "root"
    assert host.run("ls /run/systemd/system/unrooted*").stdout == ""


def test_no_command_of_a_deploy_gets_more_rights_than_the_app(host: Host, app: Unrooted) -> None:
    before = state(host)
    answers = app.ask(*({"words": RUN, "input": json.dumps(commands)} for commands in PRIVILEGED), {"words": RUN, "input": "no JSON"})
    assert [answer["input"] for answer in answers if answer["status"] != 1 or f"{HELPER} refused this: " not in answer["said"]] == []
    assert not host.file("/root/marked").exists
    assert state(host) == before
    done = app.switched(release=app.current(), restart=True, after=["+/usr/bin/touch /root/marked"])
    assert "app_after_switch: '+/usr/bin/touch /root/marked': whoever is not root" in done["msg"]


def test_his_surroundings_change_nothing(host: Host, app: Unrooted) -> None:
    names = [
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PYTHONUSERBASE",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "SYSTEMD_PAGER",
        "PAGER",
        "EDITOR",
        "SYSTEMD_EDITOR",
        "BASH_ENV",
    ]
    environment = {
        **dict.fromkeys(names, "/tmp/evil"),
        "PATH": "/tmp/evil:/usr/bin:/bin",
        "SYSTEMD_UNIT_PATH": "/tmp/evil",
        "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/tmp/evil/bus",
    }
    app.sh("cd /tmp/evil; for name in systemctl journalctl env; do printf '#!/bin/sh\\ntouch /tmp/evil/marked-$(id -u)\\n' >$name; chmod 755 $name; done")
    answers = app.ask(
        {"words": ["check"], "environment": environment},
        {"words": ["start", "unrooted.socket"], "environment": environment},
        {"words": ["as-app", "/tmp/evil", "5", "env"], "environment": environment},
    )
    assert [answer["status"] for answer in answers] == [0, 0, 0], answers
    assert {line.partition("=")[0] for line in answers[2]["said"].splitlines()} <= {"PATH", "LANG", "HOME", "USER", "LOGNAME"}
    assert "evil" not in answers[2]["said"]
    assert app.sh(f"cd /tmp/evil; sudo --non-interactive {HELPER} check").returncode == 0
    assert host.run("ls /tmp/evil/marked*").stdout == ""


def test_as_the_app_he_is_the_app_and_no_more(app: Unrooted, other: App) -> None:
    script = "id -un; id -Gn; test -t 0 || tty; cat /etc/other/app_environment; touch /srv/unrooted/releases/first/x; : >/dev/tty"
    (answer,) = app.ask({"words": ["as-app", "/srv/unrooted/releases/first", "10", "sh", "-c", script]})
    assert answer["said"].splitlines()[:3] == ["unrooted", "unrooted", "not a tty"]
    assert "of-the-other" not in answer["said"]
    for refused in (
        "cat: /etc/other/app_environment: Permission denied",
        "touch: cannot touch '/srv/unrooted/releases/first/x': Permission denied",
        "/dev/tty",
    ):
        assert refused in answer["said"]
    # Where his app may not go, no link leads.
    (answer,) = app.ask({"words": ["as-app", "/srv/unrooted/releases/link", "10", "pwd"]})
    assert "cannot be run" in answer["said"]


def test_systemd_reads_no_secret_of_another_app_for_him(host: Host, app: Unrooted, other: App) -> None:
    link = "ln -sfn /etc/other/app_environment /run/unrooted/environment; env >/var/lib/unrooted/before"
    answers = app.ask(
        {"words": RUN, "input": json.dumps([["sh", "-c", link]])},
        {"words": RUN, "input": json.dumps([["sh", "-c", "env >/var/lib/unrooted/seen"]])},
    )
    assert [answer["status"] for answer in answers] == [0, 0], answers
    assert "DEMO_START_SECONDS=1" in host.file("/var/lib/unrooted/seen").content_string
    assert "of-the-other" not in host.file("/var/lib/unrooted/seen").content_string


def test_no_program_of_his_gets_more_than_the_app(host: Host, app: Unrooted) -> None:
    """With the bit for his group the app's user could put something of his in the place of what is shared."""
    done = app.sh(f"install -m 2755 -g {DEPLOYER} $(readlink -f /usr/bin/python3) /srv/unrooted/releases/python")
    assert done.returncode == 0, done.stdout
    move = ["/srv/unrooted/releases/python", "-c", "import os; os.rename('/srv/unrooted/shared', '/srv/unrooted/moved')"]
    answers = app.ask({"words": ["as-app", "/", "9", *move]}, {"words": RUN, "input": json.dumps([move])})
    assert [answer["status"] for answer in answers] == [1, 1], answers
    assert "PermissionError" in answers[0]["said"]
    assert host.file("/srv/unrooted/shared").is_directory
    host.check_output("rm /srv/unrooted/releases/python")


def test_he_can_write_nothing_that_root_or_another_app_uses(app: Unrooted, other: App) -> None:
    assert app.sh("cat /etc/unrooted/app_environment").returncode == 0  # his own app's, which his releases can read
    for change in (
        "cat /etc/other/app_environment",
        "touch /srv/other/releases/x",
        "touch /etc/systemd/system/x.service",
        "touch /run/systemd/system/x.service",
        f"touch {HELPER}",
        f"mv {HELPER} /tmp/x",
        "touch /etc/sudoers.d/x",
        "cat /etc/sudoers.d/holdfast-unrooted",
        "touch /etc/unrooted/app_environment",
        "mv /srv/unrooted/shared /srv/unrooted/x",
        "mv /srv/unrooted /srv/x",
        "touch /srv/unrooted/shared/x",
        "mv /srv/unrooted/bin /srv/unrooted/x",
        "touch /srv/unrooted/bin/run",
        "rmdir /srv/unrooted/flags",
        "systemctl --no-ask-password stop other.service",
        "systemctl --no-ask-password restart unrooted.service",
    ):
        assert app.sh(change).returncode != 0, change


def planted(app: Unrooted, links: str) -> None:
    done = app.sh(f"cd /srv/unrooted; {links}")
    assert done.returncode == 0, done.stdout


def test_root_follows_no_link_that_he_has_put_in_the_way(host: Host, app: Unrooted) -> None:
    host.check_output("rm -rf /root/saved /root/folder /root/precious && cp --archive /srv/unrooted /root/saved")
    host.check_output("cd /root && mkdir -m 700 folder && touch precious folder/kept && chmod 600 precious")
    look = "cd /root && find precious folder -printf '%p %M %u %g %s %T@\\n' | sort"
    before = host.check_output(look)
    again = {**app.switch, "restart": True}

    for name in ("lock", "pending.json", "history.jsonl"):
        planted(app, f"rm -f .deploy/{name}; ln -s /root/precious .deploy/{name}")
        assert f": '/srv/unrooted/.deploy/{name}'" in module("release_switch", host, again)["msg"]
        planted(app, f"rm .deploy/{name}")

    planted(app, "cd releases; mkdir .staging-x; for link in planted .staging-x/in .staging-y .removed-x; do ln -s /root/folder $link; done")
    done = module("release_stage", host, {"path": app.folder, "release": "planted", "src": "/srv/other/releases/one", "group": "unrooted"})
    assert "/srv/unrooted/releases/planted exists, but was not staged by this collection" in done["msg"]
    assert "old release was taken out of sight and cannot be deleted" in module("release_prune", host, {"path": app.folder, "keep": 1})["warnings"]

    planted(app, "ln -sfn /root/folder current")
    assert "current points to /root/folder, which is no release of this app" in module("release_switch", host, again)["msg"]
    done = app.run("setup")
    assert done.returncode == 0, done.stdout

    assert host.check_output(look) == before
    host.check_output("find /srv/unrooted -mindepth 1 -not -path '/srv/unrooted/shared*' -delete && cp --archive /root/saved/. /srv/unrooted")


def test_root_does_not_begin_in_a_folder_that_he_has_emptied(host: Host, app: Unrooted) -> None:
    planted(app, "mv releases ~/releases; mv .deploy ~/deploy; mkdir .deploy; ln -s /etc/passwd .deploy/lock")
    look = "stat --format='%U %a %Y' /etc /etc/passwd; ls /etc"
    before = host.check_output(look)
    stage = {"path": app.folder, "release": "new", "src": "/srv/other/releases/one"}
    assert "releases" in module("release_switch", host, {**app.switch, "release": "first"})["msg"]
    assert "app_deploy_user: /srv/unrooted/releases is not there" in module("release_stage", host, stage)["msg"]
    # A link of his in its place, which leads elsewhere, is no better.
    planted(app, "ln -s /etc releases")
    assert "already exists as a link" in app.run("setup").stdout
    assert "app_deploy_user: the owner of the releases" in module("release_stage", host, stage)["msg"]
    assert host.check_output(look) == before
    planted(app, "rm -r releases .deploy; mv ~/releases releases; mv ~/deploy .deploy")


def test_root_uses_no_folder_that_he_has_made(host: Host, app: Unrooted) -> None:
    host.check_output("rm -r /srv/unrooted/bin")
    planted(app, "mkdir bin; echo '# holdfast.systemd made this.' >bin/run")
    done = app.run("setup", app_helper_scripts=True)
    assert "app_deploy_user: /srv/unrooted/bin belongs to another than root" in done.stdout
    planted(app, "rm -r bin")
    done = app.run("setup", app_helper_scripts=True, app_restart_method="systemd_flag")
    assert done.returncode == 0, done.stdout
    assert host.check_output("stat --format=%U:%a /srv/unrooted/bin /srv/unrooted/bin/run").split() == ["root:755", "root:755"]


def test_he_restarts_the_app_by_a_flag_and_makes_no_other_app_wait(host: Host, app: Unrooted) -> None:
    pid = "systemctl show --value --property=MainPID unrooted.service"
    before = host.check_output(pid)
    planted(app, "touch flags/restart.flag")
    app.wait_until(f"[ $({pid}) != {before} ] && [ $(systemctl is-active unrooted-restart.service) = inactive ]")
    before = host.check_output(pid)
    planted(app, "mv .deploy/lock .deploy/own; ln -s /srv/other/.deploy/lock .deploy/lock; touch flags/restart.flag")
    app.wait_until("systemctl is-failed --quiet unrooted-restart.service")
    assert host.check_output(pid) == before
    planted(app, "mv .deploy/own .deploy/lock")


@pytest.mark.parametrize(("user", "complaint"), [("oncall", "oncall is not root and lacks a right"), ("www-data", "www-data is not root and lacks a right")])
def test_who_lacks_a_right_is_told_which_and_what_to_do(host: Host, app: Unrooted, user: str, complaint: str) -> None:
    done = module("release_switch", host, {**app.switch, "release": "first"}, "--become", f"--become-user={user}")
    assert f"app_deploy_user: {complaint}" in done["msg"]
    assert f"run the setup playbook as root with app_deploy_user={user}" in done["msg"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"app_deploy_user": "no such\nuser"}, "app_deploy_user, app_deploy_group, app_sudo_users: give names of accounts"),
        ({"app_sudo_users": ["%admin"]}, "app_deploy_user, app_deploy_group, app_sudo_users: give names of accounts"),
        ({"app_sudo_users": ["oncall\n"]}, "app_deploy_user, app_deploy_group, app_sudo_users: give names of accounts"),
        ({"app_deploy_user": "unrooted"}, "app_deploy_user, app_sudo_users: unrooted runs the app"),
        ({"app_user": "root"}, "app_deploy_user, app_sudo_users: whoever deploys an app that runs as root is root"),
        ({"app_service_options": {"ExecStartPre": "+bin/prepare"}}, "app_deploy_user, app_sudo_users: +bin/prepare would run with root's rights"),
        ({"app_service_options": {"ExecStopPost": ["-!/srv/unrooted/current/bin/x", "y"]}}, "would run with root's rights"),
        ({"app_environment_files": ["-/srv/unrooted/current/environment"]}, "as root, and the deploy user could make a link"),
        ({"app_command": "+/srv/unrooted/current/bin/demo"}, "would run with root's rights"),
        ({"app_before_switch": [["+bin/migrate"]]}, "app_before_switch, app_after_switch: with an app_deploy_user no command may begin with"),
    ],
)
def test_what_would_make_him_root_is_refused_before_anything_is_sent(app: Unrooted, variables: dict[str, t.Any], complaint: str) -> None:
    # No host is asked, so there need not be one.
    done = app.run("setup", "--inventory=nowhere,", "--limit=nowhere", **variables)
    assert complaint in done.stdout, done.stdout


def test_a_right_that_is_not_given_any_more_is_taken_away(host: Host, app: Unrooted) -> None:
    # What he leaves behind to come back by.
    host.check_output("echo 1 >/root/precious && chmod 666 /root/precious")
    planted(app, "chmod 777 .deploy releases releases/first; rm .deploy/lock; ln -s /root/precious .deploy/lock")
    done = playbook("setup", host, {**app.variables, "app_deploy_user": "root", "app_sudo_users": []})
    assert done.returncode == 0, done.stdout
    assert not host.file(HELPER).exists
    assert not host.file("/etc/sudoers.d/holdfast-unrooted").exists
    assert app.sh(f"sudo --non-interactive {HELPER} check").returncode != 0
    assert host.check_output("find /srv/unrooted/releases /srv/unrooted/.deploy /srv/unrooted/current -printf '%u\\n' | sort -u") == "root"
    for change in (
        "touch /srv/unrooted/x",
        "touch /srv/unrooted/releases/x",
        "touch /srv/unrooted/releases/first/x",
        "ln -sfn releases/first /srv/unrooted/current",
        "rm /srv/unrooted/.deploy/lock",
    ):
        assert app.sh(change).returncode != 0, change
    assert module("release_switch", host, {**app.switch, "restart": True})["changed"]
    assert host.file("/root/precious").content_string == "1\n"
    assert app.answers() == app.current()


def test_the_playbook_remove_takes_it_away(host: Host, app: Unrooted) -> None:
    # A file of the app's name alone may be somebody else's.
    host.check_output(f"install -D /dev/null {HELPER} && install /dev/null /etc/sudoers.d/holdfast-unrooted && install /dev/null /etc/sudoers.d/unrooted")
    done = app.run("remove")
    assert done.returncode == 0, done.stdout
    assert not host.file(HELPER).exists
    assert not host.file("/etc/sudoers.d/holdfast-unrooted").exists
    assert host.file("/etc/sudoers.d/unrooted").exists
    assert host.user(DEPLOYER).exists
