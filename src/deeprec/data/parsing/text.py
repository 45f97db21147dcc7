"""Bytes to text: the encoding, and pieces of whole lines with their line numbers."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from deeprec.data.parsing.streams import BUFFER, translated
from deeprec.errors import ConfigError, DataError

_SAMPLE = 1 << 16
_BLOCK = 1 << 24  # bytes at a time: large enough for speed, small beside any data set
_LONGEST_LINE = 1 << 28
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_REPLACEMENT = "�"


class EncodingError(DataError):
    """The bytes are not in the encoding that was taken; another one may be tried."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines as UTF-8, each ended by a line feed, or by what a quoted cell holds."""

    first_line: int
    content: bytes

    @property
    def text(self) -> str:
        """The lines, decoded."""
        return self.content.decode("utf-8")


def check_encoding(name: str) -> str:
    """The name as Python knows it; raises ConfigError for one that nobody knows, or that encodes no files."""
    try:
        b"text".decode(name, "replace")  # Python knows codecs that encode no files: rot13, base64, idna
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise ConfigError(
            f"data.encoding = '{name}': unknown; use one that Python knows, such as utf-8, latin-1 or cp1252"
        ) from None


def guess_encoding(sample: bytes) -> str:
    """By its byte order mark, or by the zero bytes of UTF-16 without one; else UTF-8.

    >>> guess_encoding("a,b".encode("utf-16-le")), guess_encoding("é".encode())
    ('utf-16-le', 'utf-8')
    """
    for mark, name in _BOMS.items():
        if sample.startswith(mark):
            return name
    sample = sample[: len(sample) // 2 * 2]
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    wide = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    one_sided = max(zeros) > 4 * min(zeros)  # some letters end in a zero byte themselves
    return wide if one_sided and _is_wide(sample, wide, max(zeros)) else "utf-8"


def _is_wide(sample: bytes, encoding: str, zeros: int) -> bool:
    """Whether zeros are those of UTF-16, not strays: line ends are two bytes wide, or half of all bytes are zero."""
    text = sample.decode(encoding, "replace")
    return "\n" in text or "\r" in text or zeros > len(sample) / 3


def pieces(stream: BinaryIO, encoding: str, place: str) -> Iterator[Piece]:
    """Pieces of whole lines in UTF-8; the stream is read block by block, never whole.

    A line ends with LF, CR LF or CR. Half of a surrogate pair becomes U+FFFD. Raises
    EncodingError naming line and bytes where the text is not in this encoding, and
    DataError where it holds zero bytes.
    """
    rest, line, cr_only = b"", 1, None
    for block in _decoded(stream, encoding, place):
        if cr_only is None:
            cr_only = b"\n" not in block and b"\r" in block
        block = rest + (block.replace(b"\r", b"\n") if cr_only else block)
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if len(rest) > _LONGEST_LINE:
            long = line + count_lines(block[:cut])
            raise DataError(f"{place} line {long}: is longer than any line of a table; is it another file?")
        if cut:
            _refuse_zeros(block[:cut], line, place)
            yield Piece(line, block[:cut])
            line += count_lines(block[:cut])
    if rest:
        _refuse_zeros(rest, line, place)
        yield Piece(line, rest + b"\n")


def fits(stream: BinaryIO, encoding: str, place: str) -> bool:
    """Whether the whole stream is text in this encoding."""
    try:
        for _ in _decoded(stream, encoding, place):
            pass
    except EncodingError:
        return False
    return True


def count_lines(content: bytes) -> int:
    """Line ends in whole lines: LF, CR LF, or CR alone."""
    lines = content.count(b"\n")
    if b"\r" in content:
        lines += content.count(b"\r") - content.count(b"\r\n")
    return lines


def _decoded(stream: BinaryIO, encoding: str, place: str) -> Iterator[bytes]:
    """Blocks of UTF-8 without a byte order mark."""
    decoder = codecs.getincrementaldecoder(encoding)(errors=_HALVES)
    line, final = 1, False
    while not final:
        with translated(place):
            block = stream.read(_BLOCK)
        final = not block
        try:
            text = decoder.decode(block, final)
        except UnicodeError as error:
            raise _not_in(error, encoding, line, place) from None
        if not text:
            continue
        content = (text.removeprefix("\ufeff") if line == 1 else text).encode("utf-8")
        yield content
        line += count_lines(content)


def _not_in(error: UnicodeError, encoding: str, line: int, place: str) -> EncodingError:
    if not isinstance(error, UnicodeDecodeError):
        return EncodingError(f"{place}: is not {encoding} ({error}); name its encoding with data.encoding")
    before = error.object[: error.start]
    line += count_lines(before.decode(encoding, "replace").encode("utf-8")) if before else 0
    bad = bytes(error.object[error.start : error.start + 4])
    return EncodingError(
        f"{place} line {line}: bytes {bad!r} are not {encoding}; save the file as utf-8, or "
        "name its encoding with data.encoding, e.g. latin-1"
    )


def _refuse_zeros(content: bytes, line: int, place: str) -> None:
    if b"\x00" in content:
        line += count_lines(content[: content.index(b"\x00")])
        raise DataError(
            f"{place} line {line}: holds zero bytes, as damaged files do; restore the file, or name its "
            "encoding with data.encoding"
        )


def _mend_halves(error: UnicodeError) -> tuple[str, int]:
    """Halves of surrogate pairs: two that belong together are one character, one alone is U+FFFD."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = bytes(error.object[error.start : error.start + 6])
    if error.encoding.startswith("utf-8") and bad[:1] == b"\xed" and bad[1:2] >= b"\xa0" and len(bad) >= 3:
        if bad[1:2] < b"\xb0" and bad[3:4] == b"\xed" and bad[4:5] >= b"\xb0":
            pair = bad.decode("utf-8", "surrogatepass")
            return pair.encode("utf-16", "surrogatepass").decode("utf-16"), error.start + 6
        return _REPLACEMENT, error.start + 3
    if error.encoding.startswith("utf-16") and "surrogate" in error.reason:
        return _REPLACEMENT, error.start + 2
    raise error


_HALVES = "deeprec_halves"
codecs.register_error(_HALVES, _mend_halves)


def whole_text(text: str) -> str:
    """The text with halves of surrogate pairs joined, or replaced by U+FFFD where one is alone.

    >>> whole_text("a" + chr(0xD83D)), whole_text(chr(0xD83D) + chr(0xDE00))
    ('a�', '😀')
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def sample_of(stream: BinaryIO) -> bytes:
    """The first bytes of a buffered stream, which stay in it."""
    peek = getattr(stream, "peek", None)
    return bytes(peek(BUFFER)[:_SAMPLE]) if peek else b""
