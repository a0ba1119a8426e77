# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that docs/web-servers.md shows, which are the ones that this scenario installs.

A block is a file if the paragraph before it ends with a colon and the file's name, as in "The site, `/etc/caddy/Caddyfile`:".
Ports, paths and names are those of the page; `elsewhere` puts others in their place.
"""

from __future__ import annotations

import re

from playbooks import ROOT

PAGE = ROOT / "docs/web-servers.md"
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(*headings: str) -> str:
    """What stands below these headings, the outer one first."""
    text = "\n" + PAGE.read_text()
    for level, heading in enumerate(headings, start=2):
        marks = "#" * level
        found = re.search(rf"^{marks} {re.escape(heading)}$(.*?)(?=^#{{2,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
        assert found, f"the page has no heading {heading}"
        text = found[1]
    return text


def files(*headings: str) -> dict[str, str]:
    """Those below these headings, by their names."""
    found: dict[str, str] = {}
    parts = FENCE.split(section(*headings))
    for before, block in zip(parts[::2], parts[1::2]):
        named = re.search(r"`([\w./-]+)`[^`]*:\Z", before.rstrip().rpartition("\n\n")[2])
        if named:
            assert named[1] not in found, f"two blocks below {headings} are {named[1]}"
            found[named[1]] = block
    return found


def loading(heading: str) -> str:
    """The commands with which the page loads a web server's configuration."""
    commands = re.findall(r"loaded:\n\n```shell\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    assert len(commands) == 1, f"the page says {len(commands)} times how {heading} is loaded"
    return str(commands[0])


def elsewhere(text: str, changes: dict[str, str]) -> str:
    """The text with all of this in place of what the page says, each of which must be there."""
    for old, new in changes.items():
        assert old in text, f"the page does not say {old!r}, so nothing would be put in its place:\n{text}"
        text = text.replace(old, new)
    return text
