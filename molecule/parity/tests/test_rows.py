# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the table does what it says when it is set, and what the default says when it is not."""

from __future__ import annotations

import typing as t

import pytest

from parity.parity import FILES, App, rows
from versions import NEWEST

usual_hosts = [NEWEST]

ROWS = rows(*FILES)


def cases(key: str) -> list[t.Any]:
    return [pytest.param(row[key], id=f"{row['option']}-{row['variable']}") for row in ROWS if key in row]


def check(seen: str | None, row: dict[str, t.Any]) -> None:
    if "has" in row:
        assert row["has"] in str(seen)
    else:
        assert seen == row["is"]


@pytest.mark.parametrize("row", cases("set"))
def test_a_variable_that_is_set(with_all: App, row: dict[str, t.Any]) -> None:
    check(with_all.look(row), row)


@pytest.mark.parametrize("row", cases("unset"))
def test_a_variable_that_is_not_set(with_none: App, row: dict[str, t.Any]) -> None:
    check(with_none.look(row), row)


@pytest.mark.parametrize("row", cases("without_socket"))
def test_a_variable_that_is_set_in_an_app_without_a_socket(without_socket: App, row: dict[str, t.Any]) -> None:
    check(without_socket.look(row), row)
