# SPDX-License-Identifier: GPL-3.0-or-later
"""How the playbook deploy leads a fleet: who switches when, what a host that fails does to the others, and what is said at the end.

Playbook, roles and Ansible are the real ones. In place of the modules there are actions that keep the state of each host in a file, so a
fleet needs no machines.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from runs import ROOT, run

MODULES = ("release_info", "release_prune", "release_stage", "release_switch")
HOSTS = ("web1", "web2", "web3", "web4")
# What a host does that is not well stands in its variable `fault`.
ACTION = """
# SPDX-License-Identifier: GPL-3.0-or-later
import json, pathlib
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        given, name, host = self._task.args, pathlib.Path(__file__).stem, task_vars["inventory_hostname"]
        fault, folder = task_vars.get("fault", ""), pathlib.Path(task_vars["state"])
        with (folder / "log").open("a") as log:
            log.write(json.dumps([name, host, given.get("release")]) + "\\n")
        if fault == "down":
            raise AnsibleConnectionFailure("no route to " + host)
        state = folder / host
        current = state.read_text() if state.exists() else ""
        if name == "release_info":
            return {"current": current, "releases": [], "history": [], "sockets": [], "healthy": fault != "unhealthy", "previous": "", "pending": ""}
        if name == "release_stage" and fault == "full":
            return {"failed": True, "msg": "app_base_dir: there is no room left"}
        if name == "release_stage" and fault == "cut off while it stages":
            raise AnsibleConnectionFailure("cut off")
        if name == "release_switch" and not self._task.check_mode:
            release = given["release"]
            if fault in ("broken", "unhealthy") and release != "one":
                told = {"release": current, "previous": current, "duration": 4.0, "rolled_back": fault == "broken", "plan": []}
                return {"failed": True, "msg": f"Release {release} cannot be live: it did not start.\\nThe last lines of its journal", **told}
            state.write_text(release)
            if fault == "cut off":
                raise AnsibleConnectionFailure("cut off")
            if fault == "cannot go back" and release == "one" and current != "one":
                return {"failed": True, "msg": "Release one cannot be live", "release": current, "previous": current, "rolled_back": True}
            told = {"plan": ["flip"], "duration": 2.0} if current != release else {"plan": []}
            return {"changed": current != release, "release": release, "previous": current, **told}
        return {"changed": name == "release_stage"}
"""


class Fleet:
    def __init__(self, folder: Path, collections: Path) -> None:
        self.folder = folder
        self.collections = collections
        self.faults: dict[str, str] = {}
        for host in HOSTS:
            (folder / host).write_text("one")

    def run(self, *options: str, name: str = "deploy", strategy: str = "linear", **variables: t.Any) -> Told:
        hosts = {
            host: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **({"fault": self.faults[host]} if host in self.faults else {})}
            for host in HOSTS
        }
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        (self.folder / "log").write_text("")
        given = {
            "state": str(self.folder),
            "app_name": "shop",
            "app_command": "bin/shop",
            "app_release_src": "/var/tmp/shop",
            "app_release_remote_src": True,
            "app_release_id": "two",
            **variables,
        }
        environment = {"ANSIBLE_STRATEGY": strategy, "ANSIBLE_FORKS": "4", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        given = {key: value for key, value in given.items() if value is not None}
        command = ["ansible-playbook", f"holdfast.systemd.{name}", "-i", inventory, "-e", json.dumps(given), *options]
        done = run(*command, folder=self.folder, collections=self.collections, environment=environment)
        asked = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        return Told(done.returncode, done.stdout + done.stderr, asked)

    @property
    def live(self) -> dict[str, str]:
        return {host: (self.folder / host).read_text() for host in HOSTS}


class Told(t.NamedTuple):
    """How a run ended."""

    status: int
    output: str
    asked: list[list[t.Any]]

    @property
    def tables(self) -> list[list[str]]:
        found = re.findall(r'"msg": (\[.*?\n    \])', self.output, re.DOTALL)
        return [lines for lines in map(json.loads, found) if lines and re.match(r"host\s+result", lines[0])]

    @property
    def results(self) -> dict[str, str]:
        (table,) = self.tables
        return {host: next(result for result in RESULTS if re.match(rf"\S+\s+{result}\b", line)) for line in table[1:] for host in [line.split()[0]]}

    def reason(self, host: str) -> str:
        (table,) = self.tables
        return next(line for line in table if line.startswith(f"{host} "))[table[0].index("reason") :]

    @property
    def switched(self) -> list[str]:
        return [host for name, host, release in self.asked if name == "release_switch" and release != "one"]

    def executed(self, host: str) -> int:
        found = re.search(rf"^{host}\s+: ok=(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])


RESULTS = ("deployed", "unchanged", "failed", "gone back", "left out", "not reached", "staged")


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, with actions in place of what its modules do on a host."""
    root = tmp_path_factory.mktemp("collections")
    target = root / "ansible_collections/holdfast/systemd"
    for part in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "plugins/action").mkdir()
    for name in MODULES:
        (target / f"plugins/action/{name}.py").write_text(ACTION)
    return root


@pytest.fixture
def fleet(tmp_path: Path, collections: Path) -> Fleet:
    return Fleet(tmp_path, collections)


def everybody(result: str, **others: str) -> dict[str, str]:
    return {**dict.fromkeys(HOSTS, result), **others}


def test_all_hosts_stage_before_the_first_one_switches_and_the_canary_is_first(fleet: Fleet) -> None:
    told = fleet.run(app_serial=[1, 2, "100%"])
    assert told.status == 0, told.output
    assert told.results == everybody("deployed")
    names = [name for name, _host, _release in told.asked]
    assert max(index for index, name in enumerate(names) if name == "release_stage") < names.index("release_switch")
    assert (told.switched[0], set(told.switched[1:3]), told.switched[3:]) == ("web1", {"web2", "web3"}, ["web4"])
    # One batch has ended before the next one begins.
    pruned = [index for index, (name, host, _release) in enumerate(told.asked) if name == "release_prune" and host in ("web2", "web3")]
    assert max(pruned) < told.asked.index(["release_switch", "web4", "two"])


def test_a_deploy_is_at_most_ten_tasks_for_each_host(fleet: Fleet) -> None:
    told = fleet.run(app_release_id=None, app_serial=1)
    assert told.status == 0, told.output
    # An archive of the controller is looked at there and copied, which are two more.
    assert max(told.executed(host) for host in HOSTS) + 2 <= 10, told.output


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_all_hosts_get_one_id_in_whatever_batch_they_are(fleet: Fleet, strategy: str) -> None:
    told = fleet.run(app_release_id=None, app_serial=1, strategy=strategy)
    assert told.status == 0, told.output
    assert len(set(fleet.live.values())) == 1
    assert told.results == everybody("deployed")


def test_with_a_limit_the_others_are_no_part_of_it(fleet: Fleet) -> None:
    told = fleet.run("--limit", "web2,web3", app_serial=1)
    assert (told.status, told.results) == (0, {"web2": "deployed", "web3": "deployed"}), told.output
    assert fleet.live == everybody("two", web1="one", web4="one")


@pytest.mark.parametrize("strategy", ["linear", "free"])
@pytest.mark.parametrize("fault", ["full", "cut off while it stages", "down"])
def test_where_one_host_cannot_stage_none_switches(fleet: Fleet, fault: str, strategy: str) -> None:
    fleet.faults = {"web3": fault}
    told = fleet.run(app_serial=1, strategy=strategy)
    assert told.status != 0
    assert told.switched == []
    assert told.results == everybody("not reached", web3="failed")
    assert "web3 could not stage it" in told.reason("web1")
    assert {"full": "no room left", "down": "cannot be reached: "}.get(fault, "cut off") in told.reason("web3")


def test_hosts_that_are_down_are_left_out_if_that_is_wanted(fleet: Fleet) -> None:
    fleet.faults = {"web1": "down", "web3": "down"}
    told = fleet.run(app_serial=1, app_unreachable_hosts="leave_out")
    assert told.status == 0, told.output
    assert told.results == everybody("deployed", web1="left out", web3="left out")
    assert "no route to web1" in told.reason("web1")


def test_a_host_that_is_full_is_not_left_out(fleet: Fleet) -> None:
    fleet.faults = {"web3": "full"}
    told = fleet.run(app_unreachable_hosts="leave_out")
    assert (told.status != 0, told.switched) == (True, [])


def test_a_fleet_of_which_nobody_is_there_is_no_success(fleet: Fleet) -> None:
    fleet.faults = everybody("down")
    told = fleet.run(app_serial=1, app_unreachable_hosts="leave_out")
    assert told.status != 0
    assert told.results == everybody("left out")


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_the_first_unhealthy_batch_is_the_last_one(fleet: Fleet, strategy: str) -> None:
    fleet.faults = {"web2": "broken"}
    told = fleet.run(app_serial=[1, 2], strategy=strategy)
    assert told.status != 0
    assert told.results == {"web1": "deployed", "web2": "failed", "web3": "deployed", "web4": "not reached"}
    assert fleet.live == {"web1": "two", "web2": "one", "web3": "two", "web4": "one"}
    assert told.reason("web2") == "Release two cannot be live: it did not start."
    assert told.reason("web4") == "web2 failed"


def test_the_batches_before_it_are_brought_back_if_that_is_wanted(fleet: Fleet) -> None:
    fleet.faults = {"web3": "broken"}
    (fleet.folder / "web1").write_text("two")
    told = fleet.run(app_serial=1, app_on_fleet_failure="rollback")
    assert told.status != 0
    # web1 was live with it before this run.
    assert told.results == {"web1": "unchanged", "web2": "gone back", "web3": "failed", "web4": "not reached"}
    assert fleet.live == everybody("one", web1="two")
    assert told.reason("web2") == "web3 failed"


def test_a_host_that_cannot_go_back_does_not_keep_the_others_from_it(fleet: Fleet) -> None:
    fleet.faults = {"web1": "cannot go back", "web3": "broken"}
    told = fleet.run(app_serial=1, app_on_fleet_failure="rollback")
    assert told.results == {"web1": "failed", "web2": "gone back", "web3": "failed", "web4": "not reached"}
    assert "It could not be brought back: Release one cannot be live" in told.reason("web1")


def test_a_first_release_stays_where_there_is_none_to_go_back_to(fleet: Fleet) -> None:
    for host in HOSTS:
        (fleet.folder / host).unlink()
    fleet.faults = {"web3": "broken"}
    told = fleet.run(app_serial=1, app_on_fleet_failure="rollback")
    assert told.results == {"web1": "deployed", "web2": "deployed", "web3": "failed", "web4": "not reached"}
    assert told.reason("web1") == "no release was live before it, so it stays"


@pytest.mark.parametrize("choice", ["stop", "rollback"])
def test_a_host_that_is_cut_off_stops_the_run_and_is_told_of(fleet: Fleet, choice: str) -> None:
    fleet.faults = {"web2": "cut off"}
    told = fleet.run(app_serial=1, app_on_fleet_failure=choice)
    assert told.status != 0
    assert told.results == {"web1": "deployed" if choice == "stop" else "gone back", "web2": "failed", "web3": "not reached", "web4": "not reached"}
    assert "was cut off while it switched" in told.reason("web2")
    # Another try to remove old releases there would only wait once more.
    assert ["release_prune", "web2", None] not in told.asked


def test_whoever_is_live_with_it_already_is_unchanged(fleet: Fleet) -> None:
    fleet.run("--limit", "web1,web2")
    told = fleet.run(app_serial=1)
    assert (told.status, told.results) == (0, everybody("deployed", web1="unchanged", web2="unchanged")), told.output


def test_check_mode_goes_through_all_of_it_and_changes_nothing(fleet: Fleet) -> None:
    told = fleet.run("--check", "--diff", app_serial=2)
    assert told.status == 0, told.output
    assert fleet.live == everybody("one")


def test_tags_choose_the_halves_of_a_deploy(fleet: Fleet) -> None:
    told = fleet.run("--tags", "stage")
    assert (told.status, told.results, told.switched) == (0, everybody("staged"), []), told.output
    told = fleet.run("--tags", "switch", "--skip-tags", "prune")
    assert (told.status, told.results) == (0, everybody("deployed")), told.output
    assert {name for name, _host, _release in told.asked} == {"release_switch"}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"app_load_balancer_leave": "nowhere.yml"}, "app_load_balancer_leave: 'nowhere.yml' is no file on the controller"),
        ({"app_load_balancer_join": "/nowhere.yml"}, "app_load_balancer_join: '/nowhere.yml' is no file on the controller"),
        ({"app_serial": "half"}, "app_serial: 'half' does not say how many hosts"),
        ({"app_serial": [1, 0]}, "app_serial: [1, 0] does not say how many hosts"),
        ({"app_on_fleet_failure": "panic"}, "value of app_on_fleet_failure must be one of"),
        ({"app_unreachable_hosts": "wait"}, "value of app_unreachable_hosts must be one of"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_host_is_asked(fleet: Fleet, variables: dict[str, t.Any], complaint: str) -> None:
    told = fleet.run(**variables)
    assert told.status != 0
    assert complaint in told.output
    assert told.asked == []


HOOK = """
- name: Tell the load balancer
  ansible.builtin.shell: echo '{word}' "{{{{ inventory_hostname }}}}" >>"{{{{ state }}}}/balancer"
  changed_when: true
"""


@pytest.mark.parametrize(
    ("fault", "joined"),
    [("", True), ("broken", True), ("unhealthy", False)],
)
def test_a_host_joins_its_load_balancer_again_unless_it_is_not_healthy(fleet: Fleet, fault: str, joined: bool) -> None:
    fleet.faults = {"web2": fault}
    for word in ("leave", "join"):
        (fleet.folder / f"{word}.yml").write_text("---" + HOOK.format(word=word))
    told = fleet.run("--tags", "stage,switch", app_serial=1, app_load_balancer_leave="leave.yml", app_load_balancer_join="join.yml")
    said = (fleet.folder / "balancer").read_text().splitlines()
    wanted = ["leave web1", "join web1", "leave web2", *(["join web2"] if joined else [])]
    assert said == (wanted if fault else [*wanted, "leave web3", "join web3", "leave web4", "join web4"]), told.output
    assert told.results["web2"] == ("failed" if fault else "deployed")
    if fault:
        assert told.reason("web2") == "Release two cannot be live: it did not start."


@pytest.mark.parametrize("name", ["status", "history"])
def test_hosts_that_are_down_stand_in_the_table_of_the_others(fleet: Fleet, name: str) -> None:
    fleet.faults = {"web1": "down"}
    told = fleet.run(name=name)
    assert told.status != 0
    assert "unreachable" in told.output
    (table,) = [json.loads(found) for found in re.findall(r'"msg": (\[.*?\n    \])', told.output, re.DOTALL)]
    assert table[0].split()[0] == "host"
    assert any(line.startswith("web1 ") and "unreachable" in line for line in table)


def test_the_status_is_a_document_too(fleet: Fleet) -> None:
    told = fleet.run(name="status", app_status_format="json", app_status_file="status.json")
    assert told.status == 0, told.output
    start = told.output.index('"hosts": [') - 1
    shown = json.JSONDecoder().raw_decode(told.output, told.output.rindex("{", 0, start))[0]["hosts"]
    written = json.loads((fleet.folder / "status.json").read_text())["hosts"]
    assert shown == written
    assert [(host["host"], host["app"], host["current"], host["healthy"], host["reachable"]) for host in written] == [
        (host, "shop", "one", True, True) for host in HOSTS
    ]


def test_the_batches_of_group_vars_count(fleet: Fleet) -> None:
    (fleet.folder / "group_vars").mkdir()
    (fleet.folder / "group_vars/all.yml").write_text("app_serial: [1, 3]\n")
    fleet.faults = {"web1": "broken"}
    assert fleet.run().results == everybody("not reached", web1="failed")
