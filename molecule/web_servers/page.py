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


def files(*headings: str) -> dict[str, str]:
    """Those below these headings, the outer one first, by their names."""
    text = "\n" + PAGE.read_text()
    for level, heading in enumerate(headings, start=2):
        marks = "#" * level
        section = re.search(rf"^{marks} {re.escape(heading)}$(.*?)(?=^#{{2,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"the page has no heading {heading}"
        text = section[1]
    found: dict[str, str] = {}
    parts = FENCE.split(text)
    for before, block in zip(parts[::2], parts[1::2]):
        named = re.search(r"`([\w./-]+)`[^`]*:\Z", before.rstrip().rpartition("\n\n")[2])
        if named:
            assert named[1] not in found, f"two blocks below {headings} are {named[1]}"
            found[named[1]] = block
    return found


def elsewhere(text: str, changes: dict[str, str]) -> str:
    """The text with all of this in place of what the page says, each of which must be there."""
    for old, new in changes.items():
        assert old in text, f"the page does not say {old!r}, so nothing would be put in its place:\n{text}"
        text = text.replace(old, new)
    return text
