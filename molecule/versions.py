# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts with the oldest and the newest systemd, for modules that say where a usual run has them (conftest.py)."""

OLDEST = "podman://holdfast-bullseye"
NEWEST = "podman://holdfast-forky"
