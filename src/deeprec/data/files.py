"""Bytes of a source: a zip, a folder or single files, decoded and cut into rows.

Every row keeps its line number (column `line`, the first line is 1), so that an error
about a value can name the place.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import polars as pl

from deeprec.errors import DataError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that a data set was read from."""

    name: str
    bytes: int
    sha256: str


class Source:
    """A zip archive, a folder, or one file; remembers what was read from it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"{path}: does not exist; name the archive or folder with --source")
        self.path = path
        self._zip = path.is_file() and path.suffix.lower() == ".zip"
        self.files: list[SourceFile] = [hash_file(path)] if self._zip else []

    def place(self, name: str) -> str:
        """How errors name a file of this source."""
        return f"{self.path}:{name}" if self._zip else str(self._on_disk(name))

    def read(self, *names: str) -> tuple[str, bytes]:
        """Name and content of the first of `names` that exists, at any depth of the archive.

        Raises DataError when none exists, or the archive is damaged.
        """
        return self._read_zip(names) if self._zip else self._read_folder(names)

    def find(self, suffix: str) -> str | None:
        """Name of the only file that ends in `suffix`; raises DataError when there are several."""
        if self._zip:
            found = sorted(PurePosixPath(name).name for name in self._members() if name.endswith(suffix))
        elif self.path.is_dir():
            found = sorted(entry.name for entry in self.path.iterdir() if entry.name.endswith(suffix))
        else:
            stem = self.path.name.rsplit(".", 1)[0]
            found = [stem + suffix] if self.path.with_name(stem + suffix).exists() else []
        if len(found) > 1:
            raise DataError(
                f"{self.path}: several files end in '{suffix}' ({', '.join(found)}); keep one of them"
            )
        return found[0] if found else None

    def _on_disk(self, name: str) -> Path:
        return self.path / name if self.path.is_dir() else self.path.with_name(name)

    def _read_folder(self, names: Sequence[str]) -> tuple[str, bytes]:
        for name in names:
            file = self._on_disk(name)
            if file.is_file():
                content = read_file(file)
                self.files.append(SourceFile(name, len(content), sha256(content).hexdigest()))
                return name, _unpacked(content, str(file))
        inside = [entry for entry in self.path.iterdir() if entry.is_dir()] if self.path.is_dir() else []
        for folder in inside:  # an unpacked archive often has one folder in it
            if any((folder / name).is_file() for name in names):
                self.path = folder
                return self._read_folder(names)
        raise DataError(f"{self.path}: has no file '{names[0]}'; name the folder or archive that holds it")

    def _members(self) -> list[str]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"{self.path}: is not a readable zip archive ({error}); download it again"
            ) from None

    def _read_zip(self, names: Sequence[str]) -> tuple[str, bytes]:
        members = self._members()
        for name in names:
            for member in members:
                if PurePosixPath(member).name == name:
                    return name, self._member(member)
        raise DataError(
            f"{self.path}: the archive has no file '{names[0]}' (it has: {', '.join(sorted(members)[:8])}); "
            "is it another data set?"
        )

    def _member(self, member: str) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return _unpacked(archive.read(member), f"{self.path}:{member}")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"{self.path}: '{member}' is damaged ({error}); download the archive again"
            ) from None


def read_file(file: Path) -> bytes:
    """The file's bytes; raises DataError naming it when it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror}); check path and permissions") from None


def hash_file(file: Path) -> SourceFile:
    """Name, size and checksum of a file, read in pieces."""
    digest = sha256()
    try:
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
        return SourceFile(file.name, file.stat().st_size, digest.hexdigest())
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror}); check path and permissions") from None


def decode(content: bytes, encoding: str, place: str) -> str:
    """Text of a file; raises DataError naming the line that is not in this encoding."""
    if b"\x00" in content:
        line = content.count(b"\n", 0, content.index(b"\x00")) + 1
        raise DataError(
            f"{place} line {line}: holds NUL bytes, as UTF-16 text does; save the file as {encoding}"
        )
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = content[error.start : error.start + 4]
        raise DataError(
            f"{place} line {line}: bytes {bad!r} are not {encoding}; save the file as {encoding}"
        ) from None


def split_rows(
    text: str, separator: str, columns: Sequence[str], place: str, first_line: int = 1
) -> pl.DataFrame:
    """Rows of a plain separated file (no quoting) as text columns, with `line`.

    Empty lines are skipped. Raises DataError naming the first line whose number of fields
    is not that of `columns`.
    """
    lines = pl.DataFrame({"text": text.split("\n")}).with_row_index("line", offset=first_line)
    lines = lines.with_columns(pl.col("line").cast(pl.Int64), pl.col("text").str.strip_suffix("\r"))
    lines = lines.filter(pl.col("text") != "")
    fields = pl.col("text").str.count_matches(separator, literal=True) + 1
    wrong = lines.with_columns(fields.alias("fields")).filter(pl.col("fields") != len(columns)).head(1)
    if wrong.height:
        line, row, found = wrong.row(0)
        raise DataError(
            f"{place} line {line}: {found} fields in {row[:80]!r}, expected {len(columns)} separated by "
            f"{separator!r} ({', '.join(columns)})"
        )
    parts = pl.col("text").str.split_exact(separator, len(columns) - 1).struct.rename_fields(list(columns))
    return lines.select("line", parts.alias("parts")).unnest("parts")


def split_table(text: str, separator: str, place: str) -> pl.DataFrame:
    """Like `split_rows`, with the column names in the first line."""
    header, _, body = text.partition("\n")
    names = header.rstrip("\r").split(separator)
    if not header.strip():
        raise DataError(f"{place} line 1: is empty, expected the column names")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{place} line 1: column '{twice}' appears twice; rename one of them")
    return split_rows(body, separator, names, place, first_line=2)


def numbers(frame: pl.DataFrame, column: str, place: str, dtype: type[pl.DataType]) -> pl.DataFrame:
    """Cast a text column; empty cells become null, anything else that is no number is an error."""
    text = pl.col(column).str.strip_chars()
    cast = frame.with_columns(
        pl.when(text == "").then(None).otherwise(text).cast(dtype, strict=False).alias("_number")
    )
    wrong = cast.filter(pl.col("_number").is_null() & pl.col(column).is_not_null() & (text != "")).head(1)
    if wrong.height:
        raise DataError(
            f"{place} line {wrong['line'][0]}: {column} = {wrong[column][0]!r} is not a number; correct the line"
        )
    return cast.with_columns(pl.col("_number").alias(column)).drop("_number")


def _unpacked(content: bytes, place: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place}: is a damaged gzip file ({error}); fetch it again") from None
