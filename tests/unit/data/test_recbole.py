"""RecBole atomic files."""

from __future__ import annotations

from pathlib import Path

import pytest
from deeprec_data_files import write_folder

from deeprec.config import DataConfig
from deeprec.data.prepare import prepare
from deeprec.errors import DataError

FILES = {
    "toy.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t1\t4\t10\n7\t2\t5\t9\n",
    "toy.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Comedy\n2\tHeat (1995)\t1995\tunknown\n"
    ),
    "toy.user": "user_id:token\tage:token\n7\t33\n",
}


def config(folder: Path, **more: object) -> DataConfig:
    return DataConfig.model_validate(
        {"name": "recbole", "source": str(folder), "min_user_interactions": 1, **more}
    )


def test_atomic_files(tmp_path: Path) -> None:
    dataset = prepare(config(write_folder(tmp_path, FILES, "utf-8")), seed=0)
    assert dataset.name == "recbole:toy"
    assert [item.label for item in dataset.catalog.items] == ["Toy Story (1995)", "Heat (1995)"]
    assert [item.year for item in dataset.catalog.items] == [1995, 1995]
    assert [item.categories for item in dataset.catalog.items] == [("Animation", "Comedy"), ()]
    example = dataset.known_history("7")
    assert (example.history, example.ratings, example.profile) == ((2, 1), (5.0, 4.0), {"age": "33"})
    assert [file.name for file in dataset.provenance.files] == ["toy.inter", "toy.item", "toy.user"]


def test_columns_can_be_named_and_users_left_out(tmp_path: Path) -> None:
    files = {**FILES, "toy.item": "item_id:token\tlabel:token_seq\n1\tA\n2\tB\n"}
    del files["toy.user"]
    dataset = prepare(config(write_folder(tmp_path, files), columns={"title": "label"}), seed=0)
    assert [item.label for item in dataset.catalog.items] == ["A", "B"]
    assert dataset.known_history("7").profile == {}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("toy.inter", "user_id\titem_id:token\n7\t1\n", r"line 1: column 'user_id' has no type"),
        (
            "toy.inter",
            "user:token\titem_id:token\n7\t1\n",
            r"no column 'user_id' \(found: user, item_id\); did you mean 'user'\?",
        ),
        (
            "toy.inter",
            "user_id:token\tuser_id:token\n7\t1\n",
            r"line 1: column 'user_id:token' appears twice",
        ),
        ("toy.inter", "", r"toy\.inter: is empty"),
        (
            "toy.item",
            "item_id:token\tprice:float\n1\t3\n",
            r"toy\.item: no column 'title' or 'movie_title' .*\(found: item_id, price",
        ),
    ],
)
def test_bad_headers(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(config(write_folder(tmp_path, {**FILES, file: text})), seed=0)


def test_missing_and_several_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no '\.inter' file"):
        prepare(config(tmp_path), seed=0)
    write_folder(tmp_path, {**FILES, "other.inter": "x"})
    with pytest.raises(DataError, match=r"several files end in '\.inter' \(other\.inter, toy\.inter\)"):
        prepare(config(tmp_path), seed=0)


def test_real_files_have_the_targets_of_ml_100k(shared_data: Path) -> None:
    recbole = prepare(config(shared_data / "recbole-ml-100k"), seed=0)
    original = prepare(DataConfig(name="ml-100k", source=str(shared_data / "ml-100k.zip")), seed=0)
    assert recbole.targets_hash("test") == original.targets_hash("test")
    assert recbole.targets_hash("rl") == original.targets_hash("rl")
    assert [item.categories for item in recbole.catalog.items] == [
        item.categories for item in original.catalog.items
    ]
