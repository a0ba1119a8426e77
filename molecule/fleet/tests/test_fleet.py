# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy to ten hosts ends well for all of them, or says which one was not well and leaves the others as was chosen."""

from __future__ import annotations

import json
import typing as t

import pytest

from apps import tool
from fleet.fleet import BALANCER, CANARY, FOLDER, FRONT, HOSTS, PORT, SUITE, Fleet, address, inside, key, under_load, write
from playbooks import ROOT, SCRATCH, archive

BATCHES = [HOSTS[:1], HOSTS[1:4], HOSTS[4:]]


def everybody(result: str, **others: str) -> dict[str, str]:
    """The same for all hosts, but for those whose number is given."""
    return {**dict.fromkeys(HOSTS, result), **{HOSTS[int(number.strip("_"))]: other for number, other in others.items()}}


def began(hosts: t.Iterable[str], release: str) -> list[str]:
    """When each of the hosts began to switch to a release."""
    found = []
    for host in hosts:
        records = [json.loads(line) for line in inside(host, f"cat {FOLDER}/.deploy/history.jsonl").splitlines()]
        found += [record["time"] for record in records if record["id"] == release]
    return found


def test_without_a_word_all_hosts_have_one_id(fleet: Fleet) -> None:
    assert len(set(fleet.live().values())) == 1


def test_the_canary_is_first_and_all_hosts_get_the_release_in_at_most_ten_tasks(fleet: Fleet) -> None:
    with fleet.asked_all_the_time(HOSTS[0], HOSTS[5]) as answers:
        told = fleet.deploy("all-well")
    assert told.status == 0, told.output
    assert told.results == everybody("deployed")
    assert fleet.live() == everybody("all-well")
    assert set(answers) == {"200"}
    first, second, third = (began(batch, "all-well") for batch in BATCHES)
    assert max(first) < min(second) <= max(second) < min(third)
    assert [len(batch) for batch in BATCHES] == CANARY
    assert max(told.executed(host) for host in HOSTS) <= 10, told.output


def test_where_one_host_is_full_none_switches(fleet: Fleet) -> None:
    before = fleet.live()
    inside(HOSTS[9], "head -c 100M /dev/zero >/srv/fill || true")
    try:
        told = fleet.deploy("too-much")
    finally:
        inside(HOSTS[9], "rm -f /srv/fill")
    assert told.status != 0
    assert told.results == everybody("not reached", _9="failed")
    assert "no room left" in told.reason(HOSTS[9]) or "No space left" in told.reason(HOSTS[9])
    assert fleet.live() == before


@pytest.mark.parametrize("choice", [pytest.param("stop", marks=pytest.mark.long), "rollback"])
def test_where_it_is_broken_on_one_host_the_batches_before_stay_or_are_brought_back(fleet: Fleet, choice: str) -> None:
    before, release = fleet.live(), f"broken-then-{choice}"
    with fleet.said_of(HOSTS[2], app_release_src=archive("fleet", DEMO_FAULT="exit-at-start")), fleet.asked_all_the_time(HOSTS[0], HOSTS[2]) as answers:
        told = fleet.deploy(release, app_on_fleet_failure=choice)
    assert told.status != 0
    switched = {"stop": "deployed", "rollback": "gone back"}[choice]
    assert told.results == everybody("not reached", _0=switched, _1=switched, _2="failed", _3=switched)
    assert told.reason(HOSTS[2]).startswith(f"Release {release} cannot be live: it did not start")
    assert fleet.live() == (before if choice == "rollback" else {**before, **dict.fromkeys((HOSTS[0], HOSTS[1], HOSTS[3]), release)})
    # Nobody has noticed, on the host that failed least of all.
    assert set(answers) == {"200"}


def test_a_host_that_is_cut_off_is_told_of_and_the_others_do_not_notice(fleet: Fleet) -> None:
    before, lost = fleet.live(), HOSTS[1]
    # As a machine in a network, with a sshd that listens there.
    inside(lost, "systemd-run --quiet --collect --unit=sshd-of-network /usr/sbin/sshd -D -h /etc/ssh/ssh_host_ed25519_key")
    reached = {
        "ansible_host": address(lost),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_ssh_private_key_file": str(key()),
        "app_before_switch": [["sleep", "21.5"]],
    }
    try:
        with fleet.said_of(lost, **reached), fleet.asked_all_the_time(HOSTS[0], HOSTS[2]) as answers:
            run = fleet.begin("deploy", app_release_id="cut-off")
            run.wait_for(lambda: inside(lost, "pgrep --full 'sleep 21[.]5' || true") != "")
            inside(lost, "ip link set eth0 down", privileged=True)
            told = run.wait(seconds=180)
    finally:
        inside(lost, "ip link set eth0 up; systemctl stop sshd-of-network || true", privileged=True)
    assert told.status != 0
    assert told.results == everybody("not reached", _0="deployed", _1="failed", _2="deployed", _3="deployed")
    assert "was cut off while it switched" in told.reason(lost)
    assert set(answers) == {"200"}
    assert fleet.live(HOSTS[4:]) == {host: before[host] for host in HOSTS[4:]}
    # It has ended its switch by itself, and the next run goes on from there.
    told = fleet.deploy("cut-off")
    assert told.status == 0, told.output
    assert told.results == everybody("deployed", _0="unchanged", _1="unchanged", _2="unchanged", _3="unchanged")
    assert fleet.live() == everybody("cut-off")


def test_a_run_that_was_killed_between_batches_is_ended_by_the_next_one(fleet: Fleet) -> None:
    held = SCRATCH / "fleet-held"
    held.unlink(missing_ok=True)
    hold = {"app_load_balancer_leave": str(ROOT / "molecule/fleet/tasks/hold.yml"), "hold_at": HOSTS[4], "hold_file": str(held)}
    run = fleet.begin("deploy", app_release_id="killed", **hold)
    run.wait_for(held.exists)
    run.kill()
    assert fleet.live(HOSTS[:4]) == dict.fromkeys(HOSTS[:4], "killed")
    told = fleet.deploy("killed")
    assert told.status == 0, told.output
    assert {host: told.results[host] for host in HOSTS[:4]} == dict.fromkeys(HOSTS[:4], "unchanged")
    assert fleet.live() == everybody("killed")


@pytest.mark.parametrize("choice", [pytest.param("refuse", marks=pytest.mark.long), "leave_out"])
def test_a_host_that_is_down_from_the_start_is_refused_or_left_out(fleet: Fleet, choice: str) -> None:
    before, release = fleet.live(), f"down-{choice.replace('_', '-')}"
    tool("off", HOSTS[3])
    try:
        told = fleet.deploy(release, app_unreachable_hosts=choice)
        seen = fleet.run("status")
    finally:
        tool("on", HOSTS[3])
    if choice == "refuse":
        assert told.status != 0
        assert told.results == everybody("not reached", _3="failed")
        assert fleet.live() == before
    else:
        assert told.status == 0, told.output
        assert told.results == everybody("deployed", _3="left out")
        assert fleet.live() == {**everybody(release), HOSTS[3]: before[HOSTS[3]]}
    rows = {line.split()[0]: line for line in seen.table[1:]}
    assert set(rows) == set(HOSTS)
    assert "unreachable" in rows[HOSTS[3]]
    assert all(" yes " in rows[host] and "active" in rows[host] for host in HOSTS if host != HOSTS[3])


def test_one_table_and_one_document_tell_of_the_whole_fleet(fleet: Fleet) -> None:
    path = SCRATCH / "fleet-status.json"
    told = fleet.run("status", app_status_format="json", app_status_file=str(path))
    assert told.status == 0, told.output
    hosts = {host["host"]: host for host in json.loads(path.read_text())["hosts"]}
    assert set(hosts) == set(HOSTS)
    assert {host: found["current"] for host, found in hosts.items()} == fleet.live()
    assert all(found["healthy"] and found["reachable"] and found["disk"]["free"] < found["disk"]["total"] for found in hosts.values())
    seen = fleet.run("history")
    assert seen.status == 0, seen.output
    assert seen.table[0].split() == ["host", "time", "release", "from", "action", "strategy", "who", "seconds", "result", "reason"]
    times = [line.split()[1] for line in seen.table[1:]]
    assert times == sorted(times)


@pytest.fixture(scope="module")
def balancer(fleet: Fleet) -> str:
    """HAProxy in front of the first four hosts; its address."""
    # Its unit mounts.
    tool("start", BALANCER, SUITE, "--cap-add=SYS_ADMIN")
    write(BALANCER, "/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    install = "apt-get update -qq && apt-get install -qq --yes --no-install-recommends haproxy >/dev/null"
    inside(BALANCER, f"chmod 755 /usr/sbin/policy-rc.d && export DEBIAN_FRONTEND=noninteractive && {install}")
    servers = "".join(f"    server {host} {address(host)}:{PORT} check inter 500ms\n" for host in HOSTS[:4])
    write(BALANCER, "/etc/haproxy/haproxy.cfg", (ROOT / "molecule/fleet/haproxy.cfg").read_text() + servers)
    inside(BALANCER, "mkdir -p /run/haproxy && systemctl restart haproxy")
    return address(BALANCER)


def states() -> dict[str, str]:
    """How HAProxy counts each server."""
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock'); s.sendall(b'show stat\\n'); print(s.makefile().read())"
    rows = [line.split(",") for line in inside(BALANCER, f'python3 -c "{script}"').splitlines()]
    return {row[1]: row[17] for row in rows if len(row) > 17 and row[0] == "fleet" and row[1] in HOSTS}


@pytest.mark.parametrize("fault", ["", pytest.param("exit-at-start", marks=pytest.mark.long)])
def test_behind_a_load_balancer_each_host_leaves_before_its_turn_and_joins_after_it(fleet: Fleet, balancer: str, fault: str) -> None:
    tasks = ROOT / "playbooks/tasks"
    hooks = {"app_load_balancer_leave": str(tasks / "haproxy_leave.yml"), "app_load_balancer_join": str(tasks / "haproxy_join.yml")}
    release = f"balanced{fault}"
    sources = {"app_release_src": archive("fleet", DEMO_FAULT=fault)} if fault else {}
    hosts = ",".join([*HOSTS[:4], BALANCER])
    with fleet.said_of(HOSTS[2], **sources), under_load(f"http://{balancer}:{FRONT}/") as reports:
        told = fleet.deploy(release, "--limit", hosts, app_serial=1, haproxy_hosts=[BALANCER], haproxy_backend="fleet", **hooks)
    (report,) = reports
    assert report.failures == {}
    assert states() == dict.fromkeys(HOSTS[:4], "UP")
    if fault:
        assert told.status != 0
        assert told.results[HOSTS[2]] == "failed"
        assert told.results[HOSTS[3]] == "not reached"
    else:
        assert told.status == 0, told.output
        assert {told.results[host] for host in HOSTS[:4]} == {"deployed"}
        assert report.releases[release] > 0
