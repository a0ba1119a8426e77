# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the pages of the site together: the guides, the READMEs and their pictures, each at its own place.

    python docs/site/source.py FOLDER

They keep their paths, so their links to each other hold as they are. A link to anything else of the repository becomes one
to where that is published. A link that leads nowhere is an error; `broken()` is what the unit tests ask too.
"""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/holdfast/holdfast.systemd"
PAGES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "docs/*.md", "docs/runtimes/*.md", "roles/*/README.md")
PICTURES = ("docs/*.svg", "docs/*.png", "docs/runtimes/*.svg")
# What belongs to the site alone, and its place there.
OWN = {"conf.py": "conf.py", "index.md": "index.md", "site.css": "_static/site.css"}
BLOCK = re.compile(r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence) *$\n?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<text>\[[^\[\]]*\]\()(?P<target>[^)\s]+)(?P<end>[^)]*\))")
HEADING = re.compile(r"^#{1,6} (?P<said>.+?)\s*#*$", re.MULTILINE)


def found(patterns: t.Iterable[str]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST name them."""
    seen: dict[str, int] = {}
    names = set()
    for heading in HEADING.finditer(BLOCK.sub("", text)):
        said = LINK.sub(lambda link: link["text"].removesuffix("(").strip("[]"), heading["said"]).lower()
        name = re.sub(r"[^\w\- ]", "", said).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return names


def place(page: str, target: str) -> str:
    """The path in the repository that a link of a page leads to."""
    steps: list[str] = []
    for step in (PurePosixPath(page).parent / target).parts:
        if step == ".." and steps:
            steps.pop()
        else:
            steps.append(step)
    return "/".join(steps) or "."


def on_the_site(page: str, text: str, here: t.Container[str]) -> str:
    """The page with each link to what is not on the site leading to where it is published."""

    def changed(link: re.Match[str]) -> str:
        path, _mark, _part = link["target"].partition("#")
        if ":" in link["target"] or not path or (where := place(page, path)) in here:
            return link[0]
        kind = "tree" if (ROOT / where).is_dir() else "blob"
        return f"{link['text']}{REPOSITORY}/{kind}/main/{where}{link['end']}"

    parts, last = [], 0
    for block in BLOCK.finditer(text):
        parts += [LINK.sub(changed, text[last : block.start()]), block[0]]
        last = block.end()
    return "".join([*parts, LINK.sub(changed, text[last:])])


def broken() -> list[str]:
    """The links of all pages that lead nowhere."""
    wrong = []
    for page in found(PAGES):
        for link in LINK.finditer(BLOCK.sub("", (ROOT / page).read_text())):
            path, _mark, part = link["target"].partition("#")
            if ":" in link["target"]:
                continue
            where = ROOT / (place(page, path) if path else page)
            if not where.exists() or (part and where.suffix == ".md" and part not in anchors(where.read_text())):
                wrong.append(f"{page}: {link['target']}")
    return wrong


def main(folder: Path) -> None:
    wrong = broken()
    if wrong:
        sys.exit("These links lead nowhere:\n" + "\n".join(wrong))
    pages, pictures = found(PAGES), found(PICTURES)
    for name in pages:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(on_the_site(name, (ROOT / name).read_text(), {*pages, *pictures}))
    for name in pictures:
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name, place_there in OWN.items():
        (folder / place_there).parent.mkdir(parents=True, exist_ok=True)
        (folder / place_there).write_text((ROOT / "docs/site" / name).read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
