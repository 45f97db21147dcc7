"""Bytes of a file as they were before somebody packed them; what is packed is seen by content, not by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import zstandard
from polars.exceptions import PanicException, PolarsError

from deeprec.data.parsing.bombs import capped
from deeprec.errors import DataError
from deeprec.progress import Bar

BUFFER = 1 << 20
_LAYERS = 3  # a packed file in an archive is one more layer; deeper is no table
# What libraries raise for damaged bytes; RuntimeError: an encrypted archive.
DAMAGED = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
    zstandard.ZstdError, PolarsError, PanicException, OverflowError, MemoryError,
)  # fmt: skip
# A frame of content, or one to be skipped, with which writers that work in parallel begin.
_ZSTANDARD = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + kind]) + b"\x2a\x4d\x18" for kind in range(16)))
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
    b"<table": "a web page's table; write it as CSV",
    b"<?xml": "an XML file; write its table as CSV",
    b"\x04\x22\x4d\x18": "packed with LZ4; unpack it first",
    b"\x1f\x9d": "packed with compress; unpack it first",
    b"\x5d\x00\x00": "packed with LZMA; unpack it first (`unlzma`)",
    b"\xff\x06\x00\x00snappy": "packed with Snappy; unpack it first",
    b"Obj\x01": "an Avro file; write its table as CSV or Parquet",
    b"FEA1": "a Feather file of version 1; write its table as Parquet",
    b"\x93NUMPY": "a NumPy array; write its table as CSV or Parquet",
    b"PARE": "an encrypted Parquet file; decrypt it first",
    b"\0" * 12 + b"\xc2\xea\x81\x60": "a SAS file; write its table as CSV",
    b"RDX3\n": "an R workspace; write its table with write.csv",
    b"X\n\0\0\0": "an R object; write its table with write.csv",
    b"MATLAB ": "a MATLAB file; write its table as CSV",
    b"<stata_dta>": "a Stata file; write its table as CSV",
    b"\x89PNG": "an image; name the file with the table",
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
        # Polars panics over types that it does not know, such as times with an offset for their zone.
        types = ", or write its columns with plainer types" if isinstance(error, PanicException) else ""
        raise DataError(
            f"{place}: can't be read ({reason}); check the file, or fetch it again{types}"
        ) from None


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


def is_workbook(names: Sequence[str]) -> bool:
    """Whether an archive with these files is a workbook of Excel, LibreOffice or Numbers."""
    open_document = "mimetype" in names and "content.xml" in names
    return open_document or any(name.startswith(("xl/", "Index/Document.iwa")) for name in names)


def _refuse_foreign(head: bytes, place: str) -> None:
    lowered = head.lstrip()[:40].lower()
    kind = next((kind for magic, kind in _FOREIGN.items() if lowered.startswith(magic.lower())), None)
    if kind is None and head.startswith(b"ORC") and min(head[:40]) < 9:
        kind = "an ORC file; write its table as CSV or Parquet"
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive; unpack it and name the folder"
    if kind is not None:
        raise DataError(f"{place}: is {kind}")


def _unzip(stream: BinaryIO, place: str) -> BinaryIO:
    archive = zipfile.ZipFile(io.BytesIO(stream.read()) if not stream.seekable() else stream)
    names = archive.namelist()
    if is_workbook(names):
        raise DataError(f"{place}: is a workbook; save the sheet as CSV")
    data = [name for name in names if not name.endswith("/") and not is_sidecar(name)]
    if len(data) != 1:
        found = ", ".join(data[:8]) or "none"
        raise DataError(
            f"{place}: expected one file in the archive, found {len(data)} ({found}); "
            f"name one of them as {place}/NAME"
        )
    return cast(BinaryIO, archive.open(data[0]))


class Metered(io.RawIOBase):
    """A stream that tells a progress bar how many stored bytes were read."""

    def __init__(self, stream: BinaryIO, bar: Bar) -> None:
        self._stream = stream
        self._bar = bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._bar.advance(len(content))
        return len(content)

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class _Frames(io.RawIOBase):
    """What zstandard frames hold, one behind another.

    The library's own reader takes a file that was cut off for one that ends there.
    """

    _PIECE = 4096  # packed bytes at a time: what they unpack to is held at once

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._more():
            pass
        given, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def _more(self) -> bool:
        """Unpack the next piece; False at the end. Raises EOFError inside a frame."""
        packed = self._packed or self._stream.read(self._PIECE)
        if not packed:
            if self._frame is not None:
                raise EOFError("it ends in the middle of its content")
            return False
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._ready = frame.decompress(packed)
        self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        return True


_PACKED: dict[bytes, Callable[[BinaryIO, str], BinaryIO]] = {
    b"\x1f\x8b": lambda stream, place: cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb")),
    b"BZh": lambda stream, place: cast(BinaryIO, bz2.BZ2File(stream)),
    b"\xfd7zXZ\x00": lambda stream, place: cast(BinaryIO, lzma.LZMAFile(stream)),  # noqa: SIM115 - closed with its stream
    **dict.fromkeys(_ZSTANDARD, lambda stream, place: cast(BinaryIO, _Frames(stream))),
    b"PK\x03\x04": _unzip,
    b"PK\x05\x06": _unzip,
}
