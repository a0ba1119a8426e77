# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of many hosts is told on the controller: one name of the release, the batches, and how ssh notices a host that is gone."""

from __future__ import annotations

import concurrent.futures
import datetime
import re
import typing as t
from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.holdfast.systemd.plugins.lookup.release_name import name_after

INVENTORY = """
web:
  hosts:
    web1:
    web2: {ansible_ssh_extra_args: -o Compression=yes}
  vars:
    app_serial: [1, "25%"]
other:
  hosts:
    other1:
"""
BATCHES = "{{ lookup('holdfast.systemd.batches', pattern) }}"
PATIENCE = "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"
MOMENT = datetime.datetime(2026, 11, 21, 10, 5, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> VariableManager:
    path = tmp_path_factory.mktemp("fleet") / "hosts.yml"
    path.write_text(INVENTORY)
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    known = VariableManager(loader=loader, inventory=inventory)
    # As Ansible does when the first play begins.
    HostVars(inventory, known, loader)
    return known


def worked_out(manager: VariableManager, template: str, host: str | None = None, **variables: t.Any) -> t.Any:
    found = manager.get_vars(host=manager._inventory.get_host(host) if host else None)
    return Templar(loader=manager._loader, variables={**found, **variables}).template(trust_as_template(template))


# The name of the release


def test_all_hosts_of_a_run_are_told_the_same_name(tmp_path: Path) -> None:
    assert name_after("", str(tmp_path), MOMENT) == "20261121T100500Z"
    assert name_after("", str(tmp_path), MOMENT + datetime.timedelta(minutes=5)) == "20261121T100500Z"


def test_hosts_that_ask_at_the_same_time_are_told_the_same_name(tmp_path: Path) -> None:
    moments = [MOMENT + datetime.timedelta(seconds=number) for number in range(40)]
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        told = list(pool.map(name_after, [""] * 40, [str(tmp_path)] * 40, moments))
    assert len(set(told)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_release_after_it_has_another_name_even_within_the_same_second(tmp_path: Path) -> None:
    first = name_after("", str(tmp_path), MOMENT)
    second = name_after(first, str(tmp_path), MOMENT)
    assert second == name_after(first, str(tmp_path), MOMENT + datetime.timedelta(seconds=9))
    assert first != second == "20261121T100500.000000Z"


def test_the_name_is_a_release_id(manager: VariableManager) -> None:
    first = worked_out(manager, "{{ lookup('holdfast.systemd.release_name') }}")
    assert re.fullmatch(r"\d{8}T\d{6}Z", first)
    assert worked_out(manager, "{{ lookup('holdfast.systemd.release_name', '') }}") == first


# The batches


def test_the_batches_of_an_inventory_are_found_although_no_host_is_looked_at(manager: VariableManager) -> None:
    assert worked_out(manager, BATCHES, pattern="web") == [1, "25%"]
    assert worked_out(manager, BATCHES, pattern="all") == [1, "25%"]


def test_the_default_of_a_role_does_not_hide_them(manager: VariableManager) -> None:
    assert worked_out(manager, BATCHES, pattern="web", app_serial="100%") == [1, "25%"]


def test_without_any_all_hosts_are_one_batch(manager: VariableManager) -> None:
    assert worked_out(manager, BATCHES, pattern="other") == "100%"
    assert worked_out(manager, BATCHES, pattern="other", app_serial="2") == "2"


def test_before_the_first_play_the_command_line_counts() -> None:
    loader = DataLoader()
    templar = Templar(loader=loader, variables={"groups": {"all": ["web1"]}, "pattern": "all", "app_serial": 3})
    assert templar.template(trust_as_template(BATCHES)) == 3


# What ssh is given


def patience(manager: VariableManager, host: str) -> t.Any:
    template = "{{ lookup('holdfast.systemd.ssh_extra_args') }}"
    # The variable refers to itself, as in the plays.
    return worked_out(manager, template, host, ansible_ssh_extra_args=trust_as_template(template))


def test_ssh_asks_whether_the_host_is_there(manager: VariableManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_SSH_EXTRA_ARGS", raising=False)
    assert patience(manager, "web1") == PATIENCE


def test_what_the_inventory_says_comes_first(manager: VariableManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_EXTRA_ARGS", "-o TCPKeepAlive=no")
    assert patience(manager, "web2") == f"-o Compression=yes {PATIENCE}"


def test_what_the_environment_says_comes_first(manager: VariableManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_EXTRA_ARGS", "-o TCPKeepAlive=no")
    assert patience(manager, "web1") == f"-o TCPKeepAlive=no {PATIENCE}"
