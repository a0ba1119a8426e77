# SPDX-License-Identifier: GPL-3.0-or-later
"""Files come and go whole, what systemd would ignore is refused, and it reloads when it must and only then."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import module

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

SERVICE = {"Service": {"Type": "oneshot", "RemainAfterExit": True, "ExecStart": "/bin/true"}}
NAME = "files-test.service"


@pytest.fixture(autouse=True)
def clean(host: Host) -> t.Iterator[None]:
    yield
    host.check_output("systemctl stop 'files-test*' 2>/dev/null; rm -rf /etc/systemd/system/files*test*; systemctl daemon-reload")


def reloads(host: Host) -> int:
    host.check_output("journalctl --sync")
    return int(host.run(r"journalctl _PID=1 --output=cat --no-pager | grep --count --extended-regexp '^Reloading(\.|\.\.\.)?$'").stdout)


def test_a_new_unit_is_known_to_systemd_and_again_changes_nothing(host: Host, unit: t.Callable[[str], Unit]) -> None:
    done = module("unit", host, {"name": NAME, "sections": SERVICE})
    assert (done["changed"], done["path"]) == (True, f"/etc/systemd/system/{NAME}")
    assert unit(NAME)["LoadState"] == "loaded"
    before = reloads(host)
    again = module("unit", host, {"name": NAME, "sections": SERVICE})
    assert (again["changed"], again["reloaded"]) == (False, False)
    assert reloads(host) == before


def test_a_set_of_units_costs_one_reload(host: Host, unit: t.Callable[[str], Unit]) -> None:
    names = [f"files-test-{number}.service" for number in range(5)]
    module("unit", host, {"units": [{"name": name, "sections": SERVICE} for name in names]})
    host.check_output(f"systemctl start {' '.join(names)}")
    before = reloads(host)
    changed = {"Service": {**SERVICE["Service"], "Nice": 3}}
    module("unit", host, {"units": [{"name": name, "sections": changed} for name in names]})
    assert reloads(host) == before + 1
    assert [unit(name)["Nice"] for name in names] == ["3"] * 5
    assert [unit(name)["NeedDaemonReload"] for name in names] == ["no"] * 5


def test_the_first_drop_in_of_a_unit_is_in_effect_and_its_removal_too(host: Host, unit: t.Callable[[str], Unit]) -> None:
    module("unit", host, {"name": NAME, "sections": SERVICE})
    host.check_output(f"systemctl start {NAME}")
    dropin = {"name": NAME, "dropin": "10-nice", "sections": {"Service": {"Nice": 4}}}
    done = module("unit", host, dropin)
    assert done["path"] == f"/etc/systemd/system/{NAME}.d/10-nice.conf"
    assert unit(NAME)["Nice"] == "4"
    assert module("unit", host, dropin)["changed"] is False
    gone = module("unit", host, {"name": NAME, "dropin": "10-nice", "state": "absent"})
    assert (gone["changed"], unit(NAME)["Nice"]) == (True, "0")
    assert not host.file(f"/etc/systemd/system/{NAME}.d").exists


@pytest.mark.parametrize("what", ["changed", "new drop-in", "removed drop-in"])
def test_a_run_that_died_before_its_reload_is_made_up_for(host: Host, unit: t.Callable[[str], Unit], what: str) -> None:
    dropin = {"name": NAME, "dropin": "10-nice", "sections": {"Service": {"Nice": 4}}}
    folder = f"/etc/systemd/system/{NAME}.d"
    module("unit", host, {"name": NAME, "sections": SERVICE})
    host.check_output(f"systemctl start {NAME}")
    if what == "removed drop-in":
        module("unit", host, dropin)
    # The other run wrote, and then died.
    commands = {
        "changed": f"echo Nice=4 >>/etc/systemd/system/{NAME}",
        "new drop-in": f"mkdir {folder} && printf '[Service]\\nNice=4\\n' >{folder}/10-nice.conf",
        "removed drop-in": f"rm -r {folder}",
    }
    host.check_output(commands[what])
    same = {
        "changed": {"name": NAME, "sections": {"Service": {**SERVICE["Service"], "Nice": 4}}},
        "new drop-in": dropin,
        "removed drop-in": {**dropin, "state": "absent"},
    }
    done = module("unit", host, same[what])
    assert done["reloaded"] is True
    assert unit(NAME)["Nice"] == ("0" if what == "removed drop-in" else "4")


def test_replace_in_a_drop_in_takes_the_place_of_what_the_unit_has(host: Host, unit: t.Callable[[str], Unit]) -> None:
    module("unit", host, {"name": NAME, "sections": {"Service": {**SERVICE["Service"], "Environment": {"A": "1"}}}})
    dropin = {"name": NAME, "dropin": "10", "sections": {"Service": {"Environment": {"B": "2"}, "ExecStart": ["/bin/echo", "x y"]}}}
    module("unit", host, {**dropin, "replace": True})
    assert unit(NAME)["Environment"] == "B=2"
    assert unit(NAME)["ExecStart"].count("path=") == 1
    assert "path=/bin/echo" in unit(NAME)["ExecStart"]


REFUSED = {
    "a misspelt directive": ({"Service": {"ExecStrat": "/bin/true"}}, "does not know the directive ExecStrat in [Service]; did you mean ExecStart?"),
    "a directive of another section": ({"Unit": {"ExecStart": "/bin/true"}}, "it belongs in [Service]"),
    "a misspelt section": ({"Servise": {"Nice": 1}}, "has no section [Servise]; did you mean [Service]?"),
    "a section of another type": ({**SERVICE, "Socket": {"ListenStream": 1}}, "has no section [Socket]"),
    "a bad value": ({"Service": {**SERVICE["Service"], "Restart": "sometimes"}}, "sometimes"),
    "a bad number": ({"Service": {**SERVICE["Service"], "Nice": 99}}, "99"),
    "a bad environment": ({"Service": {**SERVICE["Service"], "Environment": "A B"}}, "Invalid environment assignment"),
    "a fatal value": ({"Service": {**SERVICE["Service"], "WorkingDirectory": "relative"}}, "not absolute"),
    "a bad Install": ({**SERVICE, "Install": {"WantedBy": "'unbalanced"}}, "unbalanced"),
    "no command": ({"Service": {"Nice": 1}}, "systemd would not take these units"),
    "nothing": ({}, "at least one directive"),
    "a dependency on itself": ({**SERVICE, "Unit": {"OnFailure": "%n"}}, "Dependency OnFailure=files-test.service"),
}


@pytest.mark.parametrize(("sections", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_systemd_would_ignore_is_refused_before_anything_is_written(host: Host, sections: dict[str, t.Any], complaint: str) -> None:
    for options in ((), ("--check",)):
        done = module("unit", host, {"units": [{"name": "files-test-good.service", "sections": SERVICE}, {"name": NAME, "sections": sections}]}, *options)
        assert complaint in done["msg"]
    assert host.check_output("ls /etc/systemd/system | grep --count files-test || true") == "0"


@pytest.mark.parametrize("name", ["shop", "../shop.service", "shop.servise", "shop .service", ""])
def test_a_name_that_is_none_is_refused(host: Host, name: str) -> None:
    assert "is not the name of a unit" in module("unit", host, {"name": name, "sections": SERVICE})["msg"]


def test_a_command_that_the_first_release_has_yet_to_bring_is_no_mistake(host: Host) -> None:
    assert "msg" not in module("unit", host, {"name": NAME, "sections": {"Service": {"ExecStart": "/srv/not-yet/bin/app"}}})


def test_a_directive_that_this_version_does_not_know_is_dropped_on_demand_and_told(host: Host, unit: t.Callable[[str], Unit]) -> None:
    sections = {"Service": {**SERVICE["Service"], "FutureDirective": 1, "Nice": 2}}
    done = module("unit", host, {"name": NAME, "sections": sections, "unknown": "drop"})
    assert done["dropped"] == [f"{NAME} [Service] FutureDirective"]
    assert unit(NAME)["Nice"] == "2"


def test_each_file_of_a_set_says_for_itself_what_may_be_dropped(host: Host, unit: t.Callable[[str], Unit]) -> None:
    own, dropin = {"name": NAME, "sections": SERVICE}, {"name": NAME, "dropin": "10", "sections": {"Service": {"FutureDirective": 1, "Nice": 2}}}
    refused = module("unit", host, {"units": [own, dropin]})
    assert "does not know the directive FutureDirective" in refused["msg"]
    done = module("unit", host, {"units": [own, {**dropin, "unknown": "drop"}]})
    assert done["dropped"] == [f"{NAME} [Service] FutureDirective"]
    assert unit(NAME)["Nice"] == "2"
    strict = {**dropin, "unknown": "fail"}
    assert "FutureDirective" in module("unit", host, {"units": [own, strict], "unknown": "drop"})["msg"]


def test_a_filter_is_dropped_on_demand_if_it_would_keep_a_service_from_starting_in_a_container(host: Host, unit: t.Callable[[str], Unit]) -> None:
    keeps = int(host.check_output("systemctl --version").split()[1]) >= 255
    sections = {"Service": {"ExecStart": "/bin/sleep 100", "User": "daemon", "LockPersonality": True, "PrivateDevices": True, "NoNewPrivileges": True}}
    done = module("unit", host, {"name": NAME, "sections": sections, "unknown": "drop"})
    assert done["dropped"] == ([f"{NAME} [Service] LockPersonality", f"{NAME} [Service] PrivateDevices"] if keeps else [])
    host.check_output(f"systemctl start {NAME}")
    assert (unit(NAME)["ActiveState"], unit(NAME)["NoNewPrivileges"]) == ("active", "yes")
    assert unit(NAME)["LockPersonality"] == ("no" if keeps else "yes")
    kept = module("unit", host, {"name": NAME, "sections": sections})
    assert kept["dropped"] == []
    assert unit(NAME)["LockPersonality"] == "yes"


def test_check_mode_says_what_it_would_do_and_writes_nothing(host: Host) -> None:
    done = module("unit", host, {"name": NAME, "sections": SERVICE}, "--check")
    assert (done["changed"], done["reloaded"]) == (True, True)
    assert not host.file(f"/etc/systemd/system/{NAME}").exists


def test_secrets_are_in_effect_and_never_shown(host: Host, unit: t.Callable[[str], Unit]) -> None:
    secrets = {"environment": {"TOKEN": 'pa"ss % zyxwvu'}, "credentials": {"key": "qponml secret\n"}}
    options = {"name": NAME, "sections": {"Service": {**SERVICE["Service"], "Environment": {"PORT": "1"}}}, "secrets": secrets}
    first = module("unit", host, options, "--diff", "-vvv")
    second = module("unit", host, {**options, "secrets": {"environment": {"TOKEN": "tsrqpo"}}}, "--diff", "-vvv")
    assert 'TOKEN=pa"ss % zyxwvu' in unit(NAME)["Environment"] or "tsrqpo" in unit(NAME)["Environment"]
    said = str(first) + str(second) + host.check_output("journalctl --no-pager")
    for secret in ("zyxwvu", "qponml", "tsrqpo"):
        assert secret not in said
    assert oct(host.file(f"/etc/systemd/system/{NAME}").mode) == "0o600"


def test_absent_stops_disables_and_removes_everything_of_a_unit(host: Host, unit: t.Callable[[str], Unit]) -> None:
    sections = {**SERVICE, "Install": {"WantedBy": "multi-user.target", "Alias": "files-test-alias.service"}}
    module("unit", host, {"units": [{"name": NAME, "sections": sections}, {"name": NAME, "dropin": "10", "sections": {"Service": {"Nice": 1}}}]})
    host.check_output(f"systemctl enable --now {NAME}")
    gone = module("unit", host, {"name": NAME, "state": "absent"})
    assert gone["changed"] is True
    assert host.check_output("find /etc/systemd/system -name 'files-test*'") == ""
    assert (unit(NAME)["LoadState"], unit(NAME)["ActiveState"]) == ("not-found", "inactive")
    assert module("unit", host, {"name": NAME, "state": "absent"})["changed"] is False


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("files-test.timer", {"Timer": {"OnCalendar": ["Mon *-*-* 03:00:00", "Tue *-*-* 04:00:00"], "Unit": "basic.target"}}),
        ("files-test.path", {"Path": {"PathExists": "/no/such/path", "Unit": "basic.target"}}),
        ("files-test.target", {"Unit": {"Description": "100 %% of it", "Wants": ["a.service", "b.service"]}}),
        ("files-test.slice", {"Slice": {"TasksMax": 100}}),
        (r"files\x2dtest.mount", {"Mount": {"What": "tmpfs", "Where": "/files-test", "Type": "tmpfs"}}),
        ("files-test.socket", {"Socket": {"ListenStream": "/run/files-test", "Accept": True}}),
        ("files-test@.service", SERVICE),
    ],
)
def test_a_unit_of_any_type(host: Host, unit: t.Callable[[str], Unit], name: str, sections: dict[str, t.Any]) -> None:
    units = [{"name": name, "sections": sections}]
    if name.endswith(".socket"):
        units.append({"name": "files-test@.service", "sections": SERVICE})
    assert module("unit", host, {"units": units}).get("changed") is True
    assert unit(name.replace("@.", "@1."))["LoadState"] == "loaded"
