# SPDX-License-Identifier: GPL-3.0-or-later
"""No deploy behind a web server is a 502: neither over TCP nor over a Unix socket, whatever becomes of the release."""

from __future__ import annotations

import itertools
import re
import typing as t

import pytest
import yaml

from playbooks import playbook
from web_servers.fronts import FRONTS, SINGLE_SERVER, Front
from web_servers.page import elsewhere, files, loading
from web_servers.story import BEFORE, CLIENTS, DEPLOYS, START_SECONDS

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from web_servers.story import BehindWebServers, Seen

GOING_AWAY = 1001
# Asks the port that is its argument again and again for what the app does not answer on a kept connection.
ASK_FOR_A_HANG_UP = """
import http.client, sys
asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for number in range(20):
    for method, body in (("GET", None), ("POST", "order")):
        asked.request(method, "/hang-up", body)
        answer = asked.getresponse()
        answer.read()
        print(method, answer.status, answer.headers["X-Request-Number"], answer.headers["X-Hung-Up"])
"""
CONNECT = """
import errno, socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("in")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_every_request_is_answered_with_200(seen: Seen) -> None:
    assert set(seen.statuses()) == {"200"}, seen.statuses()
    for deploy in DEPLOYS:
        asked = {(record["method"], record["keep"]) for record in seen.of("request", deploy.name)}
        assert asked == set(itertools.product(("GET", "POST"), (False, True))), f"{deploy.name} was not tried with all of them"


def test_the_release_that_is_live_answers(seen: Seen) -> None:
    for deploy in DEPLOYS:
        answered = {record["release"] for record in seen.of("request", deploy.name)}
        assert answered == {BEFORE[deploy.name], deploy.live}, deploy


def test_who_comes_during_a_restart_waits_and_with_overlap_nobody_does(seen: Seen) -> None:
    for deploy in DEPLOYS:
        slowest = seen.slowest(deploy.name)
        # Else nobody came at the time that this is about.
        assert (slowest >= START_SECONDS) is (deploy.strategy == "restart"), f"{deploy.name}: {slowest:.2f} s"


def test_connections_to_the_app_are_kept_and_a_post_has_its_own(seen: Seen) -> None:
    numbers = {method: {record["number"] for record in seen.of("request") if record["method"] == method} for method in ("GET", "POST")}
    assert max(numbers["GET"]) > 2
    assert numbers["POST"] == {1}


def test_a_websocket_drains_with_its_release_and_comes_back_to_the_new_one(seen: Seen) -> None:
    assert seen.of("cut") == []
    assert all(record["status"] == "101" and record["accepted"] for record in seen.of("upgrade")), seen.of("upgrade")
    assert all(record["right"] for record in seen.of("echo"))
    # The last one is the client's own.
    *closed, _last = seen.of("closed")
    assert {record["code"] for record in closed} == {GOING_AWAY}
    for deploy in DEPLOYS[:3]:
        first = seen.of("closed", deploy.name)[0]["ended"]
        before = [record for record in seen.of("echo", deploy.name) if record["ended"] < first]
        after = [record for record in seen.of("echo", deploy.name) if record["ended"] > first]
        assert {record["release"] for record in before} == {BEFORE[deploy.name]}, deploy
        assert {record["doing"] for record in before} == {"serving", "draining"}, f"{deploy.name}: the old release did not talk on"
        assert {record["release"] for record in after} == {deploy.live}, deploy


def test_a_broken_release_that_overlaps_disturbs_no_websocket(seen: Seen) -> None:
    assert seen.of("closed", "broken overlap") == []
    assert {(record["release"], record["doing"]) for record in seen.of("echo", "broken overlap")} == {("four", "serving")}


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_a_request_whose_kept_connection_ends_is_answered_all_the_same(host: Host, app: BehindWebServers, front: Front) -> None:
    answers = [line.split() for line in host.check_output("python3 -c %s %s", ASK_FOR_A_HANG_UP, str(front.port)).splitlines()]
    assert {status for _method, status, _number, _hung_up in answers} == {"200"}, answers
    assert {number for method, _status, number, _hung_up in answers if method == "POST"} == {"1"}, answers
    hung_up = [int(times) for _method, _status, _number, times in answers]
    assert hung_up[-1] > hung_up[0], "no connection was kept, so this proves nothing"


def test_the_file_of_the_socket_lets_the_web_server_in_and_nobody_else(host: Host, app: BehindWebServers) -> None:
    if app.upstream == "tcp":
        assert host.socket(f"tcp://{app.address}").is_listening
        return
    file = host.file(app.address)
    assert (file.user, file.group, oct(file.mode)) == (app.name, "www-data", "0o660")
    for who, expected in (("www-data", "in"), (app.name, "in"), ("nobody", "EACCES"), ("daemon", "EACCES")):
        as_them = f"setpriv --reuid={who} --regid=$(id --group {who}) --init-groups"
        assert host.check_output(f"{as_them} python3 -c %s %s", CONNECT, app.address) == expected, who


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_a_web_server_has_the_group_of_the_socket_and_none_that_may_read_the_app(host: Host, app: BehindWebServers, front: Front) -> None:
    tcp = {"nginx": {"www-data"}, "caddy": {"caddy"}, "haproxy": {"haproxy"}}
    unix = {"nginx": {"www-data"}, "caddy": {"caddy", "www-data"}, "haproxy": {"www-data"}}
    expected = {"tcp": tcp, "unix": unix}[app.upstream][front.name]
    processes = [line.split() for line in host.check_output("ps -C %s -o user=,group=,supgrp=", front.name).splitlines()]
    has = [{group, *others.split(",")} - {"-"} for user, group, others in processes if user != "root"]
    assert has
    assert all(groups == expected for groups in has), processes


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_the_configuration_is_loaded_as_the_page_says_and_what_becomes_of_websockets_then(host: Host, app: BehindWebServers, front: Front) -> None:
    app.bring_clients()
    became = host.check_output(f"python3 {CLIENTS}/reload.py %s %s", str(front.port), loading(front.title))
    assert became == ("closed" if front.name == "caddy" else "kept")


def test_the_app_of_the_single_server_is_one_that_can_be_set_up(host: Host) -> None:
    told = yaml.safe_load(files(SINGLE_SERVER)["group_vars/app.yml"])
    done = playbook("setup", host, {**told, "vault_secret_key_base": "secret", "vault_database_url": "ecto://shop"}, "--check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_the_page_says_the_same_over_tcp_and_over_a_unix_socket(front: Front) -> None:
    (path, tcp), (other, unix) = (next(iter(front.files(upstream, "where the app listens").items())) for upstream in ("tcp", "unix"))
    if front.name == "haproxy":
        # The one group that it has must be that of the socket.
        tcp = elsewhere(tcp, {"group haproxy": "group www-data"})
    assert (other, re.sub("unix[:/@]", "", unix)) == (path, tcp)
