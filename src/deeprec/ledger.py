"""What a stage was given to learn from, written down where it is given.

A ledger is a Parquet file with a row for each piece of a user's past that a stage was handed:
`user_id` (string), `items` (list of int32, item indices, oldest first) and `target` (int32, the
item that was to be learned from them; null for a fit on whole histories). It lies at
`RUN/seen/STAGE.parquet` and is written before the stage begins, so that a stage that is
finished has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from deeprec.disk import whole_file
from deeprec.errors import RunError
from deeprec.run import Run
from deeprec.types import Example

_COLUMNS: dict[str, Any] = {"user_id": pl.String, "items": pl.List(pl.Int32), "target": pl.Int32}


def ledger_file(run: Run, stage: str) -> Path:
    """Where the ledger of a stage lies; that of a rival is called `rival:NAME`, and a file's name holds no colon."""
    return run.folder / "seen" / f"{stage.replace(':', '-')}.parquet"


def write_ledger(run: Run, stage: str, given: Iterable[Example]) -> None:
    """Write down the examples that a stage is given; a target of 0 means a whole history."""
    rows = [(e.user_id, list(e.history), e.target or None) for e in given]
    file = ledger_file(run, stage)
    with whole_file(file) as part:
        pl.DataFrame(rows, schema=_COLUMNS, orient="row").write_parquet(part)


def read_ledger(run: Run, stage: str) -> pl.DataFrame | None:
    """The ledger of a stage, or None where there is none (a run of an earlier version).

    Raises RunError for a file that is no ledger.
    """
    file = ledger_file(run, stage)
    if not file.is_file():
        return None
    try:
        frame = pl.read_parquet(file)
    except (OSError, PolarsError) as error:
        raise RunError(f"{file}: is no readable ledger ({error}); run the stage again") from None
    if dict(frame.schema) != _COLUMNS:
        raise RunError(f"{file}: is no ledger (columns {', '.join(frame.columns)}); run the stage again")
    return frame
