# SPDX-License-Identifier: GPL-3.0-or-later
"""What gen_tcp:listen/2 makes of a socket that it inherits, as the pages about Erlang and Elixir say it."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

PORT = 4804
PACKAGES = "erlang-base"
# Becomes erl, with a socket of the given family as file descriptor 3, in which 4096 clients may wait.
INHERIT = """
import os, socket, sys
family, address, program = sys.argv[1:]
held = socket.socket(getattr(socket, family))
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
held.bind("\\0" + address if family == "AF_UNIX" else (address, int(os.environ["LISTENS"])))
held.listen(4096)
held.setblocking(False)
passed = held.detach()
if passed != 3:
    os.dup2(passed, 3)
    os.close(passed)
os.set_inheritable(3, True)
os.execvp("erl", ["erl", "-noinput", "-eval", program])
"""
# Says what became of it and how many may wait then; if it listens, a client must get through.
LISTEN = """
Outcome = try gen_tcp:listen(%(port)d, %(options)s) of
    {ok, Socket} ->
        %(client)s,
        case gen_tcp:accept(Socket, 5000) of {ok, _} -> "accepts"; Failed -> io_lib:format("~0p", [Failed]) end;
    {error, Reason} -> atom_to_list(Reason)
catch
    exit:badarg -> "badarg";
    _:{badmatch, What}:_ -> io_lib:format("crashes with ~0p", [{badmatch, What}]);
    exit:{{badmatch, What}, _}:_ -> io_lib:format("crashes with ~0p", [{badmatch, What}])
end,
Shown = os:cmd("ss --no-header --listening --numeric --tcp 'sport = :%(listens)d'"),
Backlog = case string:lexemes(Shown, " ") of [_, _, Number | _] -> Number; _ -> "none" end,
io:format("~s; ~s~n", [Outcome, Backlog]),
halt().
"""
# Says whether the socket, which others have too, is still one that nobody blocks on when an Erlang has had it and has ended.
SHARE = """
import fcntl, os, socket, subprocess, sys
held = socket.create_server(("127.0.0.1", 0), backlog=4096)
held.setblocking(False)
def pass_on():
    os.dup2(os.dup(held.fileno()), 3, inheritable=True)
program = "{ok, Socket} = gen_tcp:listen(0, [{inet_backend, %s}, inet, {fd, 3}, {backlog, 4096}]), init:stop()." % sys.argv[1]
subprocess.run(["erl", "-noinput", "-eval", program], preexec_fn=pass_on, close_fds=False, check=True, timeout=60)
print(bool(fcntl.fcntl(held, fcntl.F_GETFL) & os.O_NONBLOCK))
"""
CONNECT = {
    "AF_INET": f"{{ok, _}} = gen_tcp:connect({{127, 0, 0, 1}}, {PORT}, [])",
    "AF_INET6": f"{{ok, _}} = gen_tcp:connect({{0, 0, 0, 0, 0, 0, 0, 1}}, {PORT}, [inet6])",
    "AF_UNIX": '{ok, _} = gen_tcp:connect({local, <<0, "beam">>}, 0, [local])',
}
ADDRESSES = {"AF_INET": "127.0.0.1", "AF_INET6": "::", "AF_UNIX": "beam"}


@pytest.fixture(scope="module", autouse=True)
def installed(host: Host) -> None:
    if host.run(f"dpkg --status {PACKAGES}").rc:
        patiently = "-qq -o Acquire::Retries=10"
        host.check_output(f"apt-get update {patiently} && DEBIAN_FRONTEND=noninteractive apt-get install {patiently} --yes --no-install-recommends {PACKAGES}")


def listen(host: Host, family: str, options: str, port: int = 0) -> list[str]:
    """What becomes of it, and how many may wait then."""
    program = LISTEN % {"port": port, "options": options, "client": CONNECT[family], "listens": PORT}
    command = f"HOME=/root LISTENS={PORT} timeout 60 python3 -c %s %s %s %s 2>&1"
    return str(host.run(command, INHERIT, family, ADDRESSES[family], program).stdout).strip().split("; ")


@pytest.mark.parametrize("backend", ["inet", "socket"])
@pytest.mark.parametrize(("family", "option", "shown"), [("AF_INET", "inet", "4096"), ("AF_INET6", "inet6", "4096"), ("AF_UNIX", "local", "none")])
def test_the_right_family_is_taken_and_the_backlog_kept(host: Host, backend: str, family: str, option: str, shown: str) -> None:
    assert listen(host, family, f"[{{inet_backend, {backend}}}, {option}, {{fd, 3}}, {{backlog, 4096}}]") == ["accepts", shown]


def test_without_a_word_the_family_is_that_of_ipv4(host: Host) -> None:
    assert listen(host, "AF_INET", "[{fd, 3}, {backlog, 4096}]")[0] == "accepts"
    assert listen(host, "AF_INET6", "[{fd, 3}, {backlog, 4096}]")[0] == "einval"


@pytest.mark.parametrize("backend", ["inet", "socket"])
def test_without_a_number_the_backlog_is_lowered(host: Host, backend: str) -> None:
    assert listen(host, "AF_INET", f"[{{inet_backend, {backend}}}, inet, {{fd, 3}}]") == ["accepts", "5"]


ANOTHER = [("AF_INET", "inet6"), ("AF_INET6", "inet"), ("AF_UNIX", "inet"), ("AF_INET", "local")]


@pytest.mark.parametrize(("family", "option"), ANOTHER)
def test_another_family_is_refused(host: Host, family: str, option: str) -> None:
    assert listen(host, family, f"[{option}, {{fd, 3}}, {{backlog, 4096}}]")[0] == "einval"


@pytest.mark.parametrize(("family", "option"), ANOTHER)
def test_the_other_backend_asks_the_socket_itself(host: Host, family: str, option: str) -> None:
    assert listen(host, family, f"[{{inet_backend, socket}}, {option}, {{fd, 3}}, {{backlog, 4096}}]")[0] == "accepts"


@pytest.mark.parametrize("backend", ["inet", "socket"])
def test_the_module_of_a_family_can_stand_for_its_word(host: Host, backend: str) -> None:
    assert listen(host, "AF_UNIX", f"[{{inet_backend, {backend}}}, {{tcp_module, local_tcp}}, {{fd, 3}}, {{backlog, 4096}}]")[0] == "accepts"


@pytest.mark.parametrize("backend", ["inet", "socket"])
def test_an_address_is_refused(host: Host, backend: str) -> None:
    options = f"[{{inet_backend, {backend}}}, inet, {{fd, 3}}, {{backlog, 4096}}, {{ip, {{127, 0, 0, 1}}}}]"
    assert listen(host, "AF_INET", options)[0] == "einval"


@pytest.mark.parametrize(("backend", "outcome"), [("inet", f"crashes with {{badmatch,{PORT}}}"), ("socket", "einval")])
def test_a_port_beside_the_descriptor_is_an_error(host: Host, backend: str, outcome: str) -> None:
    assert listen(host, "AF_INET", f"[{{inet_backend, {backend}}}, inet, {{fd, 3}}, {{backlog, 4096}}]", PORT)[0] == outcome


@pytest.mark.parametrize(("backend", "left"), [("inet", "True"), ("socket", "False")])
def test_what_is_left_of_the_socket_for_another_instance(host: Host, backend: str, left: str) -> None:
    assert host.check_output("HOME=/root python3 -c %s %s", SHARE, backend) == left
