"""Amazon pairs and raw review dumps."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from deeprec.config import DataConfig
from deeprec.data.prepare import prepare
from deeprec.data.summary import summarize
from deeprec.errors import DataError

PAIRS = "user\titem\ttimestamp\nA\tx\t1\nA\ty\t2\nA\tz\t2\nB\ty\t1\nB\tx\t9\n"
ITEMS = 'item\ttitle\tcategories\nx\tTom &amp;amp; Co &lt;b&gt;\tToys &amp; Games|Puzzles\ny\t\t\nz\tSame "one"\tToys\n'


def pair(folder: Path, interactions: str = PAIRS, items: str = ITEMS) -> DataConfig:
    folder.mkdir(exist_ok=True)
    (folder / "interactions.tsv.gz").write_bytes(gzip.compress(interactions.encode()))
    (folder / "items.tsv.gz").write_bytes(gzip.compress(items.encode()))
    return DataConfig(name="amazon-games-2018", source=str(folder), min_user_interactions=1)


def test_pair(tmp_path: Path) -> None:
    dataset = prepare(pair(tmp_path), seed=0)
    x, y, z = dataset.catalog.items
    assert x.title == "Tom & Co <b>"
    assert x.label == "Tom & Co ‹b›"
    assert x.categories == ("Toys & Games", "Puzzles")
    assert (y.title, y.label, y.categories) == ("", "untitled [y]", ())
    assert z.label == 'Same "one"'
    assert dataset.known_history("A").history == (1, 2, 3)
    assert dataset.known_history("A").ratings == ()
    assert summarize(dataset).titles_empty == 1


def test_pair_going_back_in_time_is_refused(tmp_path: Path) -> None:
    config = pair(tmp_path, PAIRS + "B\tz\t8\n")
    with pytest.raises(DataError, match=r"interactions\.tsv\.gz line 7: user 'B' goes back in time"):
        prepare(config, seed=0)


def test_repeats_are_left_out_unless_allowed(tmp_path: Path) -> None:
    config = pair(tmp_path, PAIRS + "B\ty\t10\n")
    without = prepare(config, seed=0)
    assert without.known_history("B").history == (2, 1)
    assert without.provenance.repeats_dropped == 1
    allowed = prepare(config.model_copy(update={"allow_repeats": True}), seed=0)
    assert allowed.known_history("B").history == (2, 1, 2)
    assert allowed.exclusions(allowed.known_history("B")) == ()


def test_pair_errors(tmp_path: Path) -> None:
    config = pair(tmp_path, items=ITEMS.replace("title", "name"))
    with pytest.raises(
        DataError, match=r"items\.tsv\.gz: no column 'title' \(found: item, name, categories\)"
    ):
        prepare(config, seed=0)
    pair(tmp_path)
    damaged = (tmp_path / "items.tsv.gz").read_bytes()[:-20]
    (tmp_path / "items.tsv.gz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"items\.tsv\.gz: can't be read \(.*fetch it again"):
        prepare(config, seed=0)
    pair(tmp_path)
    (tmp_path / "items.tsv.gz").write_bytes(
        gzip.compress("item\ttitle\tcategories\nx\tCaf\xe9\t\n".encode("latin-1"))
    )
    with pytest.raises(DataError, match=r"items\.tsv\.gz line 2: bytes b'\\xe9.*' are not utf-8"):
        prepare(config, seed=0)


def test_no_download_for_pairs() -> None:
    with pytest.raises(
        DataError, match=r"'amazon-games-2018' can't be downloaded; name its files with --source"
    ):
        prepare(DataConfig(name="amazon-games-2018"), seed=0)


YEARS = {
    "2014": (
        {"reviewerID": "A", "asin": "x", "overall": 4.0, "unixReviewTime": 1_400_000_000},
        "{'asin': 'x', 'title': 'It\\'s &amp; Co', 'categories': [['Toys', 'Games'], ['Else']]}",
    ),
    "2018": (
        {"reviewerID": "A", "asin": "x", "overall": 4.0, "unixReviewTime": 1_400_000_000},
        json.dumps({"asin": "x", "title": "It's &amp; Co", "category": ["Toys", "Games"]}),
    ),
    "2023": (
        {"user_id": "A", "asin": "q", "parent_asin": "x", "rating": 4.0, "timestamp": 1_400_000_000_000},
        json.dumps({"parent_asin": "x", "title": "It's &amp; Co", "categories": ["Toys", "Games"]}),
    ),
}


def dump(folder: Path, reviews: list[str], meta: list[str]) -> DataConfig:
    (folder / "Toys.json.gz").write_bytes(gzip.compress("\n".join(reviews).encode()))
    (folder / "meta_Toys.json.gz").write_bytes(gzip.compress("\n".join(meta).encode()))
    return DataConfig(name="amazon-reviews", source=str(folder), min_user_interactions=1)


@pytest.mark.parametrize("edition", list(YEARS))
def test_raw_dumps_of_three_editions(tmp_path: Path, edition: str) -> None:
    review, meta = YEARS[edition]
    other = meta.replace("'x'", "'unreviewed'").replace('"x"', '"unreviewed"')
    dataset = prepare(dump(tmp_path, [json.dumps(review)], [other, meta, meta]), seed=0)
    (item,) = dataset.catalog.items
    assert (item.item_id, item.title, item.categories) == ("x", "It's & Co", ("Toys", "Games"))
    only = dataset.known_history("A")
    assert (only.history, only.ratings, only.timestamps) == ((1,), (4.0,), (1.4e9,))


def test_raw_dump_errors(tmp_path: Path) -> None:
    review, meta = YEARS["2018"]
    good = json.dumps(review)
    with pytest.raises(DataError, match=r"Toys\.json\.gz line 2: b'\{\"half' is no JSON object"):
        prepare(dump(tmp_path, [good, '{"half'], [meta]), seed=0)
    with pytest.raises(DataError, match=r"Toys\.json\.gz line 2: user 'A' has no timestamp"):
        prepare(dump(tmp_path, [good, '{"asin": "x", "reviewerID": "A"}'], [meta]), seed=0)
    with pytest.raises(
        DataError, match=r"Toys\.json\.gz: no column 'user_id' or 'reviewerID' \(found: asin\)"
    ):
        prepare(dump(tmp_path, ['{"asin": "x"}'], [meta]), seed=0)
    with pytest.raises(DataError, match=r"Toys\.json\.gz line 1: rating = 'good' is not a number"):
        prepare(dump(tmp_path, [json.dumps({**review, "overall": "good"})], [meta]), seed=0)
    with pytest.raises(DataError, match=r"item 'x' is not in .*meta_Toys"):
        prepare(dump(tmp_path, [good.replace('"x"', '"y"'), good], [meta.replace('"x"', '"y"')]), seed=0)
    (tmp_path / "meta_Toys.json.gz").unlink()
    with pytest.raises(DataError, match=r"expected one metadata file meta_\*.*found none"):
        prepare(DataConfig(name="amazon-reviews", source=str(tmp_path)), seed=0)


def test_real_games(shared_data: Path) -> None:
    config = DataConfig(name="amazon-games-2018", source=str(shared_data / "amazon-games-2018"))
    found = summarize(prepare(config.model_copy(update={"allow_repeats": True}), seed=0))
    assert (found.users, found.items, found.interactions) == (50_597, 16_874, 453_637)
    assert (found.tied_pairs, found.users_tied_last) == (184_726, 19_848)


def test_real_beauty(shared_data: Path) -> None:
    config = DataConfig(name="amazon-beauty-2014", source=str(shared_data / "amazon-beauty-2014"))
    found = summarize(prepare(config, seed=0))
    assert (found.users, found.items, found.interactions) == (22_363, 12_101, 198_502)
    assert (found.tied_pairs, found.users_tied_last, found.titles_empty) == (77_402, 9_719, 7)
