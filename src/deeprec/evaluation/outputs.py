"""The files of an evaluation: figures, tables for papers and pages, and every user's row."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from deeprec.data.dataset import Dataset
from deeprec.disk import whole_file, write_atomically
from deeprec.errors import EvaluationError
from deeprec.evaluation.evaluate import EvaluationResult
from deeprec.evaluation.markup import evaluation_latex, evaluation_markdown, slices_latex, slices_markdown
from deeprec.evaluation.summary import EvaluationSummary, read_summary

SUMMARY, PER_USER = "evaluation.json", "per_user.parquet"
IDENTITY = ("method", "user_id", "target", "ranking", "history_length", "slices")  # all else are metrics


def write_outputs(folder: Path, result: EvaluationResult, dataset: Dataset) -> None:
    """`per_user.parquet`, the tables, and last `evaluation.json`, which says that the others are there.

    Files of these names are replaced, others are left. Raises EvaluationError where no folder can be made.
    """
    make_folder(folder)
    write_per_user(result, dataset, folder / PER_USER)
    write_tables(folder, result.summary)
    write_atomically(folder / SUMMARY, result.summary.model_dump_json(indent=1))


def copy_outputs(source: Path, folder: Path) -> None:
    """The same files from the folder of a finished evaluation, the tables written anew."""
    make_folder(folder)
    summary = read_summary(source / SUMMARY)
    if source.resolve() != folder.resolve():
        shutil.copyfile(source / PER_USER, folder / PER_USER)
    write_tables(folder, summary)
    write_atomically(folder / SUMMARY, summary.model_dump_json(indent=1))


def write_tables(folder: Path, summary: EvaluationSummary) -> None:
    """table.md, table.tex, slices.md, slices.tex, and slices.parquet (one row a slice, method and metric)."""
    write_atomically(folder / "table.md", evaluation_markdown(summary))
    write_atomically(folder / "table.tex", evaluation_latex(summary))
    if not summary.slices:
        return
    write_atomically(folder / "slices.md", slices_markdown(summary))
    write_atomically(folder / "slices.tex", slices_latex(summary))
    rows = [
        (part.name, part.title, part.users, method, metric, value.mean, value.low, value.high)
        for part in summary.slices
        for method, metrics in part.metrics.items()
        for metric, value in metrics.items()
    ]
    head = ("slice", "title", "users", "method", "metric", "mean", "low", "high")
    _write_parquet(pl.DataFrame(rows, schema=head, orient="row"), folder / "slices.parquet")


def write_per_user(result: EvaluationResult, dataset: Dataset, file: Path) -> None:
    """One row per method and user: ids, the ranking, and every metric (null where a method has none).

    `slices` names those that the user is in; `history_length` is there to make others of one's own.
    """
    frames = []
    slices = [
        [name for (name, _), mask in result.masks.items() if mask[user]]
        for user in range(len(result.examples))
    ]
    lists = {"ranking": pl.List(pl.String), "slices": pl.List(pl.String)}
    for method, columns in result.per_user.items():
        rankings = [list(entry.ranking) for entry in result.recommendations[method]]
        frame = {
            "method": [method] * len(result.examples),
            "user_id": [example.user_id for example in result.examples],
            "target": [dataset.catalog[example.target].item_id for example in result.examples],
            "ranking": [[dataset.catalog[item].item_id for item in ranking] for ranking in rankings],
            "history_length": [len(example.history) for example in result.examples],
            "slices": slices,
        }
        frames.append(pl.DataFrame({**frame, **columns}, schema_overrides=lists))
    # NaN is how arrays say that there is no value; a file says null.
    _write_parquet(pl.concat(frames, how="diagonal").fill_nan(None), file)


def make_folder(folder: Path) -> None:
    """Make the folder for outputs; raises EvaluationError for a place that is a file or can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(
            f"{folder}: can't be made ({error.strerror}); name a folder that can be written"
        ) from None


def _write_parquet(frame: pl.DataFrame, file: Path) -> None:
    with whole_file(file) as part:
        frame.write_parquet(part)
