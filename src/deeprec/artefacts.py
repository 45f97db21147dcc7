"""What a finished stage left behind, with sizes and hashes, so that a changed or lost file is found out.

`stages.json` lists them. Whoever loads a stage checks the sizes, and the hashes too where reading the files
once more costs next to nothing beside the loading; `deeprec doctor` checks every hash.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from deeprec.disk import file_hash, read_json, read_jsonl, write_atomically

# Bytes of a stage whose hashes are checked by whoever loads it: a twentieth of a second of SHA-256, of the
# six seconds and more that a run takes to load (docs/reliability.md).
HASHED_ON_LOAD = 32 * 2**20
# Of a folder with weights or tables, what is read by its name or because it is there.
LOADED = frozenset({".json", ".safetensors", ".jinja", ".model", ".txt", ".parquet", ".bin"})
# Made again whenever they are missing, or by other commands later.
_SEAL = "seal"
COMPLETE = "complete.json"
_PASSING = ("cache", "report.html", "validation", COMPLETE)


def describe(folder: Path, places: Iterable[Path], *, most: int | None = None) -> dict[str, list[Any]]:
    """Size and SHA-256 of every file in `places`, by path relative to `folder`.

    Where all files together have more than `most` bytes there are sizes alone.
    """
    files = [file for place in places for file in _files(place)]
    sizes = [file.stat().st_size for file in files]
    hashed = most is None or sum(sizes) <= most
    return {
        file.relative_to(folder).as_posix(): [size, _hash(file) if hashed else None]
        for file, size in zip(files, sizes, strict=True)
    }


def mark_whole(folder: Path, **facts: Any) -> None:
    """Write `complete.json`, last of all: what a checkpoint holds, and `facts`."""
    files = describe(folder, [folder], most=HASHED_ON_LOAD)
    write_atomically(folder / COMPLETE, json.dumps({**facts, "files": files}))


def read_whole(folder: Path) -> dict[str, Any] | str:
    """The facts of a checkpoint that is what was written; otherwise what is wrong with it."""
    try:
        facts: dict[str, Any] = read_json(folder / COMPLETE)
        found = problems(folder, facts.pop("files"))
    except FileNotFoundError:
        return f"{folder} was cut short"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{folder / COMPLETE} can't be read ({error})"
    return found[0] if found else facts


def problems(folder: Path, files: Mapping[str, Any], *, most: int | None = None) -> list[str]:
    """What is gone, or not what it was; hashes only where all files together have at most `most` bytes (None: always).

    A file is told of once: its size first.
    """
    hashed = most is None or sum(int(size) for size, _ in files.values()) <= most
    found = []
    for name, (size, digest) in files.items():
        file = folder / name
        if not file.is_file():
            found.append(f"{file} is gone")
        elif file.stat().st_size != size:
            found.append(f"{file} has {file.stat().st_size} bytes, had {size} when it was written")
        elif hashed and digest is not None and _hash(file) != digest:
            found.append(f"{file} holds something else than what was written (SHA-256)")
    return found


def strangers(folder: Path, places: Iterable[Path], known: Container[str]) -> list[str]:
    """Files that loading `places` might read and that are not among those `known`, by path relative to `folder`."""
    files = [file for place in places for file in _files(place) if file.suffix in LOADED]
    return [
        f"{file} was not left by it; move it away"
        for file in files
        if file.relative_to(folder).as_posix() not in known
    ]


def count_rows(logs: Iterable[Path], stage: str) -> dict[str, list[Any]]:
    """How many rows of a stage each log holds, and the hash of them in their order."""
    found = {}
    for log in logs:
        # What a part of a stage logs goes by the stage's name, a colon and its own.
        rows = [row for row in read_jsonl(log) if f"{row.get('stage')}:".startswith(f"{stage}:")]
        if rows:
            found[log.name] = [len(rows), sha256(json.dumps(rows).encode()).hexdigest()]
    return found


def changed_rows(logs: Iterable[Path], stage: str, rows: Mapping[str, Any]) -> list[Path]:
    """Logs that do not hold the rows that a stage logged."""
    logs = list(logs)
    found = count_rows(logs, stage)
    return [log for log in logs if log.name in rows and found.get(log.name) != rows[log.name]]


def is_record(entry: object) -> bool:
    """Whether an entry of `stages.json` has the form of a record, whatever it says."""
    if not isinstance(entry, dict) or not isinstance(entry.get("inputs"), str):
        return False
    counted = [entry.get("files", {}), entry.get("logged", {})]
    return all(isinstance(one, dict) and all(map(_is_counted, one.values())) for one in counted)


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a stage with a hash of itself."""
    # As it reads back: JSON knows no tuples, and no keys but text.
    bare = json.loads(json.dumps({key: value for key, value in record.items() if key != _SEAL}))
    return {**bare, _SEAL: sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record is what was written."""
    return bool(record.get(_SEAL) == seal(record)[_SEAL])


def _is_counted(pair: object) -> bool:
    return (
        isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and isinstance(pair[1], str | None)
    )


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place] if place.is_file() else []
    entries = [file for file in sorted(place.rglob("*")) if file.is_file() and file.suffix != ".part"]
    return [file for file in entries if not set(file.relative_to(place).parts) & set(_PASSING)]


def _hash(file: Path) -> str:
    found = file.stat()
    return _hash_of(file, found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=4096)
def _hash_of(file: Path, size: int, changed: int, inode: int) -> str:
    """Read once as long as the file stays as it is: a run's stages are asked for many times."""
    return file_hash(file)
