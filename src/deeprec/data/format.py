"""The prepared data set on disk: three Parquet files and `dataset.json` (see docs/data.md)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.catalog import ITEM_COLUMNS, Catalog, clean_text, hidden_in
from deeprec.data.dataset import Dataset, Protocol, Provenance
from deeprec.data.files import SourceFile
from deeprec.data.summary import summarize
from deeprec.disk import read_json, whole_folder
from deeprec.errors import DataError
from deeprec.space import remedy_of

FORMAT = 1
INTERACTIONS, USERS = "interactions.parquet", "users.parquet"
_INTERACTIONS: dict[str, Any] = {
    "user_id": pl.String,
    "item_index": pl.Int32,
    "timestamp": pl.Float64,
    "rating": pl.Float32,
    "part": pl.String,
}
_USERS: dict[str, Any] = {"user_id": pl.String}
_REMEDY = "delete the folder and prepare the data again"


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set so that `folder` is either whole or as it was before.

    Raises DataError naming the folder when the disk is full or can't be written.
    """
    try:
        with whole_folder(folder) as part:
            dataset.interactions.select(list(_INTERACTIONS)).write_parquet(part / INTERACTIONS)
            dataset.catalog.table.write_parquet(part / "items.parquet")
            dataset.users.write_parquet(part / USERS)
            text = json.dumps(_manifest(dataset), indent=1, ensure_ascii=False)
            (part / "dataset.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{folder}: the data set can't be written ({reason}); {remedy_of(error)}, or choose another place"
        ) from None


def dataset_size(dataset: Dataset) -> int:
    """Bytes that `write_dataset` needs at most; Parquet packs what lies in memory."""
    return int(
        dataset.interactions.estimated_size()
        + dataset.catalog.table.estimated_size()
        + dataset.users.estimated_size()
    )


def read_dataset(folder: Path) -> Dataset:
    """Read what `write_dataset` wrote; raises DataError naming the file that is missing or changed.

    A set that was pushed without its users has nobody in it.
    """
    manifest = read_manifest(folder)
    dataset = _assemble(folder, everybody="withheld" not in manifest)
    expected = manifest["fingerprint"]
    if dataset.fingerprint != expected:
        raise DataError(
            f"{folder}: the Parquet files do not belong to dataset.json (fingerprint {dataset.fingerprint}, "
            f"expected {expected}); {_REMEDY}"
        )
    return dataset


def read_outline(folder: Path) -> Dataset:
    """The data set without anybody in it: its catalogue, and what it is called; `shards` reads its users.

    What the interactions hold is not checked. Raises DataError as `read_dataset`.
    """
    return _assemble(folder, everybody=False)


def _assemble(folder: Path, *, everybody: bool) -> Dataset:
    manifest = read_manifest(folder)
    items = _table(folder / "items.parquet", ITEM_COLUMNS)
    catalog = Catalog(items)
    if not (items["item_index"] == pl.int_range(1, items.height + 1, eager=True)).all(ignore_nulls=False):
        raise DataError(f"{folder / 'items.parquet'}: item indices are not 1 to {items.height}; {_REMEDY}")
    made = manifest["provenance"]
    files = tuple(SourceFile(**entry) for entry in made.pop("files"))
    notes = tuple(made.pop("notes", ()))
    split = manifest.get("protocol", {"cuts": [], "pseudonyms": False})  # sets from before have none
    dataset = Dataset(
        name=manifest["name"],
        catalog=catalog,
        interactions=_table(folder / INTERACTIONS, _INTERACTIONS) if everybody else _empty(_INTERACTIONS),
        users=_table(folder / USERS, _USERS) if everybody else _empty(_USERS),
        allow_repeats=manifest["allow_repeats"],
        provenance=Provenance(files, notes=notes, **made),
        protocol=Protocol(tuple(split["cuts"]), split["pseudonyms"]),
        withheld=manifest["fingerprint"] if "withheld" in manifest else "",
    )
    if manifest.get("withheld", catalog.fingerprint) != catalog.fingerprint:
        raise DataError(
            f"{folder / 'items.parquet'}: is not the catalogue of dataset.json; pull the run again"
        )
    for item_id, label in items.filter(hidden_in(items["label"])).select("item_id", "label").iter_rows():
        raise DataError(  # sets that earlier versions prepared
            f"{folder / 'items.parquet'}: the label of item '{item_id}' ({clean_text(label)!r}) holds "
            f"characters that no reader sees and a language model reads; {_REMEDY}"
        )
    return dataset


def read_manifest(folder: Path) -> dict[str, Any]:
    """`dataset.json` of a prepared data set; raises DataError when it is missing or not ours."""
    file = folder / "dataset.json"
    if not file.is_file():
        raise DataError(f"{file}: is missing; prepare the data with `deeprec data prepare NAME`")
    try:
        manifest: dict[str, Any] = read_json(file)
        found = manifest["format"]
        keys = {"name", "allow_repeats", "fingerprint", "provenance", "summary"} - set(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is no data set description ({error}); {_REMEDY}") from None
    if found != FORMAT:
        raise DataError(f"{file}: format = {found}, this version reads {FORMAT}; {_REMEDY}")
    if keys:
        raise DataError(f"{file}: key '{sorted(keys)[0]}' is missing; {_REMEDY}")
    return manifest


def _manifest(dataset: Dataset) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": dataset.name,
        "allow_repeats": dataset.allow_repeats,
        "fingerprint": dataset.fingerprint,
        "protocol": asdict(dataset.protocol),
        "provenance": asdict(dataset.provenance),
        "summary": summarize(dataset).to_dict(),
    }


def _empty(columns: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(schema=columns)


def _table(file: Path, columns: dict[str, Any]) -> pl.DataFrame:
    if not file.is_file():
        raise DataError(f"{file}: is missing; {_REMEDY}")
    try:
        frame = pl.read_parquet(file)
    except (PolarsError, OSError) as error:
        raise DataError(f"{file}: is no readable Parquet file ({error}); {_REMEDY}") from None
    for name, dtype in columns.items():
        if name not in frame.columns:
            raise DataError(f"{file}: column '{name}' is missing; {_REMEDY}")
        if frame.schema[name] != dtype:
            raise DataError(f"{file}: column '{name}' is {frame.schema[name]}, expected {dtype}; {_REMEDY}")
    return frame
