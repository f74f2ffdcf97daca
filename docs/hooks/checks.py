"""Fail the build for what mkdocs does not check: network access, and text that was not rendered."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

LOADED = r'(?:<(?:script|img|audio|source|iframe)[^>]*\ssrc|<link[^>]*\shref)="(?:https?:)?//'
#: What no page may hold, as a regular expression, and what is wrong there.
REFUSED = {
    LOADED: "it loads a file from the network",
    "generated:": "a generated part is missing",
    r"\.\. math::|\$\\[a-zA-Z|]": "a formula was not rendered",
    r"merror|<m[io][^>]*>(&|\\\w+)</m": "a formula has an unknown command",
}


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Check the HTML of a page.

    Raises
    ------
    PluginError
        If it holds what `REFUSED` lists.
    """
    for pattern, wrong in REFUSED.items():
        found = re.search(pattern, output)
        if found:
            raise PluginError(f"{page.file.src_uri}: {wrong}: {found[0]}")
    return output
