# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live is not disturbed without being asked, and nothing that was given is lost."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _processes
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Holder
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd
from ansible_collections.holdfast.systemd.plugins.modules import unit
from ansible_collections.holdfast.systemd.plugins.modules.unit import Reader, Refused, Units

SOCKET = {"Socket": {"ListenStream": ["80", "443"], "ListenDatagram": "443"}}
SERVICE = {"Service": {"ExecStart": "/bin/true"}}


class Host:
    """A host with a systemd that remembers what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.active: set[str] = set()
        self.told: list[str] = []

    def run(self, command: t.Sequence[str], **_options: t.Any) -> tuple[int, str, str]:
        verb, name = command[2] if command[0] == "systemctl" else "", command[-1]
        if verb == "show":
            state = "active" if name in self.active else "inactive"
            return 0, f"ActiveState={state}\nTriggers=shop.service\nListen=[::]:80 (Stream)\nUnitFileState=enabled\nLoadState=loaded\n", ""
        if verb:
            self.told.append(" ".join(word for word in command[2:] if word != "--"))
        return 0, "", ""

    def install(self, *units: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
        whole = [{"sections": None, "dropin": None, "replace": False, "state": "present", **given} for given in units]
        parameters = {"units": whole, "unknown": "fail", "socket_change": "refuse", "takeover": False, **options}
        module: t.Any = SimpleNamespace(params=parameters, check_mode=False, warn=print, run_command=self.run)
        return Units(module).run()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(unit, "UNIT_FOLDER", str(tmp_path))
    monkeypatch.setattr(Systemd, "is_running", staticmethod(lambda: True))
    monkeypatch.setattr(Systemd, "schema", lambda self: {})
    monkeypatch.setattr(Systemd, "verify", lambda self, files: ([], []))
    return Host(tmp_path)


# A live socket that goes


LIVE = {"name": "shop.service", "sections": SERVICE}
GOES = {"name": "shop-admin.socket", "state": "absent"}


@pytest.fixture
def admin(host: Host) -> Path:
    """The file of a socket unit that is active."""
    path = host.folder / "shop-admin.socket"
    path.write_text("[Socket]\nListenStream=81\nService=shop.service\n")
    host.active.add(path.name)
    return path


def test_an_active_socket_of_a_service_that_stays_is_closed_only_on_demand(host: Host, admin: Path) -> None:
    with pytest.raises(Refused, match=r"app_listen: shop-admin\.socket is active and holds .*app_socket_change: restart"):
        host.install(LIVE, GOES)
    assert admin.exists()
    assert host.told == []
    host.install(LIVE, GOES, socket_change="restart")
    assert not admin.exists()
    assert "stop shop-admin.socket" in host.told


def test_a_socket_goes_with_its_service_and_when_it_is_down(host: Host, admin: Path) -> None:
    host.install({**GOES}, {"name": "shop.service", "state": "absent"})
    assert not admin.exists()
    admin.write_text("[Socket]\nListenStream=81\n")
    host.active.clear()
    host.install(LIVE, GOES)
    assert not admin.exists()


# Who holds an address


def held_by(monkeypatch: pytest.MonkeyPatch, **holders: Holder) -> None:
    known = {name.replace("_", " "): [holder] for name, holder in holders.items()}
    monkeypatch.setattr(_processes, "holders", lambda directive, address: known.get(f"{directive} {address}", []))


def test_a_takeover_stops_everybody_who_holds_an_address_of_the_unit(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    nginx, caddy = Holder(7, "nginx", "nginx.service"), Holder(8, "caddy", "caddy.service")
    held_by(monkeypatch, ListenStream_80=nginx, ListenStream_443=dataclasses.replace(nginx, pid=9), ListenDatagram_443=caddy)
    given = {"name": "shop.socket", "sections": SOCKET}
    with pytest.raises(Refused, match=r"app_listen: 80 is already held by PID 7 \(nginx, nginx.service\)"):
        host.install(given)
    assert host.told == []
    host.install(given, takeover=True)
    assert [line for line in host.told if line != "daemon-reload"] == [
        *["stop nginx.service", "stop caddy.service", "start shop.socket"],
        *["disable nginx.service", "disable caddy.service"],
    ]


def test_a_service_of_a_user_is_named_and_never_taken_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by(monkeypatch, ListenStream_80=Holder(7, "python3", "", "old.service of user@1000.service"))
    with pytest.raises(Refused, match=r"80 is already held by PID 7 \(python3, old.service of user@1000.service\); .*stop it there"):
        host.install({"name": "shop.socket", "sections": SOCKET}, takeover=True)
    assert host.told == []
    assert not (host.folder / "shop.socket").exists()


# What systemd has loaded


@pytest.mark.parametrize(("state", "drop_ins", "is_needed"), [("not-found", "", False), ("loaded", "", True), ("loaded", "{}", False)])
def test_a_drop_in_of_a_unit_that_is_not_there_needs_no_reload_again_and_again(tmp_path: Path, state: str, drop_ins: str, is_needed: bool) -> None:
    path = tmp_path / "shop.service.d/10.conf"
    path.parent.mkdir()
    path.touch()
    said = f"LoadState={state}\nFragmentPath=\nDropInPaths={drop_ins.format(path)}\nNeedDaemonReload=no\n"
    assert Systemd(lambda *_arguments, **_options: (0, said, "")).needs_reload("shop.service", str(path)) is is_needed


# Secrets


@pytest.mark.parametrize(
    ("given", "lines"),
    [(None, []), ("a:b", ["a:b"]), (["a:b", "c:d"], ["a:b", "c:d"]), ("", [""]), ([], [""]), (["", "a:b"], ["", "a:b"])],
)
def test_credentials_that_are_secret_join_those_that_are_not(host: Host, given: t.Any, lines: list[str]) -> None:
    sections = {"Service": {"ExecStart": "/bin/true", "SetCredential": given}}
    options = {"name": "shop.service", "dropin": None, "replace": False, "state": "present", "secrets": {"credentials": {"key": "x"}}, "sections": sections}
    wanted = Reader({}, drop_unknown=False).read(options).wanted
    assert str(wanted).splitlines()[2:] == [f"SetCredential={line}" for line in [*lines, "key:x"]]
