"""What the folder of a text encoder may name: numbers of its own, and no code.

Older versions of sentence-transformers import whatever class a local folder names, and call its activation
function; transformers fetches kernels that a model's settings name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from deeprec.disk import read_json
from deeprec.errors import ConfigError

_MODULES = "modules.json"
_OWN, _ACTIVATIONS = "sentence_transformers.", "torch.nn."


def check_encoder(name: str) -> None:
    """Raise ConfigError where the JSON of a folder names code or places outside of it; hub names pass.

    Raises OSError and ValueError for files that can't be read.
    """
    folder = Path(name).expanduser()
    for file in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        if file.name not in (_MODULES, "config.json"):
            continue
        for key, value in _texts(read_json(file)):
            if _is_foreign(key, value, file.name):
                raise ConfigError(
                    f"trm.text_encoder = '{name}': {file.relative_to(folder)}: {key} = {value[:100]!r} is not the "
                    "folder's to choose; save the model with classes of sentence-transformers alone"
                )


def _is_foreign(key: str, value: str, file: str) -> bool:
    if file == _MODULES:
        leaves = key == "path" and (
            value.startswith("/") or "\\" in value or ".." in PurePosixPath(value).parts
        )
        return leaves or (key == "type" and not value.startswith(_OWN))
    if key == "activation_function":  # a plain name is one of transformers' own
        return "." in value and not value.startswith(_ACTIVATIONS)
    return key.endswith("implementation") and "/" in value


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
