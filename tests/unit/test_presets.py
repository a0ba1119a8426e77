# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime says is a default, one variable at a time; what an app is told of its sockets is how they are passed."""

from __future__ import annotations

import re
import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.holdfast.systemd.plugins.filter.listen_environment import listen_environment
from ansible_collections.holdfast.systemd.plugins.filter.socket_units import socket_units
from ansible_collections.holdfast.systemd.plugins.lookup.app_problems import Templated
from ansible_collections.holdfast.systemd.plugins.module_utils._unit_file import parse, render
from ansible_collections.holdfast.systemd.plugins.plugin_utils._problems import problems

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in (ROOT / "roles/app/vars/main").glob("*.yml") if path.stem != "derived")
PRESETS: dict[str, dict[str, t.Any]] = {path.stem: yaml.safe_load(path.read_text())[f"app_preset_{path.stem}"] for path in FILES}
OPTIONS = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
# What a preset may say: defaults of these variables, below the environment of the app, and of a stand-in, and how a command may look like.
FILLED = ("app_command", "app_release_system", "app_service_type", "app_wait_until_accepting")
OTHERS = ("app_environment", "stand_in_environment", "for_example")
APP = {"app_name": "web_shop"}

pytestmark = pytest.mark.usefixtures("templates_compiled_once")


class Said:
    """What becomes of an app's variables on the controller."""

    loader = DataLoader()
    variables: t.ClassVar[dict[str, t.Any]] = {}
    for part in ("roles/app/defaults/main.yml", *(f"roles/app/vars/main/{path.name}" for path in [*FILES, Path("derived.yml")]), "roles/units/vars/main.yml"):
        variables.update(loader.load_from_file(str(ROOT / part), trusted_as_template=True))

    def __init__(self, **given: t.Any) -> None:
        example = PRESETS.get(str(given.get("app_runtime", "generic")), {}).get("for_example")
        self.known = {**self.variables, **APP, **({"app_command": example} if example else {}), **given}

    def __getitem__(self, name: str) -> t.Any:
        if name.startswith("units_"):
            # As the role does.
            return Templar(self.loader, variables=self.known).template(trust_as_template(f"{{{{ lookup('holdfast.systemd.app_vars', '{name}') }}}}"))
        return Templar(self.loader, variables=self.known).template(self.known[name])

    @property
    def service(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self["units_service"]["Service"])

    @property
    def stand_in(self) -> dict[str, list[str]]:
        """As systemd reads it, with its drop-in."""
        return parse(render(self["units_stand_in"]) + render(self["units_stand_in_differs"]))["Service"]

    def problems(self) -> list[str]:
        return list(problems(Templated(self.known, Templar(self.loader, variables=self.known).template)))


def test_the_choices_are_the_files() -> None:
    assert sorted(OPTIONS["app_runtime"]["choices"]) == sorted(PRESETS)
    assert f"{', '.join(OPTIONS['app_runtime']['choices'][:-1])} or {OPTIONS['app_runtime']['choices'][-1]}." in (ROOT / "roles/app/README.md").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_one_variable_of_plain_data(path: Path) -> None:
    ((name, preset),) = yaml.safe_load(path.read_text()).items()
    assert name == f"app_preset_{path.stem}"
    assert set(preset) <= {*FILLED, *OTHERS}
    assert {*FILLED, "app_environment"} <= set(OPTIONS)
    assert preset["app_service_type"] in OPTIONS["app_service_type"]["choices"]
    assert isinstance(preset["app_wait_until_accepting"], bool)
    # Where the app names a part of the command, there is an example, and else the command itself.
    assert ("for_example" in preset) == ("app_command" not in preset and "app_release_system" not in preset)
    # A variable that may come from a preset would lead back to it.
    named = {name for template in re.findall(r"{{(.*?)}}", path.read_text()) for name in re.findall(r"\bapp_\w+", template)}
    assert named <= {"app_release_name", "app_directory_paths"}


def written(value: t.Any) -> str:
    """A value as the page writes it."""
    if isinstance(value, dict):
        return ", ".join(written(f"{name}={text}") for name, text in value.items())
    text = str(value).lower() if isinstance(value, bool) else str(value)
    for template, words in {"app_release_name": "<app_release_name>", "app_directory_paths.runtime | default(none)": "<the runtime directory>"}.items():
        text = text.replace(f"{{{{ {template} }}}}", words)
    return f"`{text}`"


def test_the_page_tells_what_each_preset_says() -> None:
    page = (ROOT / "docs/runtimes/presets.md").read_text()
    heading, rows = re.findall(r"^\| runtime \| (.+) \|$", page, re.MULTILINE), re.findall(r"^\| `(\w+)` \|(.+)\|$", page, re.MULTILINE)
    columns = [name.strip("`") for name in heading[0].split(" | ")]
    assert columns == [*FILLED, "app_environment"]
    cells = {runtime: [written(preset[name]) if name in preset else "" for name in columns] for runtime, preset in PRESETS.items()}
    assert [runtime for runtime, _row in rows] == OPTIONS["app_runtime"]["choices"]
    assert {runtime: [cell.strip() for cell in row.split("|")] for runtime, row in rows} == cells
    more = {runtime: written(preset["stand_in_environment"]) for runtime, preset in PRESETS.items() if "stand_in_environment" in preset}
    said = re.search(r"^For (.+) a stand-in has one variable more, `stand_in_environment`:\n(`.+?`),", page, re.MULTILINE)
    assert said
    assert dict.fromkeys(re.findall(r"`(\w+)`", said[1]), said[2]) == more


@pytest.mark.parametrize("runtime", PRESETS)
def test_a_preset_makes_an_app_that_nothing_is_wrong_with(runtime: str) -> None:
    said = Said(app_runtime=runtime, app_switch="overlap", **({"app_service_type": "notify"} if runtime == "generic" else {}))
    assert said.problems() == []
    assert said["app_service_type"] == (PRESETS[runtime]["app_service_type"] if runtime != "generic" else "notify")
    waits = PRESETS[runtime]["app_wait_until_accepting"]
    for found in (said.service.get("ExecStartPost"), said.stand_in.get("ExecStartPost")):
        assert ("web-shop-accepting.py" in str(found)) == waits


@pytest.mark.parametrize("runtime", PRESETS)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("app_command", "bin/own --flag"),
        ("app_release_system", "distillery"),
        ("app_service_type", "notify-reload"),
        ("app_wait_until_accepting", False),
        ("app_wait_until_accepting", True),
    ],
)
def test_what_the_user_says_wins_one_by_one(runtime: str, variable: str, value: t.Any) -> None:
    said, others = Said(app_runtime=runtime, **{variable: value}), Said(app_runtime=runtime)
    assert said[variable] == value
    for name in FILLED:
        # What a release is made by decides what runs it.
        if name != variable and (variable, name) != ("app_release_system", "app_command"):
            assert said[name] == others[name]


def test_what_a_runtime_says_is_below_the_environment_of_the_app() -> None:
    given = {"NODE_ENV": "staging", "PORT": "5000", "APP_LISTEN_FAMILY": None, "OTHER": "x"}
    said = Said(app_runtime="node", app_environment=given)
    # The file of app_environment is read after what stands in the unit, and a null must not be filled again.
    assert not given.keys() & said.service["Environment"].keys()
    assert Said(app_runtime="node").service["Environment"].items() >= {"NODE_ENV": "production", "PORT": "4000", "APP_LISTEN_FAMILY": "inet"}.items()
    assert Said(app_runtime="node", app_standard_environment=False).service["Environment"].keys() == {"APP_INSTANCE", "NODE_ENV", "PORT", "APP_LISTEN_FAMILY"}


@pytest.mark.parametrize("runtime", ["elixir", "erlang"])
def test_a_stand_in_is_a_node_of_another_name_than_any(runtime: str) -> None:
    """While a switch is gone back from there are two stand-ins."""
    said = Said(app_runtime=runtime)
    assert said.service["Environment"]["RELEASE_NODE"] == "web_shop"
    assert said.service["ExecStart"].startswith("/bin/sh ")
    assert said.stand_in["ExecStart"][0].startswith("/usr/bin/env RELEASE_NODE=stand-in-${INVOCATION_ID}-${RELEASE_NODE} /bin/sh -c 'exec ")
    for command, start in {"-bin/x": "-/usr/bin/env R", "+/bin/x": "+/usr/bin/env R", "/bin/x": "/usr/bin/env R", "@/bin/x x": "@/bin/x x"}.items():
        assert Said(app_runtime=runtime, app_command=command).stand_in["ExecStart"][0].startswith(start)
    own = {"elixir": "RELEASE_TMP", "erlang": "RELX_OUT_FILE_PATH"}[runtime]
    assert said.service["Environment"][own] == "/run/web-shop"
    assert said.stand_in["Environment"][-1] == f"{own}=/run/web-shop@%i"
    nowhere = Said(app_runtime=runtime, app_directories=[])
    assert nowhere.service["Environment"].get(own) is None
    assert nowhere.stand_in["Environment"][-1] == "APP_INSTANCE=stand-in"


@pytest.mark.parametrize("runtime", ["nope", "", ["node"], {"node": 1}, 5, None])
def test_an_unknown_runtime_is_answered_with_a_sentence(runtime: t.Any) -> None:
    found = Said(app_runtime=runtime, app_command="bin/x").problems()
    assert [problem.partition(":")[0] for problem in found] == ([] if runtime is None else ["app_runtime"])


@pytest.mark.parametrize("runtime", [runtime for runtime, preset in PRESETS.items() if "for_example" in preset])
def test_a_command_that_names_the_app_is_asked_for_with_an_example(runtime: str) -> None:
    (problem,) = Said(app_runtime=runtime, app_command="").problems()
    assert problem.startswith(f"app_command: give the command that runs the app, in one line, for instance {PRESETS[runtime]['for_example']}; ")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"app_runtime": "elixir", "app_start_command": "daemon"}, "daemon leaves the app to run_erl"),
        ({"app_runtime": "erlang", "app_command": "bin/x daemon_boot y"}, "use foreground"),
        ({"app_runtime": "elixir", "app_service_type": "forking"}, "(LISTEN_PID) goes away, as with daemon and run_erl"),
        ({"app_wait_until_accepting": True, "app_socket_mode": "none"}, "app_wait_until_accepting: with app_socket_mode none there is no socket"),
        ({"app_runtime": "node", "app_chroot": True}, "which app_chroot hides"),
        ({"app_runtime": "node", "app_listen": [{"listen": 53, "type": "datagram"}]}, "takes connections"),
    ],
)
def test_what_cannot_work_with_a_runtime_is_refused(given: dict[str, t.Any], complaint: str) -> None:
    assert complaint in Said(**given).problems()[0]


@pytest.mark.parametrize(
    "given",
    [
        {"app_wait_until_accepting": None, "app_socket_mode": "none"},
        {"app_runtime": "uvicorn", "app_socket_mode": "none"},
        {"app_runtime": "uvicorn", "app_socket_mode": "proxy", "app_proxy_to": "127.0.0.1:4001"},
        {"app_wait_until_accepting": None},
        {"app_runtime": "node", "app_wait_until_accepting": None, "app_service_type": "notify"},
    ],
)
def test_where_nothing_is_to_be_waited_for_nothing_waits(given: dict[str, t.Any]) -> None:
    said = Said(**given)
    assert said.problems() == []
    assert said["app_is_waited_for"] is False
    assert said.service.get("ExecStartPost") is None


@pytest.mark.parametrize(
    ("own", "lines"),
    [
        (None, []),
        ("/bin/a b", ["/bin/a b"]),
        (["/srv/web-shop/current/bin/a", "b"], ['"/srv/web-shop/releases/%i/bin/a" "b"']),
        (["", "/bin/a b", "/bin/c"], ["/bin/a b", "/bin/c"]),
        ([["/bin/a"], ["/bin/b"]], ['"/bin/a"', '"/bin/b"']),
    ],
)
def test_the_app_s_own_commands_come_after_the_wait(own: t.Any, lines: list[str]) -> None:
    said = Said(app_wait_until_accepting=True, app_service_options={"ExecStartPost": own}, app_listen=[4000, "/run/web.sock"])
    assert said.problems() == []
    reset, wait, *rest = said.stand_in["ExecStartPost"]
    assert (reset, rest) == ("", lines)
    assert wait == '"/usr/bin/python3" "-I" "/usr/local/lib/web-shop-accepting.py" "4000" "/run/web.sock"'
    in_service = parse(render(said["units_service"]))["Service"]["ExecStartPost"]
    assert in_service == [line.replace("releases/%i", "current") for line in said.stand_in["ExecStartPost"]]


SOCKETS: dict[str, tuple[list[t.Any], dict[str, str]]] = {
    "a port": ([4000], {"APP_LISTEN_FAMILY": "inet6", "PORT": "4000"}),
    "an address": (["127.0.0.1:4000"], {"APP_LISTEN_FAMILY": "inet", "PORT": "4000"}),
    "an address of IPv6": (["[::1]:4000"], {"APP_LISTEN_FAMILY": "inet6", "PORT": "4000"}),
    "a path": (["/run/x.sock"], {"APP_LISTEN_FAMILY": "unix"}),
    "several": (["/run/x.sock", "127.0.0.1:4001", "[::]:4002", 4003], {"APP_LISTEN_FAMILY": "unix:inet:inet6:inet6", "PORT": "4001"}),
    # A unit has all its streams before its datagrams.
    "of several types": (
        [{"listen": "0.0.0.0:53", "type": "datagram"}, "/run/x.sock", {"listen": 53, "type": "datagram"}, 4000],
        {"APP_LISTEN_FAMILY": "inet:inet6:unix:inet6", "PORT": "4000"},
    ),
    "only datagrams": ([{"listen": 53, "type": "datagram"}], {"APP_LISTEN_FAMILY": "inet6"}),
    "of several units": ([4000, {"listen": "127.0.0.1:4001", "name": "admin"}], {"APP_LISTEN_FAMILY": "inet6:inet", "PORT": "4000"}),
}


@pytest.mark.parametrize("case", SOCKETS)
def test_an_app_is_told_families_in_order_and_a_port(case: str) -> None:
    listens, expected = SOCKETS[case]
    told = listen_environment(socket_units(listens, "shop"))
    assert told["variables"] == expected
    # The order in which a unit file has them is that in which systemd passes them.
    found = parse("".join(render(unit["sections"]) for unit in socket_units(listens, "shop")))["Socket"]
    assert len(expected["APP_LISTEN_FAMILY"].split(":")) == sum(len(values) for key, values in found.items() if key.startswith("Listen"))
    assert bool(told["by_name"]) == (case == "of several units")


def test_further_directives_of_the_sockets_count_too() -> None:
    units = socket_units([4000, {"listen": "/run/x.sock", "name": "admin"}], "shop")
    assert listen_environment(units)["by_name"] == {"shop.socket": "inet6", "admin": "unix"}
    assert listen_environment(units[:1], {"FileDescriptorName": "web", "ListenFIFO": "/run/x"})["variables"]["APP_LISTEN_FAMILY"] == "inet6:fifo"
    assert listen_environment(units[:1], {"ListenStream": ["", "0.0.0.0:80"]})["variables"] == {"APP_LISTEN_FAMILY": "inet", "PORT": "80"}
    assert listen_environment([]) == {"variables": {}, "by_name": {}}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"app_socket_mode": "none"}, {}),
        ({"app_socket_mode": "proxy", "app_proxy_to": "127.0.0.1:4001"}, {"PORT": "4001"}),
        ({"app_socket_mode": "proxy", "app_proxy_to": "[::1]:4001"}, {"PORT": "4001"}),
        ({"app_socket_mode": "proxy", "app_proxy_to": "/run/shop/web.sock"}, {}),
    ],
)
def test_an_app_that_gets_no_socket_is_told_only_what_it_is_to_bind(given: dict[str, t.Any], told: dict[str, str]) -> None:
    environment = Said(**given).service["Environment"]
    assert {name: environment[name] for name in ("APP_LISTEN_FAMILY", "PORT") if name in environment} == told


@pytest.mark.parametrize(
    ("passed", "families"),
    [
        ("web-shop.socket:web-shop.socket:admin", "inet6:inet:unix"),
        ("admin:web-shop.socket:web-shop.socket:stored", "unix:inet6:inet"),
        ("web-shop.socket:web-shop.socket", "inet6:inet"),
    ],
)
def test_families_of_several_units_follow_the_order_that_systemd_has_chosen(passed: str, families: str) -> None:
    said = Said(app_listen=[4000, "127.0.0.1:4001", {"listen": "/run/admin.sock", "name": "admin"}], app_command="-bin/x")
    command = said.service["ExecStart"]
    assert command.startswith("-/bin/sh -c 'export APP_LISTEN_FAMILY=")
    # As systemd reads it, with a program that says what it has got.
    wrap = shlex.split(command[1:].replace("$$", "$"))[:3]
    program = ["/bin/sh", "-c", 'echo "$APP_LISTEN_FAMILY $name $*"', "x", "a b"]
    assert subprocess.check_output([*wrap, *program], env={"LISTEN_FDNAMES": passed, "name": "own"}, text=True) == f"{families} own a b\n"
