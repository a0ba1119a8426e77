# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the site. tools/docs runs it on what docs/site/source.py has brought together."""

from __future__ import annotations

import re
import typing as t

from docutils import nodes

if t.TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "holdfast.systemd"
author = "The holdfast.systemd developers"
copyright = f"2026, {author}, GPL-3.0-or-later"  # noqa: A001 - Sphinx's own name for it

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# GitHub gives each heading an anchor, and the guides link to them.
myst_heading_anchors = 4
# A quotation mark and two dashes may be something to type.
smartquotes = False
# What is indented in a role's README may be anything.
highlight_language = "text"

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"source_repository": "https://github.com/holdfast/holdfast.systemd/", "source_branch": "main", "top_of_page_buttons": []}
antsibull_ext_color_scheme = "default-autodark"

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
# What the reference pages point to on the site of Ansible itself. An inventory of that site would have to be downloaded.
PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "collections_keyword": "collections_guide/collections_using_playbooks.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "list_of_collections": "collections/index.html",
}
BUILTIN = re.compile(r"ansible_collections\.ansible\.builtin\.(?P<page>\w+?_(?:module|lookup|filter|test))(?:__.*)?\Z")


def on_the_site_of_ansible(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.reference | None:
    """Where a reference leads that nothing here answers; None leaves it to Sphinx to complain."""
    target = node.get("reftarget", "")
    builtin = BUILTIN.match(target)
    page = f"collections/ansible/builtin/{builtin['page']}.html" if builtin else PAGES.get(target)
    return nodes.reference("", "", content, internal=False, refuri=ANSIBLE + page) if page else None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", on_the_site_of_ansible)
