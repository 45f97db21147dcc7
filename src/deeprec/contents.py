"""What stands behind a name in the settings, by hash: the folder of a model, a module of yours.

The name alone would keep a stage current while what it names is edited. So the content enters the
fingerprints of the stages that are made from it; what is named by the hub, or built in, has none here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from deeprec.disk import file_hash
from deeprec.references import is_reference

_BUILT_IN = ("tiny", "lsa")  # made on the spot, whatever folder may be called so
# What loading a model reads; states of an optimizer, logs and papers may lie beside it.
_READ = frozenset({".json", ".safetensors", ".jinja", ".model", ".txt"})
# A stage asks for this whenever it may begin. A larger file is known by its size and by pieces all over
# it, a quarter of a GiB in all: every matrix of a model that large is wider than the gaps between them.
_WHOLE = 2**30
_PIECES, _PIECE = 1024, 2**18


def model_files(name: str) -> dict[str, str]:
    """Hash of each file of a model's folder, by its path there; none where `name` is no folder.

    Of files beyond 1 GiB the size and 1,024 pieces count. The folder may move, and what loading doesn't read
    may change.

    >>> model_files("tiny")
    {}
    """
    folder = Path(name).expanduser()
    if name in _BUILT_IN or not folder.is_dir():
        return {}
    # A text encoder lies in several folders; beside a language model there may be checkpoints, which are others.
    try:
        is_encoder = (folder / "modules.json").is_file()
        files = sorted(folder.rglob("*") if is_encoder else folder.iterdir())
        read = [file for file in files if file.suffix in _READ and file.is_file()]
        return {file.relative_to(folder).as_posix(): _hash(file) for file in read}
    except PermissionError:
        return {}  # whoever loads it says what is wrong


def module_files(references: Iterable[str]) -> dict[str, str]:
    """Hash of the file of each module that a `package.module:name` among the names stands in, by module.

    A module that can't be found has none: whoever loads it says what is wrong.
    """
    modules = sorted({name.partition(":")[0] for name in references if is_reference(name)})
    found = {module: module_file(module) for module in modules}
    return {
        module: _hash(file) for module, file in found.items() if file is not None and os.access(file, os.R_OK)
    }


def module_file(module: str) -> Path | None:
    """Where a module lies; None where it can't be found, or has no file."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    file = Path(spec.origin) if spec is not None and spec.origin else None
    return file if file is not None and file.is_file() else None


def present(**contents: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """Those of some contents that hold a file: a stage that is made from none keeps the fingerprint that it had."""
    return {name: files for name, files in contents.items() if files}


def _hash(file: Path) -> str:
    found = file.stat()
    return _hash_of(file.resolve(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hash_of(file: Path, size: int, changed: int) -> str:
    """Read once a process, as long as the file stays as it is."""
    if size <= _WHOLE:
        return file_hash(file)
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as content:
        for piece in range(_PIECES):
            content.seek((size - _PIECE) * piece // (_PIECES - 1))
            digest.update(content.read(_PIECE))
    return digest.hexdigest()
