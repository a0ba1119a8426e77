# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit file says is what was asked, or nothing is written."""

from __future__ import annotations

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Z][A-Za-z0-9-]{0,20}", fullmatch=True).filter(lambda name: not _unit_file.COMMAND.match(name))
ONE_LINE = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Cn", "Zs", "Cc"])).filter(lambda text: not text.endswith("\\"))
SCALARS = st.one_of(ONE_LINE, st.booleans(), st.integers())


def written(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("text", ["Key=text"]),
        (True, ["Key=yes"]),
        (False, ["Key=no"]),
        (0, ["Key=0"]),
        (1.5, ["Key=1.5"]),
        (None, []),
        ("", ["Key="]),
        ([], ["Key="]),
        (["a", "b"], ["Key=a", "Key=b"]),
        (["", "only this"], ["Key=", "Key=only this"]),
        ("%h %% $HOME 'a b' \"c\"", ["Key=%h %% $HOME 'a b' \"c\""]),
        ("two backslashes \\\\", ["Key=two backslashes \\\\"]),
    ],
)
def test_a_value_becomes_these_lines(value: object, lines: list[str]) -> None:
    text = _unit_file.render({"Service": {"Key": value, "Other": "x"}})
    assert text == "\n".join(["[Service]", *lines, "Other=x"]) + "\n"


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("/bin/x $A %i", ["/bin/x $A %i"]),
        (["/bin/x", "$A", "%i", 'say "hi"', "a\\b", "", 5, True], ['"/bin/x" "$$A" "%%i" "say \\"hi\\"" "a\\\\b" "" "5" "yes"']),
        (["-!/bin/x", "$A"], ['"-!/bin/x" "$$A"']),
        ([":/bin/x", "$A"], ['":/bin/x" "$A"']),
        ([["/bin/a", "b c"], ["/bin/d"]], ['"/bin/a" "b c"', '"/bin/d"']),
        ([["/bin/a"], "/bin/b as written"], ['"/bin/a"', "/bin/b as written"]),
        (["", "/bin/a as written", "/bin/b"], ["", "/bin/a as written", "/bin/b"]),
        ([], [""]),
        (["/bin/x", "\x01\t\x7f"], ['"/bin/x" "\\x01\t\\x7f"']),
    ],
)
def test_a_command_is_a_line_as_written_or_a_list_of_exact_arguments(value: object, lines: list[str]) -> None:
    assert _unit_file.render({"Service": {"ExecStart": value}}) == "\n".join(["[Service]", *(f"ExecStart={line}" for line in lines)]) + "\n"


@pytest.mark.parametrize("key", ["ExecPaths", "NoExecPaths", "ExecSearchPath"])
def test_a_list_of_paths_is_no_command(key: str) -> None:
    assert _unit_file.render({"Service": {key: ["/a", "/b"]}}) == f"[Service]\n{key}=/a\n{key}=/b\n"


def test_an_environment_is_quoted_and_its_percent_signs_are_literal() -> None:
    environment = {"A": "100 %", "B": 'say "$HOME"', "C": "\\", "D": "", "E": None, "F": 5, "G": " x\t"}
    lines = ['"A=100 %%"', '"B=say \\"$HOME\\""', '"C=\\\\"', '"D="', '"F=5"', '"G= x\t"']
    assert _unit_file.render({"Service": {"Environment": environment}}).splitlines()[1:] == [f"Environment={line}" for line in lines]


def test_a_masked_variable_keeps_its_name_and_loses_its_value() -> None:
    text = _unit_file.render({"Service": {"Environment": {"TOKEN": 'hid"den', "PORT": 4000}, "SetCredential": _unit_file.credential("key", "hid den")}})
    shown = '[Service]\nEnvironment="TOKEN=********"\nEnvironment="PORT=4000"\nSetCredential=key:********\n'
    assert _unit_file.masked(text, variables=["TOKEN"]) == shown
    assert _unit_file.masked(text, variables=None) == shown.replace("4000", "********")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Environment=TOKEN=hidden", "Environment=********"),
        ("Environment='TOKEN=hidden'", "Environment=********"),
        ('Environment="A=1" "TOKEN=hidden"', "Environment=********"),
        (' Environment = "TOKEN=hidden"', "Environment=********"),
        ("Environment=A=1 \\\n# a comment\n  TOKEN=hidden\nNice=1", "Environment=********\nNice=1"),
        ('Environment=" TOKEN=hidden"', "Environment=********"),
        ("Environment=", "Environment="),
        ("SetCredential = key:hidden", "SetCredential=********"),
        ("SetCredential=key:hid\\\nhidden", "SetCredential=********"),
        ("# Environment and\nNice=1", "# Environment and\nNice=1"),
    ],
)
def test_a_secret_is_masked_however_somebody_else_has_written_it(text: str, shown: str) -> None:
    assert _unit_file.masked(text, variables=["TOKEN"]) == _unit_file.masked(text, variables=None) == shown


def test_variables_that_are_no_secret_are_shown_however_they_are_written() -> None:
    text = 'Environment=A=1\nEnvironment="B=2" C=3\n'
    assert _unit_file.masked(text, variables=[]) == text


def test_a_credential_is_written_so_that_nothing_of_it_is_read_otherwise() -> None:
    assert _unit_file.credential("key", "a %$\n\u00e9") == r"key:a\x20\x25\x24\x0a\xc3\xa9"


def test_replace_resets_what_is_a_list_or_a_command_and_nothing_else() -> None:
    sections = {"Service": {"ExecStart": ["/bin/x"], "Environment": {"A": "1"}, "After": ["a", "b"], "Nice": 5, "Group": ["", "c"], "ExecStop": "/bin/y"}}
    assert _unit_file.render(sections, replace=True).splitlines()[1:] == [
        *["ExecStart=", 'ExecStart="/bin/x"', "Environment=", 'Environment="A=1"', "After=", "After=a", "After=b"],
        *["Nice=5", "Group=", "Group=c", "ExecStop=", "ExecStop=/bin/y"],
    ]


@pytest.mark.parametrize(
    ("value", "replace", "lines"),
    [
        ({}, False, ["Environment="]),
        ({"A": None}, False, []),
        ({"A": None}, True, ["Environment="]),
        ({"A": None, "B": 1}, False, ['Environment="B=1"']),
        ("B=1", True, ["Environment=", "Environment=B=1"]),
    ],
)
def test_a_variable_that_is_null_resets_none_of_the_others(value: object, replace: bool, lines: list[str]) -> None:
    assert _unit_file.render({"Service": {"Environment": value}}, replace=replace).splitlines()[1:] == lines


def test_sections_and_directives_keep_their_order() -> None:
    text = _unit_file.render({"Unit": {"B": 1, "A": 2}, "Install": None, "Socket": {"Nothing": None}, "Service": {"C": 3}})
    assert text == "[Unit]\nB=1\nA=2\n\n[Service]\nC=3\n"


REFUSED = {
    "a line feed": {"Service": {"User": "secret\nUser=root"}},
    "a carriage return": {"Service": {"User": "secret\rUser=root"}},
    "a NUL byte": {"Service": {"User": "secret\0"}},
    "a line feed in a list": {"Service": {"User": ["x", "secret\nb"]}},
    "a line feed in an argument": {"Service": {"ExecStart": ["/bin/x", "secret\nb"]}},
    "a line feed in the environment": {"Service": {"Environment": {"A": "secret\nB=1"}}},
    "a control character in the environment": {"Service": {"Environment": {"A": "secret\x01"}}},
    "a variable that is none": {"Service": {"Environment": {"A B": "secret"}}},
    "a backslash at the end": {"Service": {"Environment": "secret\\"}},
    "a dictionary elsewhere": {"Service": {"User": {"a": "secret"}}},
    "a surrogate": {"Service": {"User": "secret\udc80"}},
    "a non-character": {"Service": {"User": "secret\ufffe"}},
    "a non-character in an argument": {"Service": {"ExecStart": ["/bin/x", "secret\U0001ffff"]}},
    "an endless line": {"Service": {"User": "secret" * 200_000}},
    "an endless argument": {"Service": {"ExecStart": ["/bin/x", "secret" * 22_000]}},
    "no program": {"Service": {"ExecStart": [["-"]]}},
    "an empty command": {"Service": {"ExecStart": [[]]}},
    "a variable for a program": {"Service": {"ExecStart": ["/bin/$secret"]}},
    "a directive of two lines": {"Service": {"Key=x\nUser": "secret"}},
    "a directive without a name": {"Service": {"": "secret"}},
    "a section of two lines": {"Service]\n[Install": {"Key": "secret"}},
    "a section without a name": {"": {"Key": "secret"}},
    "a section that is text": {"Service": "secret"},
}


@pytest.mark.parametrize("sections", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_stand_in_a_unit_file_is_refused_without_showing_it(sections: dict) -> None:
    with pytest.raises(_unit_file.UnitFileError) as error:
        _unit_file.render(sections)
    assert "secret" not in str(error.value)


SECTIONS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, min_size=1)), min_size=1), min_size=1)


@given(SECTIONS)
def test_what_is_rendered_is_read_back(sections: dict) -> None:
    expected = {
        section: {key: [written(item) for item in (value if isinstance(value, list) else [value])] for key, value in directives.items()}
        for section, directives in sections.items()
    }
    assert _unit_file.parse(_unit_file.render(sections)) == expected


@pytest.mark.parametrize("character", "\u2028\u3000\xa0\x0b\x1f")
def test_only_what_is_blank_for_systemd_is_cut_off(character: str) -> None:
    assert _unit_file.parse(f"[Unit]\nDescription = {character}\n{character}Key=a{character} \n") == {
        "Unit": {"Description": [character], f"{character}Key": [f"a{character}"]}
    }


def test_comments_and_continued_lines_are_read_as_systemd_does() -> None:
    text = "# c\n[Service]\n; c\nExecStart=/bin/a \\\n# c\n  b\n\n Nice = 5 \nNice=6\n[Unit]\n"
    assert _unit_file.parse(text) == {"Service": {"ExecStart": ["/bin/a    b"], "Nice": ["5", "6"]}, "Unit": {}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", 'A="plain"\n'),
        ('say "$HOME" `now` \\', 'A="say \\"\\$HOME\\" \\`now\\` \\\\"\n'),
        ("two\r\nlines\x01", 'A="two\r\nlines\x01"\n'),
        (True, 'A="true"\n'),
        (5, 'A="5"\n'),
        (None, ""),
    ],
)
def test_an_environment_file_quotes_what_systemd_would_change(value: object, text: str) -> None:
    assert _unit_file.environment_file({"A": value}) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("1A", "secret"), ("A B", "secret"), ("A", "secret\0"), ("A", ["secret"]), ("A", "secret\ufffe"), ("A", "secret\ud800")],
        ("A", "secret" * 22_000),
    ],
)
def test_an_error_about_the_environment_never_shows_a_value(name: str, value: object) -> None:
    with pytest.raises(_unit_file.UnitFileError) as error:
        _unit_file.environment_file({name: value})
    assert "secret" not in str(error.value)
