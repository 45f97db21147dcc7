"""Where a source lies: a folder, a zip archive, or single files; which of its files is which table."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote

from deeprec.data.parsing.streams import is_sidecar, is_workbook, translated
from deeprec.data.parsing.table import DataFile
from deeprec.errors import DataError

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_PACKED = ("", ".gz", ".zip", ".zst", ".bz2", ".xz")
_MOST_FILES = 20_000
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that a data set was read from."""

    name: str
    bytes: int
    sha256: str


class Source:
    """A folder, a zip archive, or one file with its neighbours; remembers what was read of it.

    Files that systems leave behind (`__MACOSX`, `.DS_Store`, `_SUCCESS`, `.crc`) are not seen.
    `option` is how the user names the path.
    """

    def __init__(self, path: Path, option: str = "--source") -> None:
        self.path, self._inside = _split_archive(path)
        if not self.path.exists():
            raise DataError(f"{path}: does not exist; name the archive, folder or file with {option}")
        self._zip = _is_archive(self.path)
        self._used: dict[Path, str] = {}

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """What was read, with checksums; an archive counts as one file."""
        return tuple(hash_file(path, name) for path, name in self._used.items())

    def table(self, *names: str) -> list[DataFile]:
        """The files of the table called by the first of `names` that exists, at any depth.

        A table may be packed (`NAME.gz`), or a folder of parts called NAME, as Spark writes
        it. Raises DataError when there is none.
        """
        entries = list(self._entries())
        for name in names:
            found = _called(name, entries)
            if found:
                return [self._file(entry) for entry in found]
        shown = ", ".join(str(entry) for entry in entries[:8]) or "nothing"
        raise DataError(f"{self.path}: has no file '{names[0]}' (it has: {shown}); is it another data set?")

    def all_called(self, name: str) -> list[DataFile]:
        """Every file of this name, wherever it lies: parts of one table."""
        wanted = [name + packed for packed in _PACKED]
        found = [self._file(entry) for entry in self._entries() if entry.name in wanted]
        if not found:
            raise DataError(f"{self.path}: has no file '{name}'; is it another data set?")
        return found

    def has(self, *names: str) -> bool:
        """Whether `table` would find one of the names."""
        entries = list(self._entries())
        return any(_called(name, entries) for name in names)

    def names(self, *suffixes: str) -> list[str]:
        """Names of the files that end in one of `suffixes`, packed or not, sorted.

        Of a source that is one file: its neighbours of the same name before the first dot.
        """
        ends = tuple(suffix + packed for suffix in suffixes for packed in _PACKED)
        names = sorted({entry.name for entry in self._entries() if entry.name.endswith(ends)})
        if self.path.is_dir() or self._zip:
            return names
        stem = self.path.name.split(".", 1)[0]
        return [name for name in names if name.split(".", 1)[0] == stem]

    def members(self) -> list[str]:
        """Paths of the files inside, the shallowest first; empty for a source that is one file."""
        return [str(entry) for entry in self._entries()] if self._zip or self.path.is_dir() else []

    def whole(self) -> list[DataFile]:
        """The source as one table: a file, or the parts in a folder. Raises DataError where it is several."""
        if self._inside is not None:
            return self.table(self._inside)
        entries = list(self._entries()) if self._zip or self.path.is_dir() else []
        if not self._zip and self.path.is_file():
            return [self._file(PurePosixPath(self.path.name))]
        if len(entries) > 1 and not _are_parts(entries):
            shown = ", ".join(str(entry) for entry in entries[:8])
            raise DataError(
                f"{self.path}: holds several tables ({shown}); name one of them as {self.path}/NAME"
            )
        if not entries:
            raise DataError(f"{self.path}: holds no file; name the file or folder with the table")
        return [self._file(entry) for entry in entries]

    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _entries(self) -> Iterator[PurePosixPath]:
        """Files of the source, the shallowest first."""
        names = self._members() if self._zip else _walk(self._root(), deep=self.path.is_dir())
        return iter(sorted((PurePosixPath(name) for name in names), key=_place_in_order))

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        """Opened once: its list of files is read whenever it is opened, which takes as long as the list is."""
        with translated(str(self.path)):
            return zipfile.ZipFile(self.path)

    @cached_property
    def _stored(self) -> dict[str, zipfile.ZipInfo]:
        """Files of the archive by their path, which some tools begin with `./`."""
        return {str(PurePosixPath(found.filename)): found for found in self._archive.infolist()}

    def _members(self) -> list[str]:
        names = self._archive.namelist()
        if len(names) > _MOST_FILES:
            raise DataError(
                f"{self.path}: holds more than {_MOST_FILES} files; unpack it, and name the folder of the data set"
            )
        return [name for name in names if not name.endswith("/") and not is_sidecar(name)]

    def _file(self, entry: PurePosixPath) -> DataFile:
        above = _folder_columns(entry)
        if self._zip:
            self._used[self.path] = self.path.name
            found = self._stored[str(entry)]
            opener = partial(_open_member, self._archive, found)
            return DataFile(
                f"{self.path}:{entry.name}",
                opener,
                found.file_size,
                columns=above,
                packed=min(found.compress_size, _size(self.path)),  # the list of files may say anything
            )
        path = self._root() / entry
        self._used[path] = entry.name
        return DataFile(str(path), partial(_open, path), _size(path), path, above)


def _folder_columns(entry: PurePosixPath) -> dict[str, str]:
    """What the names of folders say, as Hive and Spark write them: `day=2020-01-31`, with signs as in a URL."""
    pairs = [part.split("=", 1) for part in entry.parts[:-1] if "=" in part]
    return {unquote(name): "" if value == _NO_VALUE else unquote(value) for name, value in pairs}


def source_exists(path: Path) -> bool:
    """Whether there is such a folder or file, or the archive that a path like `a.zip/b.csv` leads into."""
    return _split_archive(path)[0].exists()


def source_files(*paths: Path) -> list[SourceFile]:
    """Checksums of all files at the paths, folders included, without what systems leave behind."""
    return [hash_file(file) for path in paths for file in _files_at(path)]


def hash_file(file: Path, name: str | None = None) -> SourceFile:
    """Name, size and checksum of a file, read in pieces; once for each state of the file."""
    try:
        state = file.stat()
        digest = _digest(file, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror}); check path and permissions") from None
    return SourceFile(name or file.name, state.st_size, digest)


@lru_cache(maxsize=256)
def _digest(file: Path, size: int, changed: int) -> str:
    digest = sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _split_archive(path: Path) -> tuple[Path, str | None]:
    """`a.zip/b.csv` as archive and member; any other path as it is."""
    for above in path.parents:
        if above.is_file() and zipfile.is_zipfile(above):
            return above, path.relative_to(above).as_posix()
    return path, None


def _is_archive(path: Path) -> bool:
    """Whether it is a zip archive of files, not a workbook; raises DataError for a damaged one."""
    if not path.is_file():
        return False
    if not zipfile.is_zipfile(path):
        if path.suffix.lower() == ".zip":
            raise DataError(f"{path}: is not a readable zip archive; download it again")
        return False
    with translated(str(path)), zipfile.ZipFile(path) as archive:
        return not is_workbook(archive.namelist())


def _place_in_order(entry: PurePosixPath) -> tuple[object, ...]:
    """Shallow before deep, and part-2 before part-10."""
    pieces = re.split(r"(\d+)", entry.as_posix())
    return (len(entry.parts), [int(piece) if number % 2 else piece for number, piece in enumerate(pieces)])


def _called(name: str, entries: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """The file of this name, packed or not; else the files in the folder of this name."""
    wanted = [name + packed for packed in _PACKED]
    file = next((e for e in entries if e.name in wanted or str(e) == name), None)
    return [file] if file else [e for e in entries if name in e.parts[:-1]]


def _are_parts(entries: Sequence[PurePosixPath]) -> bool:
    """Whether files of a folder look like pieces of one table: numbered, and of one kind."""
    kinds = {"".join(entry.suffixes) for entry in entries}
    numbered = all(any(character.isdigit() for character in entry.name) for entry in entries)
    return len(kinds) == 1 and (numbered or any("=" in part for part in entries[0].parts))


def _walk(root: Path, deep: bool) -> list[str]:
    names: list[str] = []
    for path in root.rglob("*") if deep else root.glob("*"):
        name = path.relative_to(root)
        if len(name.parts) <= _DEEPEST and path.is_file() and not is_sidecar(name.as_posix()):
            names.append(name.as_posix())
        if len(names) > _MOST_FILES:
            raise DataError(
                f"{root}: holds more than {_MOST_FILES} files; name the folder of the data set itself"
            )
    return names


def _files_at(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path / name for name in _walk(path, deep=True))
    return [_split_archive(path)[0]]


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _size(path: Path) -> int:
    return path.stat().st_size


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    return io.BufferedReader(cast(io.RawIOBase, archive.open(member)))
