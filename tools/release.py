"""Make a release: version, changelog and citation in one commit, and a tag that says what changed.

    python tools/release.py 0.2.0 --dry-run    # what would be done
    python tools/release.py 0.2.0              # do it; nothing is pushed or uploaded

Refuses a dirty tree, a version that is not above the last one, an empty [Unreleased], a wheel that lacks something, and
one that does not work where it is installed: without extras, with each, on the oldest and the newest versions
(`make installs`). What is refused leaves the tree as it was.
Afterwards: `git push --follow-tags`, and upload dist/ to the package index.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VERSION = re.compile(r'^version = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
_UNRELEASED = re.compile(r"^## \[Unreleased\]\n(?P<changes>.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Check, write, commit and tag."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("version", help="the new version, MAJOR.MINOR.PATCH")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        release(chosen.root, chosen.version, dry_run=chosen.dry_run)
    except ValueError as error:
        sys.exit(f"release: {error}")


def release(root: Path, version: str, *, dry_run: bool, today: date | None = None) -> None:
    """Write the new version into all files, commit, and tag; raises ValueError where something forbids it."""
    if git(root, "status", "--porcelain"):
        raise ValueError("there are uncommitted changes; commit or stash them first")
    if f"v{version}" in git(root, "tag").split():
        raise ValueError(f"tag v{version} is there already; choose the next version")
    files = {
        name: (root / name).read_text(encoding="utf-8")
        for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")
    }
    changes = unreleased(files["CHANGELOG.md"])
    written = {
        "pyproject.toml": with_version(files["pyproject.toml"], version),
        "CHANGELOG.md": with_release(files["CHANGELOG.md"], version, today or date.today()),
        "CITATION.cff": re.sub(
            r"^version: .*$", f"version: {version}", files["CITATION.cff"], flags=re.MULTILINE
        ),
    }
    print(f"deeprec {version}\n\n{changes}")
    if dry_run:
        return
    write(root, written)
    try:
        check_and_build(root)
    except (subprocess.CalledProcessError, KeyboardInterrupt):
        write(root, files)
        raise ValueError("the wheel is not as it should be, see above; nothing was released") from None
    git(root, "commit", "--quiet", "--message", f"Version {version}", *written)
    # Without this git takes the changelog's headings for comments.
    git(
        root,
        "tag",
        "--annotate",
        f"v{version}",
        "--cleanup=verbatim",
        "--message",
        f"deeprec {version}\n\n{changes}\n",
    )


def write(root: Path, texts: Mapping[str, str]) -> None:
    """Write files by their names."""
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")


def check_and_build(root: Path) -> None:
    """Install the wheel in every way, then leave it and the archive in dist/; raises CalledProcessError."""
    if (root / "tools" / "check_install.py").is_file():
        subprocess.run([sys.executable, "tools/check_install.py", "all"], cwd=root, check=True)
        subprocess.run([sys.executable, "-m", "build", "--outdir", "dist"], cwd=root, check=True)


def unreleased(changelog: str) -> str:
    """What stands under [Unreleased]; raises ValueError where that is nothing."""
    match = _UNRELEASED.search(changelog)
    if match is None or not match["changes"].strip():
        raise ValueError("CHANGELOG.md has nothing under [Unreleased]; say what changed")
    return match["changes"].strip()


def with_release(changelog: str, version: str, day: date) -> str:
    """The changelog with what was unreleased under its version and day."""
    return changelog.replace(
        "## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {day.isoformat()}\n", 1
    )


def with_version(project: str, version: str) -> str:
    """pyproject.toml with another version; raises ValueError unless it is above the one that stands there."""
    match = _VERSION.search(project)
    if match is None:
        raise ValueError("pyproject.toml has no version of the form MAJOR.MINOR.PATCH")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"'{version}' is not MAJOR.MINOR.PATCH")
    if numbers(version) <= numbers(match[1]) and match[1] != version:
        raise ValueError(f"{version} is not above {match[1]}")
    return project.replace(match[0], f'version = "{version}"', 1)


def numbers(version: str) -> tuple[int, ...]:
    """What versions are ordered by."""
    return tuple(int(part) for part in version.split("."))


def git(root: Path, *words: str) -> str:
    """Standard output of a git command that must succeed."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
