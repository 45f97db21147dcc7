"""Hand-made source files, small enough to count by eye."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl

from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.data.split import split_by_time
from deeprec.types import Item

ML_100K = {
    # user 2 first, out of order; users 1's last two tie at 30, in the order 3, 2
    "u.data": "2\t1\t5\t20\n1\t3\t4\t30\n1\t2\t2\t30\n2\t3\t1\t10\n1\t1\t3\t5\n2\t2\t4\t40\n",
    "u.genre": "unknown|0\nAction|1\nDrama|2\n\n",
    "u.item": "1|Caf\xe9 (1995)|01-Jan-1995||link|0|1|1\n2|Heat|02-Feb-1996||link|0|0|1\n3|unknown||||1|0|0\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
}
ML_1M = {
    "ratings.dat": "1::10::5::100\n1::20::3::90\n2::20::4::80\n2::10::1::85\n",
    "movies.dat": "10::Am\xe9lie (2001)::Comedy|Romance\n20::Heat (1995)::Action\n30::Never Seen (1990)::Drama\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
}


def write_folder(folder: Path, files: dict[str, str], encoding: str = "latin-1") -> Path:
    """Write text files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding))
    return folder


def write_zip(file: Path, files: dict[str, str], prefix: str = "") -> Path:
    """Write text files into a zip archive, in the folder `prefix` of it."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(prefix + name, text.encode("latin-1"))
    return file


def make_dataset(histories: dict[str, list[int]], n_items: int = 9, rl_targets: int = 2) -> Dataset:
    """A data set from item indices per user; times count up from 1."""
    items = tuple(
        Item(i, f"i{i}", f"Title {i}", f"Title {i}", ("Drama",), 1990 + i) for i in range(1, n_items + 1)
    )
    rows = [
        (user, item, float(time), None)
        for user, items in histories.items()
        for time, item in enumerate(items, 1)
    ]
    frame = pl.DataFrame(
        rows,
        schema={"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32},
        orient="row",
    )
    users = pl.DataFrame({"user_id": list(histories), "age": ["30"] * len(histories)})
    return Dataset("hand", Catalog(items), split_by_time(frame, rl_targets), users)
