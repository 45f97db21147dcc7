"""What lies outside docs/ and belongs on the site all the same, as pages: changelog, contributing, examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_PAGES = {
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "examples/toy_rl.md": "examples/toy_rl/README.md",
    "examples/own_data.md": "examples/own_data.py",
    "examples/own_trm.md": "examples/own_trm.py",
    "examples/shop_files.md": "examples/shop_files.py",
    "examples/wish.md": "examples/wish.py",
    "examples/serve_and_ask.md": "examples/serve_and_ask.py",
}
_HOMES = {source: page for page, source in _PAGES.items()}
_LINK = re.compile(r"\]\((?P<path>[\w./-]+)(?P<anchor>#[\w-]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for page, source in _PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".py"):
            text = f"# `{source}`\n\n```python\n{text}```\n"
        if "/" not in page:  # what lies beside docs/ on the forge lies within it here
            text = text.replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links hold as they are on the forge: those between docs/ and the rest of the project lead to the pages here."""
    own = page.file.src_uri
    source = ROOT / _PAGES.get(own, f"docs/{own}")

    def turned(match: re.Match[str]) -> str:
        target = (source.parent / match["path"]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        found = _HOMES.get(name, name.removeprefix("docs/") if name.startswith("docs/") else None)
        if found is None:
            return match[0]
        return f"]({'../' * own.count('/')}{found}{match['anchor'] or ''})"

    return _LINK.sub(turned, markdown)
