# Copyright (c) 2026, the holdfast.systemd developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit files as text: sections go in, systemd's syntax comes out, and back. Private to the collection.

Everything here is pure: it touches no file and asks no systemd. What belongs here is true of every unit; what an app's units
say belongs to the role units.
"""

from __future__ import annotations

import re
import typing as t

SECTION = re.compile(r"[A-Z][A-Za-z0-9-]*\Z")
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# The directives whose value is a command (systemd.service(5)); ExecPaths= and the like are lists of paths.
COMMAND = re.compile(r"Exec(Start(Pre|Post)?|Stop(Pre|Post)?|Reload(Post)?|Condition)\Z")
# What may stand before the program of a command, and what it must not contain.
PROGRAM = re.compile(r"(?P<prefixes>[-@:+!|]*)(?P<path>[^-@:+!|].*)\Z", re.DOTALL)
# The kernel passes no longer argument or variable (MAX_ARG_STRLEN), and systemd reads no longer line.
LONGEST_WORD = 128 * 1024 - 1
LONGEST_LINE = 1024 * 1024 - 1
# What systemd does not take for text (utf8_is_valid): surrogates and Unicode's non-characters.
NO_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef" + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)) + "]")
# All that systemd takes for blank; str.strip() takes other characters away, too.
BLANK = " \t\r\n"
MASK = "********"
# A directive whose value may be secret, with the lines and comments that continue it, and such a value as render() writes it.
SECRET = re.compile(r"^[ \t]*(?P<key>Environment|SetCredential)[ \t]*=(?P<value>(?:.*\\\n(?:[ \t]*[#;].*\n)*)*.*)$", re.MULTILINE)
OWN_FORM = {
    "Environment": re.compile(r'(?P<start>"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=)(?:[^"\\\n]|\\.)*(?P<end>")\Z'),
    "SetCredential": re.compile(r"(?P<start>[^:\s]+:)(?P<name>)[^\n]*(?P<end>)\Z"),
}

Sections = t.Mapping[str, t.Optional[t.Mapping[str, t.Any]]]


class UnitFileError(ValueError):
    """A value that systemd would not read back as meant. The text names the directive and never shows a value."""


def render(sections: Sections, *, replace: bool = False) -> str:
    """Renders sections as the text of a unit file, in the order given.

    A list repeats its directive, an empty list or string writes the empty assignment that resets it, null leaves it
    out, and booleans are yes and no. Environment may be a dictionary. A command may be a list of its arguments, or a
    list of commands, which begins with a list or with the empty string that resets.

    With `replace`, every directive whose value is a list or a dictionary begins with its reset, and so does a command
    or Environment as text. Raises UnitFileError for what cannot stand in a unit file.
    """
    blocks = []
    for section, directives in sections.items():
        if not SECTION.match(str(section)):
            raise UnitFileError(f"[{section}] is no section: a name such as Service or X-Site is expected")
        if directives is None:
            continue
        if not isinstance(directives, t.Mapping):
            raise UnitFileError(f"[{section}] must be a dictionary of directives")
        lines = []
        for key, value in directives.items():
            lines += [f"{key}={text}" for text in _values(f"[{section}] {key}", str(key), value, replace)]
        if lines:
            blocks.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(blocks)


def _values(where: str, key: str, value: t.Any, replace: bool) -> list[str]:
    if not KEY.match(key):
        raise UnitFileError(f"{where} is no directive: a name such as ExecStart is expected")
    if value is None:
        return []
    if not isinstance(value, (list, tuple, t.Mapping)):
        # That these are lists is known, whichever way one is given.
        reset = [""] if replace and value != "" and (key == "Environment" or COMMAND.match(key)) else []
        return [*reset, _line(where, _scalar(where, value))]
    if isinstance(value, t.Mapping):
        if key != "Environment":
            raise UnitFileError(f"{where} must not be a dictionary; only Environment may be one")
        found = [_variable(where, str(name), item) for name, item in value.items() if item is not None]
    elif COMMAND.match(key):
        found = _commands(where, value)
    else:
        found = [_scalar(where, item) for item in value]
    # A null leaves out its own variable, and a reset would take those of the unit with it.
    if not value or (replace and found[:1] != [""]):
        found.insert(0, "")
    return [_line(where, text) for text in found]


def _scalar(where: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise UnitFileError(f"{where} must be text, a number, a boolean or a list of these")
    return value


def _line(where: str, text: str) -> str:
    if any(character in text for character in "\n\r\0"):
        raise UnitFileError(f"{where} must be one line without a NUL byte")
    if NO_TEXT.search(text):
        raise UnitFileError(f"{where} has a character that is not valid text for systemd")
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise UnitFileError(f"{where} must not end in a backslash, which would join the next line to it")
    if len(where.encode()) + len(text.encode()) > LONGEST_LINE:
        raise UnitFileError(f"{where} is longer than the {LONGEST_LINE} bytes that systemd reads as one line")
    return text


def _commands(where: str, value: t.Sequence[t.Any]) -> list[str]:
    if value and all(isinstance(item, (str, int, float)) for item in value) and value[0] != "":
        return [_command(where, value)]
    return [_command(where, item) if isinstance(item, (list, tuple)) else _scalar(where, item) for item in value]


def _command(where: str, arguments: t.Sequence[t.Any]) -> str:
    words = [_scalar(where, argument) for argument in arguments]
    program = PROGRAM.match(words[0]) if words else None
    if not program:
        raise UnitFileError(f"{where} must begin with the program to run")
    if "$" in program["path"]:
        # The path is taken literally where the argument of the same text is not, so no spelling serves both.
        raise UnitFileError(f"{where} must not have a '$' in the path of the program")
    # The prefix ':' turns variables off, and with them the need to double their sign.
    return " ".join(quote(where, word, dollars=":" not in program["prefixes"]) for word in words)


def _variable(where: str, name: str, value: t.Any) -> str:
    if not VARIABLE.match(name):
        raise UnitFileError(f"{where}: {name!r} cannot be the name of a variable; use letters, digits and '_', no digit first")
    text = _scalar(f"{where} {name}", value)
    if re.search(r"[\x01-\x08\x0b-\x1f\x7f]", text):
        raise UnitFileError(f"{where} {name} has a control character, which systemd refuses here; use an environment file")
    return quote(f"{where} {name}", f"{name}={text}")


def quote(where: str, word: str, *, dollars: bool = False) -> str:
    """Writes one word so that systemd reads exactly this word; with `dollars` where it would expand variables."""
    if any(character in word for character in "\n\r\0"):
        raise UnitFileError(f"{where} must be one line without a NUL byte")
    if NO_TEXT.search(word):
        raise UnitFileError(f"{where} has a character that is not valid text for systemd")
    if len(word.encode()) > LONGEST_WORD:
        raise UnitFileError(f"{where} is longer than the {LONGEST_WORD} bytes that Linux passes to a process")
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if dollars:
        text = text.replace("$", "$$")
    return '"' + re.sub(r"[\x01-\x08\x0b-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text) + '"'


def credential(name: str, value: str) -> str:
    """The value of SetCredential= that gives the service this credential, byte for byte."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UnitFileError(f"{name!r} cannot be the name of a credential; use letters, digits, '.', '_' and '-'")
    if "\0" in value:
        raise UnitFileError(f"the credential {name} has a NUL byte")
    harmless = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    return f"{name}:" + "".join(chr(byte) if byte in harmless else f"\\x{byte:02x}" for byte in value.encode())


def masked(text: str, *, variables: t.Collection[str] | None) -> str:
    """The text of a unit file for showing: without the values of credentials and of these variables (None for all)."""

    def mask(found: re.Match[str]) -> str:
        own = OWN_FORM[found["key"]].match(found["value"])
        # Of a line in another form nobody knows which variables it has.
        is_shown = found["key"] == "Environment" and variables is not None and (own["name"] not in variables if own else not variables)
        if is_shown or not found["value"].strip(BLANK):
            return found[0]
        return f"{found['key']}={own['start'] if own else ''}{MASK}{own['end'] if own else ''}"

    return SECRET.sub(mask, text)


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Reads the text of a unit file: sections, directives, and their values in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    directives: dict[str, list[str]] = {}
    pending = ""
    for line in text.split("\n"):
        stripped = line.strip(BLANK)
        if not pending and (not stripped or stripped[0] in "#;"):
            continue
        if pending and stripped[:1] in ("#", ";"):
            continue
        if (len(line) - len(line.rstrip("\\"))) % 2:
            pending += line[:-1] + " "
            continue
        stripped, pending = (pending + line).strip(BLANK), ""
        if stripped.startswith("[") and stripped.endswith("]"):
            directives = sections.setdefault(stripped[1:-1], {})
        elif "=" in stripped:
            key, _equals, value = stripped.partition("=")
            directives.setdefault(key.strip(BLANK), []).append(value.strip(BLANK))
    return sections


def environment_file(variables: t.Mapping[str, t.Any]) -> str:
    """Renders environment variables for EnvironmentFile=, which gives the process exactly these values.

    Errors name the variable and never the value, which may be a secret.
    """
    lines = []
    for name, value in variables.items():
        if not VARIABLE.match(str(name)):
            raise UnitFileError(f"{name!r} cannot be the name of an environment variable; use letters, digits and '_', no digit first")
        if value is None:
            continue
        if not isinstance(value, (str, int, float)):
            raise UnitFileError(f"{name} must be text, a number or a boolean")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\0" in text:
            raise UnitFileError(f"{name} has a NUL byte, which no environment variable can have")
        if NO_TEXT.search(text):
            raise UnitFileError(f"{name} has a character that is not valid text for systemd, which would not read the file")
        if len(name) + 1 + len(text.encode()) > LONGEST_WORD:
            raise UnitFileError(f"{name} is longer than the {LONGEST_WORD} bytes that Linux passes to a process")
        lines.append(f'{name}="' + re.sub(r'(["\\$`])', r"\\\1", text) + '"\n')
    return "".join(lines)
