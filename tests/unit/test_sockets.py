# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ss` and systemd say together about the queues in front of an app."""

from __future__ import annotations

import shutil
import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _sockets
from ansible_collections.holdfast.systemd.plugins.module_utils._sockets import Listener, listeners
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd

# As iproute2 prints it when its output is no terminal.
SS = """\
u_str LISTEN 0      4096                     /run/systemd/private 20181            * 0
u_str LISTEN 2      511                        /run/shop/shop.sock 31845           * 0
u_seq LISTEN 0      4096                           /run/shop/seq.sock 31846           * 0
u_dgr UNCONN 0      0                          /run/shop/log.sock 31847            * 0
u_str ESTAB  0      0                          /run/shop/shop.sock 31999            * 0
u_str LISTEN 0      64                                      @abstract 31848            * 0
tcp   LISTEN 0      128                                       0.0.0.0:22                 0.0.0.0:*
tcp   LISTEN 7      2048                                    127.0.0.1:4000               0.0.0.0:*
tcp   LISTEN 1      4096                                        [::1]:4000                  [::]:*
tcp   LISTEN 0      100                                             *:4001                     *:*
tcp   LISTEN 3      4096                                         [::]:4002                  [::]:*
tcp   LISTEN 0      4096                                      0.0.0.0:4003               0.0.0.0:*
"""


@pytest.fixture(autouse=True)
def generous_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has `ss`, and whose kernel lets 4096 clients wait."""
    monkeypatch.setattr(shutil, "which", lambda program, **_options: f"/usr/bin/{program}")
    monkeypatch.setattr(_sockets, "_kernel_limit", lambda: 4096)


def look(*listen: str, backlog: str = "4096", ss: tuple[int, str] = (0, SS)) -> list[Listener]:
    """What is found for a socket unit with these lines of Listen=."""

    def run(command: t.Sequence[str], **_options: t.Any) -> tuple[int, str, str]:
        if command[0] == "systemctl":
            return 0, "".join(f"Listen={line}\n" for line in listen) + f"Backlog={backlog}\n", ""
        return *ss, ""

    return listeners(Systemd(run), run, "shop.socket")


@pytest.mark.parametrize(
    ("listen", "waiting", "found"),
    [
        ("127.0.0.1:4000 (Stream)", 7, 2048),
        ("[::1]:4000 (Stream)", 1, 4096),
        ("[::]:4001 (Stream)", 0, 100),  # for both families
        ("[::]:4002 (Stream)", 3, 4096),  # for version 6 alone
        ("0.0.0.0:4003 (Stream)", 0, 4096),
        ("/run/shop/shop.sock (Stream)", 2, 511),
        ("/run/shop/seq.sock (SequentialPacket)", 0, 4096),
        ("@abstract (Stream)", 0, 64),
    ],
)
def test_an_address_is_found_as_both_programs_write_it(listen: str, waiting: int, found: int) -> None:
    assert look(listen) == [Listener("shop.socket", listen.split(maxsplit=1)[0], wanted=4096, backlog=found, waiting=waiting)]


def test_all_addresses_of_a_unit_are_told_in_its_order() -> None:
    found = look("/run/shop/shop.sock (Stream)", "127.0.0.1:4000 (Stream)", "[::]:4001 (Stream)")
    assert [listener.address for listener in found] == ["/run/shop/shop.sock", "127.0.0.1:4000", "[::]:4001"]


@pytest.mark.parametrize("listen", ["/run/shop/log.sock (Datagram)", "127.0.0.1:4000 (Datagram)", "/run/shop/fifo (FIFO)", "127.0.0.1:40 (Stream)"])
def test_what_has_no_queue_or_is_not_open_is_left_out(listen: str) -> None:
    assert look(listen) == []


def test_the_kernel_caps_what_a_unit_wants() -> None:
    (found,) = look("[::]:4002 (Stream)", backlog="4294967295")
    assert (found.wanted, found.is_lowered) == (4096, False)


@pytest.mark.parametrize(("backlog", "is_lowered"), [("2049", True), ("2048", False), ("128", False)])
def test_a_queue_is_lowered_when_it_is_shorter_than_the_unit_says(backlog: str, is_lowered: bool) -> None:
    (found,) = look("127.0.0.1:4000 (Stream)", backlog=backlog)
    assert found.is_lowered is is_lowered


def test_without_ss_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_arguments, **_options: None)
    assert look("127.0.0.1:4000 (Stream)") == []


@pytest.mark.parametrize("ss", [(1, SS), (0, ""), (0, "Cannot open netlink socket: Protocol not supported\n")])
def test_an_ss_that_cannot_tell_is_no_trouble(ss: tuple[int, str]) -> None:
    assert look("127.0.0.1:4000 (Stream)", ss=ss) == []


def test_a_listener_is_returned_by_the_names_that_are_documented() -> None:
    (found,) = look("127.0.0.1:4000 (Stream)")
    assert _sockets.as_dict(found) == {"address": "127.0.0.1:4000", "backlog": 2048, "wanted_backlog": 4096, "waiting": 7}


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("/srv/shop/releases/1/venv/bin/python venv/bin/gunicorn --preload shop.wsgi", "gunicorn --backlog"),
        ("/srv/shop/releases/1/venv/bin/python venv/bin/uvicorn shop:app --fd 3", "uvicorn --backlog"),
        ("/srv/shop/releases/1/erts-15.0/bin/beam.smp -- -root /srv/shop", "Bandit"),
        ("/usr/bin/node server.js", "listen({fd: 3}, 4096)"),
        ("/usr/bin/python3 serve.py", "backlog=4096 where the server starts"),
        ("/srv/shop/releases/1/shop", "the number that it calls listen() with"),
    ],
)
def test_the_remedy_speaks_the_language_of_the_app(command: str, advice: str) -> None:
    assert advice in _sockets.remedy(command)
