"""What `deeprec data prepare` needs of memory and CPU for files as large as people have them.

    python benchmarks/large_files.py ml-25m                    # 25 million ratings (ratings.csv, movies.csv)
    python benchmarks/large_files.py amazon-reviews            # 29 million reviews (JSON lines and their meta file)
    python benchmarks/large_files.py ml-25m --rows 5000000 --folder /tmp/large

The files are drawn at random in the shape of the originals (users, items, lengths of text), and kept in `--folder` for
the next call. Printed are the rows in use, CPU seconds of the command and its children, wall time, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

ROWS = {"ml-25m": 25_000_000, "amazon-reviews": 29_000_000}
_PIECE = 1_000_000
_TEXT = (
    "the story is good and reads quickly but a few chapters were long I would buy it again for my sister " * 2
)
_REVIEW = (
    '{"overall": <>, "verified": true, "reviewTime": "01 1, 2015", "reviewerID": "A<>", "asin": "B<>", '
    f'"reviewerName": "Somebody", "reviewText": "{_TEXT}", "summary": "Good", "unixReviewTime": <>}}'
)
_FIRST_DAY = 1_262_304_000  # 2010-01-01


def main() -> None:
    """Make the files unless they are there, prepare them, and print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", choices=list(ROWS))
    parser.add_argument("--rows", type=int, help="ratings or reviews; default: as many as the original has")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "deeprec-large")
    chosen = parser.parse_args()
    rows = chosen.rows or ROWS[chosen.source]
    folder = chosen.folder / f"{chosen.source}-{rows}"
    if not (folder / "made").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (movielens if chosen.source == "ml-25m" else amazon)(folder, rows)
        (folder / "made").touch()
    measure(chosen.source, folder, rows)


def movielens(folder: Path, rows: int) -> None:
    """Ratings of 162,000 users on 59,000 movies for 25 million rows, users together as in the original."""
    items = min(59_000, max(rows // 400, 20))
    with (folder / "ratings.csv").open("w", encoding="utf-8") as out:
        out.write("userId,movieId,rating,timestamp\n")
        for start, drawn in pieces(rows, items):
            users = (start + pl.int_range(len(drawn), eager=True)) // 154 + 1
            drawn.select(users.alias("user"), "item", pl.col("mark") / 2, "time").write_csv(
                out, include_header=False
            )
    names = [
        f'{item},"Movie, number {item} ({1950 + item % 70})",Drama|War\n' for item in range(1, items + 1)
    ]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(names), encoding="utf-8")


def amazon(folder: Path, rows: int) -> None:
    """Reviews in the form of the edition of 2018: three of a user, 6.6 of an item, as of books; 40 words each."""
    items = max(int(rows / 6.6), 20)
    with (folder / "reviews.jsonl").open("w", encoding="utf-8") as out:
        for start, drawn in pieces(rows, items):
            users = np.random.default_rng([start, 1]).integers(1, rows // 3 + 2, len(drawn))
            values = (
                (pl.col("mark") + 1) // 2,
                pl.Series(users).cast(pl.String).str.zfill(13),
                pl.col("item").cast(pl.String).str.zfill(9),
                pl.col("time"),
            )
            parts = zip((*map(pl.lit, _REVIEW.split("<>")),), (*values, pl.lit("")), strict=True)
            lines = drawn.select(pl.concat_str(part for pair in parts for part in pair))
            out.write("\n".join(lines.to_series()) + "\n")
    with (folder / "meta_reviews.jsonl").open("w", encoding="utf-8") as out:
        for item in range(1, items + 1):
            entry = {"asin": f"B{item:09d}", "title": f"Book number {item} of a long series"}
            out.write(json.dumps({**entry, "category": ["Books", f"Shelf {item % 500}"]}) + "\n")


def pieces(rows: int, items: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Items (some of them popular), marks from 1 to 10 and times, a million rows at a time with the number before."""
    for start in range(0, rows, _PIECE):
        draw, size = np.random.default_rng(start), min(_PIECE, rows - start)
        columns = {
            "item": (items * draw.random(size) ** 2).astype(np.int64) + 1,
            "mark": draw.integers(1, 11, size),
            "time": _FIRST_DAY + draw.integers(0, 10 * 365 * 86_400, size),
        }
        yield start, pl.DataFrame(columns)


def measure(source: str, folder: Path, rows: int) -> None:
    """Prepare the files in a process of its own and print what that took."""
    run = folder.with_name(f"{folder.name}-run")
    command = [sys.executable, "-c", "from deeprec.cli import main; main()", "data", "prepare", source]
    command += ["--source", str(folder), "--run", str(run), "--json", "--set", "data.min_user_interactions=3"]
    started = time.monotonic()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(done.stdout)
    size = sum(file.stat().st_size for file in folder.glob("*.*"))
    in_use = f"{summary['interactions']:,} in use of {summary['users']:,} users"
    print(f"{source}: {rows:,} rows in {size / 1e9:.1f} GB, {in_use}")
    print(
        f"CPU {used.ru_utime + used.ru_stime:.0f} s, wall {time.monotonic() - started:.0f} s, "
        f"peak {used.ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
