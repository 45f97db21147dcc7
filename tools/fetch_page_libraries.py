"""Fetch the front-end libraries and the typeface that the project ships, exactly as their manifests name them.

    python tools/fetch_page_libraries.py            # fetch anew what the manifests list
    python tools/fetch_page_libraries.py --check    # only compare the files here with the manifests

Each `lib/manifest.json` lists packages of the npm registry with version, licence and, for
each file taken from the release, its path in the package, its name here, and its SHA-256. The
files are the release's own, unmodified. Needs `npm` to fetch. A file that differs from the
manifest is not written, and the exit status is 1. To take a new version, change `version`,
run with `--update`, and read the diff.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = (
    ROOT / "src/deeprec/serve/page/lib/manifest.json",
    ROOT / "tests/browser/lib/manifest.json",
)


def differences(manifest: Path) -> list[str]:
    """What in the manifest's folder is not as it says: one line each, none when all is well."""
    listed = {entry["file"]: entry["sha256"] for package in _packages(manifest) for entry in package["files"]}
    found = {path.name for path in manifest.parent.iterdir()} - {manifest.name}
    wrong = [f"{manifest.parent / name}: not in the manifest" for name in sorted(found - set(listed))]
    for name, sha256 in listed.items():
        if name not in found:
            wrong.append(f"{manifest.parent / name}: missing")
        elif _sha256((manifest.parent / name).read_bytes()) != sha256:
            wrong.append(f"{manifest.parent / name}: differs from the release")
    return wrong


def fetch(manifest: Path, update: bool = False) -> list[str]:
    """Write every file of the manifest anew; `update` takes the release's hash instead of comparing.

    Returns a line for each file that the release has otherwise than the manifest says; such
    files are left as they are.
    """
    packages = _packages(manifest)
    wrong = []
    for package in packages:
        contents = _unpack(package["name"], package["version"])
        for entry in package["files"]:
            content = contents[f"package/{entry['path']}"]
            if update:
                entry["sha256"] = _sha256(content)
            if _sha256(content) == entry["sha256"]:
                (manifest.parent / entry["file"]).write_bytes(content)
            else:
                wrong.append(f"{package['name']} {package['version']}: {entry['path']} has another SHA-256")
    if update:
        manifest.write_text(json.dumps({"packages": packages}, indent=2) + "\n")
    return wrong


def _unpack(name: str, version: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", f"{name}@{version}"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as files:
            members = [(member.name, files.extractfile(member)) for member in files if member.isfile()]
            return {path: stream.read() for path, stream in members if stream is not None}


def _packages(manifest: Path) -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = json.loads(manifest.read_text())["packages"]
    return packages


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> int:
    """Fetch or check every manifest; what is wrong goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare the files here, fetch nothing")
    mode.add_argument("--update", action="store_true", help="write the release's hashes into the manifests")
    arguments = parser.parse_args()
    wrong = []
    for manifest in MANIFESTS:
        wrong += [] if arguments.check else fetch(manifest, arguments.update)
        wrong += differences(manifest)
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
