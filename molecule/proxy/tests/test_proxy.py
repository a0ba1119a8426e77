# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of an app that binds its own address: what it waits for, and what it must be told."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import typing as t

import pytest
import yaml

from playbooks import MISSING, ROOT, SCRATCH, playbook
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

usual_hosts = [OLDEST]

APP: dict[str, t.Any] = yaml.safe_load((ROOT / "molecule/vars/proxy.yml").read_text())
PORT = 4890
ASK = """
import http.client, sys
asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
asked.request("GET", sys.argv[2])
answer = asked.getresponse()
print(answer.status, answer.headers["X-Release"], answer.headers["X-Pid"])
"""


def ask(host: Host, path: str = "/") -> list[str]:
    """The status, the release and the process that answer, by way of the held port."""
    return str(host.check_output("python3 -c %s %s %s", ASK, str(PORT), path)).split()


def current(host: Host) -> str:
    return str(host.check_output("readlink /srv/proxied/current")).removeprefix("releases/")


def in_background(do: t.Callable[[], t.Any]) -> t.Callable[[], t.Any]:
    """Begins to do something; what is returned waits for the result."""
    results: list[t.Any] = []
    thread = threading.Thread(target=lambda: results.append(do()))
    thread.start()

    def wait() -> t.Any:
        thread.join()
        return results[0]

    return wait


def wait_until(host: Host, condition: str) -> None:
    host.check_output(f"timeout 60 sh -c 'until {condition}; do sleep 0.05; done'")


@pytest.fixture
def service(unit: t.Callable[[str], Unit]) -> Unit:
    return unit("proxied.service")


@pytest.fixture
def proxy(unit: t.Callable[[str], Unit]) -> Unit:
    return unit("proxied-proxy.service")


def test_the_socket_starts_the_proxy_and_not_the_app(unit: t.Callable[[str], Unit], service: Unit, proxy: Unit) -> None:
    assert unit("proxied.socket")["Triggers"] == "proxied-proxy.service"
    assert proxy["TriggeredBy"] == "proxied.socket"
    assert service["TriggeredBy"] == ""
    assert "proxied.socket" not in service["Requires"] + service["After"]
    assert (proxy["User"], proxy["Restart"], proxy["StartLimitIntervalUSec"]) == ("proxied", "always", "0")
    assert int(proxy["LimitNOFILE"]) > 2 * 4096


def test_what_two_instances_would_share_is_not_there(unit: t.Callable[[str], Unit]) -> None:
    assert unit("proxied@x.service")["LoadState"] == "not-found"
    assert unit("proxied-backlog.service")["LoadState"] == "not-found"


def test_a_request_in_hand_is_answered_by_the_old_process(host: Host, service: Unit) -> None:
    old = service["MainPID"]
    slow = in_background(lambda: ask(host, "/slow?3"))
    wait_until(host, 'ss --no-header --numeric --tcp state established "sport = :4891" | grep -q .')
    host.check_output("systemctl restart proxied.service")
    assert slow() == ["200", current(host), old]
    assert ask(host) == ["200", current(host), service["MainPID"]]
    assert service["MainPID"] != old


# Answers one request after the other, and the first only once it may. What is in its queue when it stops is lost.
ONE_BY_ONE = """
import http.server, os, signal, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while not os.path.exists('/run/may-answer'):
            time.sleep(0.01)
        self.send_response(200)
        self.send_header('X-Release', 'one-by-one')
        self.send_header('X-Pid', str(os.getpid()))
        self.end_headers()
server = http.server.HTTPServer(('127.0.0.1', 4891), Handler)
server.timeout = 0.05
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
while not told:
    server.handle_request()
"""


@pytest.fixture
def one_by_one(host: Host, service: Unit) -> t.Iterator[None]:
    folder = "/run/systemd/system/proxied.service.d"
    host.check_output(
        f"mkdir -p {folder} && printf %s %s >/run/one-by-one.py && "
        f"printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /run/one-by-one.py\\n' >{folder}/50-test.conf && "
        "systemctl daemon-reload && systemctl restart proxied.service",
        "%s",
        ONE_BY_ONE,
    )
    yield
    host.check_output(f"rm -r {folder} /run/one-by-one.py /run/may-answer && systemctl daemon-reload && systemctl restart proxied.service")


@pytest.mark.usefixtures("one_by_one")
def test_who_waits_in_the_app_s_own_queue_is_answered_before_it_stops(host: Host, service: Unit) -> None:
    old = service["MainPID"]
    clients = [in_background(lambda: ask(host)) for _client in range(4)]
    # One is in its hands, and the others where nobody could help them.
    wait_until(host, 'ss --no-header --listening --numeric --tcp "sport = :4891" | grep -q "^LISTEN *3 "')
    host.check_output("systemctl restart --no-block proxied.service && sleep 0.2 && touch /run/may-answer")
    assert [client() for client in clients] == [["200", "one-by-one", old]] * 4
    wait_until(host, "systemctl is-active --quiet proxied.service")
    assert service["MainPID"] != old


def test_a_start_is_done_when_the_app_accepts_connections(host: Host, service: Unit) -> None:
    # The app needs a second to bind its port, and systemd calls Type=exec started before that.
    host.check_output("systemctl restart proxied.service")
    assert service["Type"] == "exec"
    assert host.socket("tcp://127.0.0.1:4891").is_listening


def test_clients_wait_while_the_app_is_stopped(host: Host, service: Unit, proxy: Unit) -> None:
    host.check_output("systemctl stop proxied.service")
    waiting = in_background(lambda: ask(host))
    wait_until(host, 'ss --no-header --listening --numeric --tcp "sport = :4890" | grep -q "^LISTEN *1 "')
    host.check_output("systemctl start proxied.service")
    assert waiting() == ["200", current(host), service["MainPID"]]
    assert proxy["NRestarts"] == "0"


def test_clients_wait_for_an_app_that_has_died(host: Host, service: Unit) -> None:
    old = service["MainPID"]
    host.check_output("kill -KILL %s", old)
    status, _release, pid = ask(host)
    assert status == "200"
    assert pid != old
    wait_until(host, "systemctl is-active --quiet proxied.service")
    assert service["MainPID"] == pid


def test_a_restart_of_the_proxy_ends_what_is_in_hand_and_refuses_nobody(host: Host, proxy: Unit) -> None:
    old = proxy["MainPID"]
    slow = in_background(lambda: ask(host, "/slow?3"))
    wait_until(host, 'ss --no-header --numeric --tcp state established "sport = :4891" | grep -q .')
    restarted = in_background(lambda: host.run("systemctl restart proxied-proxy.service"))
    wait_until(host, "[ $(systemctl show --value --property=ActiveState proxied-proxy.service) = deactivating ]")
    assert ask(host)[0] == "200"
    assert slow()[0] == "200"
    assert restarted().rc == 0
    assert proxy["MainPID"] != old
    assert proxy["Result"] == "success"


def test_setting_up_again_changes_nothing(host: Host, service: Unit, proxy: Unit) -> None:
    before = service["MainPID"], proxy["MainPID"]
    done = playbook("setup", host, APP)
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    assert (service["MainPID"], proxy["MainPID"]) == before


def test_the_app_may_bind_a_path(host: Host, service: Unit) -> None:
    path = "/run/proxied/http.sock"
    moved = {**APP, "app_proxy_to": path, "app_environment": {**APP["app_environment"], "PORT": path}}
    for variables in (moved, APP):
        done = playbook("setup", host, variables)
        assert done.returncode == 0, done.stdout
        assert ask(host) == ["200", current(host), service["MainPID"]]
        assert host.socket("tcp://127.0.0.1:4891").is_listening == (variables is APP)


REFUSALS: dict[str, tuple[dict[str, t.Any], str, str]] = {
    "no-address": ({"app_proxy_to": MISSING}, "app_proxy_to: is not set", "for instance 127.0.0.1:4001"),
    "port-alone": ({"app_proxy_to": "4891"}, "app_proxy_to: '4891' is no address", "for instance 127.0.0.1:4001"),
    "name": ({"app_proxy_to": "localhost:4891"}, "app_proxy_to: 'localhost:4891' is no address", ""),
    "held-address": ({"app_listen": ["127.0.0.1:4891"]}, "app_proxy_to: 127.0.0.1:4891 is held already, by app_listen", "another address"),
    "held-port": ({"app_listen": [4890, "0.0.0.0:4891"]}, "app_proxy_to: 127.0.0.1:4891 is held already, by app_listen", "another address"),
    "datagrams": ({"app_listen": [{"listen": 4890, "type": "datagram"}]}, "app_listen: a proxy passes on streams only", "app_socket_mode inherit"),
    "no-connections": ({"app_proxy_connections": 0}, "app_proxy_connections: '0' would let nobody through", "above 0"),
    "overlap": ({"app_switch": "overlap", "app_service_type": "notify"}, "app_switch: overlap needs two instances on one socket", "use app_switch restart"),
    "forking": ({"app_service_type": "forking"}, "app_service_type: forking cannot work behind a socket", "app_socket_mode none"),
}


@pytest.fixture(scope="module")
def refusals(host: Host) -> str:
    """What the playbook setup says to hosts of which each has one of the mistakes, and which do not exist."""
    hosts = {name: {key: value for key, value in {**APP, **variables}.items() if value is not MISSING} for name, (variables, *_said) in REFUSALS.items()}
    path = SCRATCH / f"{host.backend.get_hostname()}-mistakes.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(["ansible-playbook", "holdfast.systemd.setup", "-i", path], env=plain, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize("mistake", REFUSALS)
def test_what_cannot_work_is_refused_before_anything_is_sent(refusals: str, mistake: str) -> None:
    _variables, complaint, advice = REFUSALS[mistake]
    found = re.search(rf"^(?:fatal|\[ERROR\]).*?\[{mistake}\]: (.*?)(?=^\S|\Z)", refusals, re.MULTILINE | re.DOTALL)
    assert found, refusals
    said = " ".join(found[1].replace("''", "'").split())
    assert complaint in said
    assert advice in said
    assert "UNREACHABLE" not in refusals
