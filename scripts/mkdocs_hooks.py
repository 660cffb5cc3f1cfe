"""Hooks of mkdocs: a link out of docs/, such as that to a source file, becomes the path of that file.

The pages are read in the repository too, where such links lead somewhere; the site holds docs/ alone.
"""

import posixpath
import re
from typing import Any

_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_OUTWARD = re.compile(r"\[[^\]\n]*\]\((\.\./[^)\s#]*)[^)\s]*\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page with the links out of docs/ as paths from the root of the repository; code blocks stay as they are."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _paths(part, folder) for part in parts)


def _paths(text: str, folder: str) -> str:
    return _OUTWARD.sub(lambda link: f"`{posixpath.normpath(posixpath.join(folder, link[1]))}`", text)
