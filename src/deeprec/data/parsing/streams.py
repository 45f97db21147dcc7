"""Bytes of a file as they were before somebody packed them; what is packed is seen by content, not by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, cast

import zstandard
from polars.exceptions import PanicException, PolarsError

from deeprec.data.parsing.bombs import capped
from deeprec.errors import DataError

BUFFER = 1 << 20
_LAYERS = 3  # a packed file in an archive is one more layer; deeper is no table
# What libraries raise for damaged bytes; RuntimeError: an encrypted archive.
DAMAGED = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
    zstandard.ZstdError, PolarsError, PanicException, OverflowError, MemoryError,
)  # fmt: skip
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
    b"SQLite format 3": "an SQLite database; export its table as CSV",
    b"\x89HDF": "an HDF5 file; write its table as CSV or Parquet",
    b"\x80\x03": "a Python pickle, which is not read since it can run code; write its table as CSV or Parquet",
    b"\x80\x04": "a Python pickle, which is not read since it can run code; write its table as CSV or Parquet",
    b"\x80\x05": "a Python pickle, which is not read since it can run code; write its table as CSV or Parquet",
    b"7z\xbc\xaf": "a 7z archive; unpack it and name the folder",
    b"Rar!": "a RAR archive; unpack it and name the folder",
    b"%PDF": "a PDF; write its table as CSV",
    b"<!doctype html": "a web page; download the file that it links to",
    b"<html": "a web page; download the file that it links to",
    b"<?xml": "an XML file; write its table as CSV",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn whatever a library raises over damaged bytes into a DataError that names the place."""
    try:
        yield
    except DAMAGED as error:
        reason = (
            getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        )
        raise DataError(f"{place}: can't be read ({reason}); check the file, or fetch it again") from None


def unpacked(stream: BinaryIO, place: str, stored: int) -> BinaryIO:
    """The stream below gzip, bzip2, xz, zstandard, or a zip archive with one file in it.

    `stored` is how many bytes it has on disk. Raises DataError with a remedy for what is no table: workbooks,
    databases, web pages, and what unpacks to more than a table of that size can.
    """
    with translated(place):
        for _ in range(_LAYERS):
            buffered = io.BufferedReader(cast(io.RawIOBase, stream), BUFFER)
            head = buffered.peek(300)[:300]
            opener = next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None)
            if opener is None:
                _refuse_foreign(head, place)
                return buffered
            stream = capped(opener(buffered, place), stored, place, buffered)
    raise DataError(f"{place}: is packed more than {_LAYERS} times; unpack it first")


def is_sidecar(name: str) -> bool:
    """Whether a system, not the user, put this file there.

    Spark, Hive and macOS begin such names with a dot or an underscore.

    >>> is_sidecar("__MACOSX/._a.csv"), is_sidecar("out/.part-0.csv.crc"), is_sidecar("out/part-0.csv")
    (True, True, False)
    """
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "_")) for part in parts if part not in (".", ".."))
    return hidden or parts[-1] in ("Thumbs.db", "desktop.ini") or parts[-1].endswith(".crc")


def _refuse_foreign(head: bytes, place: str) -> None:
    lowered = head.lstrip()[:40].lower()
    kind = next((kind for magic, kind in _FOREIGN.items() if lowered.startswith(magic.lower())), None)
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive; unpack it and name the folder"
    if kind is not None:
        raise DataError(f"{place}: is {kind}")


def _unzip(stream: BinaryIO, place: str) -> BinaryIO:
    archive = zipfile.ZipFile(io.BytesIO(stream.read()) if not stream.seekable() else stream)
    names = archive.namelist()
    if any(name.startswith("xl/") for name in names):
        raise DataError(f"{place}: is an Excel workbook; save the sheet as CSV")
    data = [name for name in names if not name.endswith("/") and not is_sidecar(name)]
    if len(data) != 1:
        found = ", ".join(data[:8]) or "none"
        raise DataError(
            f"{place}: expected one file in the archive, found {len(data)} ({found}); "
            f"name one of them as {place}/NAME"
        )
    return cast(BinaryIO, archive.open(data[0]))


def _unzstd(stream: BinaryIO, place: str) -> BinaryIO:
    reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return cast(BinaryIO, reader)


_PACKED: dict[bytes, Callable[[BinaryIO, str], BinaryIO]] = {
    b"\x1f\x8b": lambda stream, place: cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb")),
    b"BZh": lambda stream, place: cast(BinaryIO, bz2.BZ2File(stream)),
    b"\xfd7zXZ\x00": lambda stream, place: cast(BinaryIO, lzma.LZMAFile(stream)),  # noqa: SIM115 - closed with its stream
    b"\x28\xb5\x2f\xfd": _unzstd,
    b"PK\x03\x04": _unzip,
    b"PK\x05\x06": _unzip,
}
