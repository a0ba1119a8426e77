# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever text is given as an argument or a variable reaches the process byte for byte, or is refused beforehand."""

from __future__ import annotations

import typing as t

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from versions import NEWEST

usual_hosts = [NEWEST]

VALUES_AT_ONCE = 60
ROUNDS = 20
NO_TEXT = [chr(number) for number in range(0xFDD0, 0xFDF0)] + [chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)]

TRICKY = st.sampled_from(list("\"'\\%$ \t;{}()*?~#=@:!+-|é漢🎈"))
ANY = st.characters(exclude_categories=["Cs"], exclude_characters=["\0", "\n", "\r", *NO_TEXT])
PRINTED = ANY.filter(lambda character: character == "\t" or (character >= " " and character != "\x7f"))
KNOWN = st.sampled_from(
    [
        *["", " ", "\t", " leading", "trailing ", "%", "%%", "%h", "$", "$$", "$HOME", "${HOME}", "\\", "\\\\", "\\n", "\\x41", '"', "'", "a b", ";", "-", "#"],
        *["x" * 100_000, "é" * 60_000, '"' * 30_000],
    ]
)


def values(characters: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    one = st.one_of(st.text(st.one_of(TRICKY, characters), max_size=40), KNOWN)
    # The kernel limits what a process gets in all, so long values are few at once.
    return st.lists(one, min_size=VALUES_AT_ONCE, max_size=VALUES_AT_ONCE).filter(lambda found: sum(map(len, found)) < 400_000)


def test_arguments_and_variables_come_back_byte_for_byte(inside: t.Callable[[str, t.Any], t.Any]) -> None:
    seen = 0

    @settings(max_examples=ROUNDS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(arguments=values(ANY), variables=values(PRINTED))
    def check(arguments: list[str], variables: list[str]) -> None:
        nonlocal seen
        found = inside("round_trip", {"arguments": arguments, "variables": variables})
        assert found["arguments"] == [value.encode().hex() for value in arguments]
        assert found["variables"] == [value.encode().hex() for value in variables]
        seen += len(arguments) + len(variables)

    check()
    assert seen >= 1000
