# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo app imports only once somebody has asked for it: it tells from which release that was."""

PLACE = __file__
