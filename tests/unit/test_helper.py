# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper of an app does what a deploy needs, and refuses everything else before it asks anybody."""

from __future__ import annotations

import ast
import collections
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _helper
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._helper import Helper, RefusedError
from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import UnitFileError, parse
from hypothesis import given
from hypothesis import strategies as st

MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins/module_utils"
SERVICE = """# /etc/systemd/system/shop.service
[Unit]
Description=shop

[Service]
Type=notify
User=shop
Group=shop
WorkingDirectory=/srv/shop/current
EnvironmentFile=/etc/shop/app_environment
EnvironmentFile=-/srv/shop/current/etc/environment
ExecStartPre=+/usr/bin/prepare
ExecStart=/bin/sh -c x
Restart=always
RuntimeDirectory=%p
NoNewPrivileges=yes
"""


class Asked(Exception):
    """Somebody was asked, with these words."""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    (tmp_path / "1").mkdir()
    (tmp_path / "link").symlink_to("/root")

    def run(command: list[str], **_options: t.Any) -> t.NoReturn:
        raise Asked(command)

    monkeypatch.setattr(subprocess, "run", run)
    units = {"shop.service": ["start", "stop", "restart", "reload", "reset-failed"], "shop.socket": ["start"], "shop-backlog.service": ["start"]}
    return Helper(service="shop.service", stand_in="shop@.service", units=units, releases=str(tmp_path), user="shop", group="shop")


def commands(*given: t.Any) -> Commands:
    return Commands(given, "shop.service", "2", "/srv/shop/releases/2", "10min", "app_before_switch")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["restart", "shop.service"], "restart -- shop.service"),
        (["start", "shop.socket", "shop.service"], "start -- shop.socket shop.service"),
        (["start", "shop@1.service"], "start -- shop@1.service"),
        (["stop", "shop@gone.service"], "stop -- shop@gone.service"),
    ],
)
def test_units_of_the_app_are_managed(helper: Helper, words: list[str], asked: str) -> None:
    with pytest.raises(Asked) as done:
        helper.do(words[0], words[1:])
    assert " ".join(done.value.args[0]).endswith(asked)


@pytest.mark.parametrize(
    "words",
    [
        ["edit", "shop.service"],
        ["start"],
        ["check", "x"],
        ["restart", "shop.socket"],
        ["restart", "shop.service", "other.service"],
        ["restart", "shop.service\n"],
        ["start", "shop@gone.service"],
        ["start", "shop@link.service"],
        ["start", "shop@.service"],
        ["stop", "shop@*.service"],
        ["stop", "shop@1.service\nother.service"],
        ["journal", "0", "9", "other.service"],
        ["journal", "0", "9\n", "shop.service"],
        ["run", "other.service", "1", "9s", "app_before_switch"],
        ["forget", "shop-deploy-1.service\n"],
        ["as-app", "/", "1e9", "id"],
    ],
)
def test_everything_else_is_refused_and_nobody_asked(helper: Helper, words: list[str]) -> None:
    with pytest.raises(RefusedError):
        helper.do(words[0], words[1:])


def test_it_is_nobody_s_way_to_be_root(helper: Helper) -> None:
    helper.user = helper.group = "root"
    with pytest.raises(RefusedError, match="root is root"):
        helper.do("as-app", ["/", "5", "id"])


@pytest.mark.parametrize("before", ["", "NoNewPrivileges=no\n"])
def test_no_command_can_gain_a_right_by_a_program_of_the_deploy_user_s(helper: Helper, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    text = f"[Service]\nUser=shop\n{before}"
    monkeypatch.setattr(subprocess, "run", lambda command, **_options: subprocess.CompletedProcess(command, 0, text))
    assert parse(helper._text(["bin/x"], "1", "5s", "app_before_switch"))["Service"]["NoNewPrivileges"] == ["yes"]


def test_the_unit_of_commands_is_for_root_s_eyes_alone(tmp_path: Path) -> None:
    _helper._write(str(tmp_path / "x"), "secret")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


@given(verb=st.sampled_from(["start", "stop", "restart", "reload", "reset-failed"]), unit=st.text(max_size=30))
def test_no_text_is_a_unit_by_accident(verb: str, unit: str) -> None:
    helper = Helper(service="shop.service", stand_in="shop@.service", units={"shop.service": ["start"]}, releases="/none", user="shop", group="shop")
    assert verb not in helper._verbs(unit)


def test_the_unit_of_commands_is_the_service_s_but_for_how_it_is_run() -> None:
    found = parse(commands("bin/migrate --all", ["bin/a b", "$HOME"]).unit(SERVICE))["Service"]
    assert found["User"] == ["shop"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["RuntimeDirectory"] == ["shop"]
    assert found["WorkingDirectory"] == ["/srv/shop/releases/2"]
    # What the service takes from its release, a command takes from its own.
    assert found["EnvironmentFile"] == ["/etc/shop/app_environment", "-/srv/shop/releases/2/etc/environment"]
    assert found["ExecStart"] == ["", "/srv/shop/releases/2/bin/migrate --all", '"/srv/shop/releases/2/bin/a b" "$$HOME"']
    assert "ExecStartPre" not in found
    assert "Restart" not in found


@pytest.mark.parametrize(("command", "files"), [("bin/x", ["/etc/a", "-/run/shop/b"]), ("+bin/x", ["/etc/a"])])
def test_what_root_runs_takes_nothing_from_a_file_of_the_app(command: str, files: list[str]) -> None:
    text = "[Service]\nEnvironmentFile=/etc/a\nEnvironmentFile=-/run/shop/b\n"
    assert parse(commands(command).unit(text))["Service"]["EnvironmentFile"] == files


@pytest.mark.parametrize("command", ["bin/migrate --all", "-bin/migrate", "@/bin/sh name -c 'a; b'", ":/bin/echo $x", "curl x", ["bin/migrate", ";", "+x"]])
def test_plain_commands_ask_for_no_privileges(command: t.Any) -> None:
    commands(command).refuse_privileges()


@pytest.mark.parametrize(
    "command",
    [
        "+bin/x",
        "!bin/x",
        "-!!bin/x",
        "|bin/x",
        "@+bin/x x",
        ' "+/bin/x"',
        "\\x2b/bin/x",
        "'/bin/x'y",
        "/bin/x ; +/bin/y",
        "/bin/x\t;",
        "/bin/x\n+",
        "/bin/x\\",
        "%x",
        ["+/bin/x"],
        ["/bin/x y"],
        [["/bin/x"]],
    ],
)
def test_commands_that_could_get_privileges_are_refused(command: t.Any) -> None:
    with pytest.raises(UnitFileError):
        commands(command).refuse_privileges()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\n", "\r"])
def test_no_command_is_judged_by_the_text_of_another(separator: str) -> None:
    with pytest.raises(UnitFileError):
        commands(f"/bin/true {separator}x=/bin/true", '"+/usr/bin/touch" /root/marked').refuse_privileges()
    with pytest.raises(UnitFileError):
        commands(f"/bin/true {separator}x").refuse_privileges()


@pytest.mark.parametrize("command", ['"+bin/x"', "'!bin/x'", '-"+"bin/x', ['"+/bin/x']])
def test_what_root_would_run_is_known_through_quotes(command: t.Any) -> None:
    text = "[Service]\nEnvironmentFile=-/run/shop/b\n"
    assert parse(commands(command).unit(text))["Service"]["EnvironmentFile"] == [""]


def test_its_parts_make_one_program(tmp_path: Path) -> None:
    """Two things of one name would be one there, and another one than their modules mean."""
    parts = [ast.parse((MODULE_UTILS / f"{name}.py").read_text()) for name in ("_unit_file", "_commands", "_helper")]
    names: collections.Counter[str] = collections.Counter()
    for part in parts:
        for node in part.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names[node.name] += 1
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                names.update(
                    name.id for target in getattr(node, "targets", [getattr(node, "target", None)]) for name in ast.walk(target) if isinstance(name, ast.Name)
                )
            elif isinstance(node, ast.ImportFrom):
                # Nothing but these is taken out of the one program, and the rest is the standard library.
                assert node.module == "__future__" or str(node.module).rpartition(".")[2] in ("_unit_file", "_commands")
    assert [name for name, number in names.items() if number > 1] == []
    assert json.loads(json.dumps(_helper.ENVIRONMENT)) == _helper.ENVIRONMENT
