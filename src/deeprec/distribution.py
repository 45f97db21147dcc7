"""The installed distribution: its name, its version, and the command that adds an extra to it here.

The distribution is called `deeprec-llm`, since `deeprec` on the package index is somebody else's; the import
stays `deeprec`.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "deeprec-llm"
_CHECKOUT = Path(__file__).resolve().parents[2]  # where the package lies in a checkout: src/deeprec


def installed_version() -> str:
    """The version of the installed distribution; `0+unknown` where the package runs without having been installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def install_command(extra: str) -> str:
    """The command that adds an extra to *this* environment: its interpreter, and where the package came from.

    Whoever installed from a checkout, a wheel or a repository has nothing to gain from the package index.
    """
    python = _shown(sys.executable)
    # Environments made by uv have no pip of their own.
    installer = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{installer} {_requirement(f'[{extra}]')}"


def _requirement(extras: str) -> str:
    origin = _origin()
    url = str(origin.get("url", ""))
    folder = unquote(urlsplit(url).path)
    if "dir_info" in origin:
        if not Path(folder).is_dir():
            return f'"{NAME}{extras}"'
        return f'{"-e " if origin["dir_info"].get("editable") else ""}"{folder}{extras}"'
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f'"{NAME}{extras} @ {vcs["vcs"]}+{url}@{vcs["commit_id"]}"'
    if url:
        return f'"{NAME}{extras} @ {url}"'
    return f'"{NAME}{extras}"'


def _origin() -> dict[str, Any]:
    """Where the distribution was installed from, as PEP 610 records it; empty: from an index."""
    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        in_checkout = (_CHECKOUT / "pyproject.toml").is_file()
        return {"url": _CHECKOUT.as_uri(), "dir_info": {"editable": True}} if in_checkout else {}
    origin: dict[str, Any] = json.loads(text) if text else {}
    return origin


def _shown(path: str) -> str:
    """A path as short as it can be typed from here, in quotes where the shell needs them."""
    here = Path.cwd()
    # Not resolved: the interpreter of an environment is a link, and what it links to is not the environment.
    found = Path(path)
    shown = str(found.relative_to(here)) if found.is_relative_to(here) else str(found)
    return f'"{shown}"' if " " in shown else shown
