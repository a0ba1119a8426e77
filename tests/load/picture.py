# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws what the clients of a load waited for: time to the right, latency upwards, deploys marked."""

from __future__ import annotations

import dataclasses
import math
import typing as t
from xml.sax.saxutils import escape

from load import Request

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 64, 48
SHORTEST, LONGEST = 0.001, 10.0


@dataclasses.dataclass(frozen=True)
class Mark:
    """Something that happened during the load, from `started` to `ended` (seconds since the epoch)."""

    title: str
    started: float
    ended: float


def draw(requests: t.Sequence[Request], marks: t.Sequence[Mark], *, title: str) -> str:
    """Returns the picture as the text of an SVG file."""
    start = min(request.ended - request.seconds for request in requests)
    end = max(request.ended for request in requests)

    def across(moment: float) -> float:
        return LEFT + (moment - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    def up(seconds: float) -> float:
        share = math.log(max(seconds, SHORTEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
        return HEIGHT - BOTTOM - min(share, 1) * (HEIGHT - TOP - BOTTOM)

    failed = [request for request in requests if request.failed]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="16" fill="#1b1f24">{escape(title)}</text>',
    ]
    for mark in marks:
        left, right = across(mark.started), across(mark.ended)
        parts.append(f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{HEIGHT - TOP - BOTTOM}" fill="#eaf2fb"/>')
        parts.append(f'<text x="{left:.1f}" y="{TOP - 8}" fill="#0b5cad">{escape(mark.title)}</text>')
    for seconds in (0.001, 0.01, 0.1, 1, 10):
        label = f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(seconds):.1f}" y2="{up(seconds):.1f}" stroke="#d8dee4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(seconds) + 4:.1f}" text-anchor="end" fill="#59636e">{label}</text>')
    for second in range(0, int(end - start) + 1, 5):
        x = across(start + second)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#59636e">{second} s</text>')
    for group, colour in ((_thinned(requests), "#0969da"), (failed, "#cf222e")):
        dots = "".join(f"M{across(request.ended - request.seconds):.1f} {up(request.seconds):.1f}h0" for request in group)
        parts.append(f'<path d="{dots}" stroke="{colour}" stroke-width="3" stroke-linecap="round" stroke-opacity="0.6"/>')
    legend = f"{len(requests):,} requests, each a dot where its client began to wait (dense places thinned); failed: {len(failed)}"
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="#59636e">{escape(legend)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _thinned(requests: t.Sequence[Request]) -> list[Request]:
    """At most one dot for each place of the picture that would be hidden below another one; never a slow one less."""
    places: dict[tuple[int, int], Request] = {}
    for request in requests:
        if not request.failed:
            began = request.ended - request.seconds
            places.setdefault((round(began / 0.06), round(math.log(max(request.seconds, SHORTEST)) * 16)), request)
    return list(places.values())
