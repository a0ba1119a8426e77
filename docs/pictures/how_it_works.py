# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws docs/how-it-works.svg: who holds the port, who answers, and where the releases are.

    python docs/pictures/how_it_works.py

The picture is this file's text and nothing else, so a change of it can be read in a review. A test holds the two equal.
"""

from __future__ import annotations

import typing as t
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 540
# Written out with its colon it would be taken for the licence of this file.
LICENSED = "SPDX-License-Identifier"
TITLE = "A systemd socket holds the port; the service and, during a deploy, a stand-in accept from it; each runs in a release's folder"
STYLE = """
  text { fill: #1b1f24 } .small { fill: #59636e; font-size: 12px } .name { font-weight: bold } .on-dark, .on-dark tspan { fill: #ffffff }
  .held { fill: #1a7f37 } .serves { fill: #0969da } .for-now { fill: #ffffff; stroke: #0969da; stroke-dasharray: 5 4 }
  .outside { fill: #f6f8fa; stroke: #8c959f } .folder { fill: #ffffff; stroke: #8c959f } .live { fill: #ddf4ff; stroke: #0969da }
  .way, .link { fill: none; marker-end: url(#head) } .way { stroke: #1b1f24; stroke-width: 1.5 } .link { stroke: #59636e; stroke-dasharray: 4 3 }
  .step { fill: #bc4c00 } .number { fill: #ffffff; font-weight: bold; text-anchor: middle }
  .mono { font-family: monospace }
"""


def box(kind: str, left: int, top: int, width: int, height: int) -> str:
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>'


def text(left: int, top: int, said: str, kind: str = "", *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{left}" y="{top}"{anchor}>{escape(said)}</text>'


def arrow(path: str, kind: str = "way") -> str:
    return f'<path class="{kind}" d="{path}"/>'


def step(left: int, top: int, number: int) -> str:
    return f'<circle class="step" cx="{left}" cy="{top}" r="11"/>' + text(left, top + 5, str(number), "number")


def parts() -> t.Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="14">'
    yield f"<!-- {LICENSED}: GPL-3.0-or-later -->"
    yield "<!-- Made by docs/pictures/how_it_works.py: change that. -->"
    yield f"<title>{escape(TITLE)}</title>"
    yield f"<style>{STYLE}</style>"
    yield '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield from clients_and_socket()
    yield from services()
    yield from releases()
    yield from steps()
    yield "</svg>"


def clients_and_socket() -> t.Iterator[str]:
    yield box("outside", 16, 130, 110, 110)
    yield text(71, 180, "clients", "name", middle=True)
    yield text(71, 200, "or a web server", "small", middle=True)
    yield arrow("M126 185H184")
    yield box("held", 190, 56, 190, 258)
    yield text(285, 84, "shop.socket", "name on-dark", middle=True)
    yield text(285, 106, "systemd holds the port,", "on-dark", middle=True)
    yield text(285, 124, "whatever becomes of", "on-dark", middle=True)
    yield text(285, 142, "the app", "on-dark", middle=True)
    for place in range(5):
        yield f'<rect x="{217 + place * 28}" y="170" width="24" height="30" rx="3" fill="#ffffff" fill-opacity="{1 - place * 0.16:.2f}"/>'
    yield text(285, 224, "the kernel's queue:", "on-dark", middle=True)
    yield text(285, 242, "who finds nobody waits,", "on-dark", middle=True)
    yield text(285, 260, "and is not refused", "on-dark", middle=True)
    yield text(285, 296, "127.0.0.1:4000", "mono on-dark", middle=True)


def services() -> t.Iterator[str]:
    yield arrow("M380 108H444")
    yield text(412, 98, "fd 3", "small", middle=True)
    yield box("serves", 450, 56, 212, 104)
    yield text(556, 84, "shop.service", "name on-dark", middle=True)
    yield text(556, 106, "runs the live release,", "on-dark", middle=True)
    yield text(556, 124, "and starts again", "on-dark", middle=True)
    yield text(556, 142, "if it crashes", "on-dark", middle=True)
    yield arrow("M380 262H444")
    yield text(412, 252, "fd 3", "small", middle=True)
    yield box("for-now", 450, 210, 212, 104)
    yield text(556, 238, "shop@2026-11-21.service", "name", middle=True)
    yield text(556, 260, "the stand-in: there only", middle=True)
    yield text(556, 278, "while shop.service restarts,", middle=True)
    yield text(556, 296, "with app_switch: overlap", middle=True)


def releases() -> t.Iterator[str]:
    yield box("outside", 712, 20, 232, 322)
    yield text(728, 44, "/srv/shop", "mono name")
    yield box("folder", 728, 92, 200, 32)
    yield text(740, 113, "current", "mono")
    yield text(728, 152, "releases/", "mono")
    for top, name, kind in ((164, "2026-11-19", "folder"), (204, "2026-11-20", "live"), (244, "2026-11-21", "folder")):
        yield box(kind, 752, top, 144, 32)
        yield text(764, top + 21, name, "mono")
    yield text(728, 312, "shared/  .deploy/", "mono")
    yield text(728, 330, "data, and the history", "small")
    yield arrow("M662 108H722")
    yield text(691, 98, "works in", "small", middle=True)
    yield arrow("M662 260H746")
    yield text(703, 250, "works in", "small", middle=True)
    yield arrow("M928 108H936V220H902", "link")


def steps() -> t.Iterator[str]:
    yield text(16, 372, "A deploy", "name")
    told = (
        ("stage", "the release is unpacked beside the others, whole or not at all; nothing that is live is touched"),
        ("stand in", "with overlap the new release starts on the same socket, and gets ready before anything else happens"),
        ("switch", "current is renamed onto the new release, and shop.service restarts behind the held port"),
        ("prove", "it must be ready, run in the right folder, pass the health check and stay up; then the stand-in goes"),
    )
    for row, (name, what) in enumerate(told):
        top = 398 + row * 28
        yield step(28, top, row + 1)
        yield text(48, top + 5, name, "name")
        yield text(120, top + 5, what)
    yield text(16, 522, "If any of it fails, current goes back, and the release before has to prove itself likewise. Nobody is refused then either.", "small")
    yield step(912, 260, 1)
    yield step(450, 210, 2)
    yield step(928, 92, 3)
    yield step(450, 56, 4)


def draw() -> str:
    return "\n".join(parts()) + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / "how-it-works.svg").write_text(draw())
