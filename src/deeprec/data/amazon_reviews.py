"""Reader for the raw Amazon review dumps of 2014, 2018 and 2023: reviews and metadata, a JSON object a line."""

from __future__ import annotations

import ast
import gzip
import html
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.files import hash_file
from deeprec.data.raw import RawData, title_year
from deeprec.errors import DataError
from deeprec.progress import Bar, progress_bar

_SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
_USER = ("user_id", "reviewerID")
_ITEM = ("parent_asin", "asin")  # 2023 joins the variants of a product under `parent_asin`
_TIME = ("timestamp", "unixReviewTime")
_RATING = ("rating", "overall")
_CATEGORIES = ("categories", "category")
_MILLISECONDS = 100_000_000_000  # later than any date in seconds here: 2023 counts milliseconds


def read_amazon_reviews(path: Path, config: DataConfig) -> RawData:
    """A folder with one review file and one metadata file `meta_*` (.json, .jsonl, each also .gz).

    Metadata is kept for reviewed products only; a product listed twice keeps its first
    entry. Of nested categories (2014) the first path is kept.
    """
    reviews, meta = _find(path)
    with progress_bar(f"reading {reviews.name}", reviews.stat().st_size) as bar:
        rows = [_review(reviews, line, entry) for line, entry in _objects(reviews, bar)]
    interactions = pl.DataFrame(
        rows,
        schema={
            "line": pl.Int64,
            "user_id": pl.String,
            "item_id": pl.String,
            "timestamp": pl.Float64,
            "rating": pl.Float32,
        },
        orient="row",
    )
    items = _items(meta, set(interactions["item_id"].to_list()))
    files = (hash_file(reviews), hash_file(meta))
    name = f"amazon-reviews:{reviews.name.split('.')[0]}"
    no_users = pl.DataFrame(schema={"user_id": pl.String})
    return RawData(name, interactions, items, no_users, str(reviews), str(meta), files)


def _find(path: Path) -> tuple[Path, Path]:
    if not path.is_dir():
        raise DataError(f"{path}: is no folder; name the folder with the review file and its meta_* file")
    files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
    meta = [file for file in files if file.name.startswith("meta_")]
    reviews = [file for file in files if file not in meta]
    for found, what in ((reviews, "review file"), (meta, "metadata file meta_*")):
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise DataError(f"{path}: expected one {what} ending in {' or '.join(_SUFFIXES)}, found {names}")
    return reviews[0], meta[0]


def _objects(file: Path, bar: Bar) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line; raises DataError naming the line that is none."""
    try:
        with file.open("rb") as raw, _unpacked(raw, file.suffix == ".gz") as stream:
            before = 0
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _parse(file, number, line)
                if number % 10_000 == 0:
                    bar.advance(raw.tell() - before)
                    before = raw.tell()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: is a damaged gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror}); check path and permissions") from None


def _unpacked(raw: BinaryIO, packed: bool) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw)


def _parse(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} line {number}: is not utf-8 ({error.reason}); save the file as utf-8"
        ) from None
    except json.JSONDecodeError:
        try:
            entry = ast.literal_eval(line.decode("utf-8"))  # the 2014 metadata holds Python literals
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            entry = None
    if not isinstance(entry, dict):
        raise DataError(f"{file} line {number}: {line[:60]!r} is no JSON object; fetch the file again")
    return entry


def _review(file: Path, line: int, entry: dict[str, Any]) -> tuple[int, str, str, float, float | None]:
    user, item = _field(file, line, entry, _USER), _field(file, line, entry, _ITEM)
    time = _number(file, line, "time", _field(file, line, entry, _TIME))
    rating = next((entry[key] for key in _RATING if entry.get(key) is not None), None)
    seconds = time / 1000 if time > _MILLISECONDS else time
    return (
        line,
        str(user),
        str(item),
        seconds,
        None if rating is None else _number(file, line, "rating", rating),
    )


def _field(file: Path, line: int, entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if entry.get(name) is not None:
            return entry[name]
    raise DataError(f"{file} line {line}: has no '{names[0]}' (or '{names[1]}'); is it a review file?")


def _number(file: Path, line: int, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{file} line {line}: {name} = {value!r} is no number; correct the line") from None


def _items(meta: Path, reviewed: set[str]) -> pl.DataFrame:
    found: dict[str, tuple[int, str, str, list[str], int | None]] = {}
    with progress_bar(f"reading {meta.name}", meta.stat().st_size) as bar:
        for line, entry in _objects(meta, bar):
            item = str(_field(meta, line, entry, _ITEM))
            if item in reviewed and item not in found:
                title = _text(entry.get("title"))
                found[item] = (line, item, title, _categories(entry), title_year(title))
    schema: dict[str, Any] = {
        "line": pl.Int64,
        "item_id": pl.String,
        "title": pl.String,
        "categories": pl.List(pl.String),
        "year": pl.Int32,
    }
    return pl.DataFrame(list(found.values()), schema=schema, orient="row")


def _categories(entry: dict[str, Any]) -> list[str]:
    names: Any = next((entry[key] for key in _CATEGORIES if entry.get(key)), [])
    if names and isinstance(names[0], list):
        names = names[0]
    return [_text(name) for name in names] if isinstance(names, list) else [_text(names)]


def _text(value: Any) -> str:
    return html.unescape(html.unescape(str(value))) if value is not None else ""
