"""Public data sets by name, on small files of their shape; every row of a source is accounted for."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from deeprec_data_files import write_folder, write_zip

from deeprec.config import DataConfig
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare, read_raw
from deeprec.errors import DataError


def config(name: str, source: Path, **more: object) -> DataConfig:
    values = {"name": name, "source": str(source), "min_user_interactions": 1, "rl_targets": 0}
    return DataConfig.model_validate({**values, **more})


def titles(dataset: Dataset, user: str) -> list[str]:
    return [dataset.catalog[item].label for item in dataset.known_history(user).history]


MOVIES = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,964982703\n1,20,2.5,964981247\n2,10,5.0,964982224\n",
    "movies.csv": 'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n'
    "20,M (1931),(no genres listed)\n",
    "links.csv": "movieId,imdbId,tmdbId\n10,1,2\n",
}


@pytest.mark.parametrize("name", ["ml-latest", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"])
def test_movielens_since_20m(tmp_path: Path, name: str) -> None:
    dataset = prepare(config(name, write_zip(tmp_path / "ml.zip", MOVIES, f"{name}/")), seed=0)
    assert titles(dataset, "1") == ["M (1931)", "American President, The (1995)"]
    assert [(item.year, item.categories) for item in dataset.catalog.items] == [
        (1995, ("Comedy", "Drama")),
        (1931, ()),
    ]
    assert dataset.known_history("1").ratings == (2.5, 4.0)
    assert (dataset.name, dataset.provenance.rows_read) == (name, 3)


def test_steam(tmp_path: Path) -> None:
    reviews = (
        "{u'username': u'Chaos Syren', u'product_id': u'725280', u'date': u'2017-12-17', u'text': u'\\xe9'}\n"
        "{u'username': u'Chaos Syren', u'product_id': u'761140', u'date': u'2017-12-16', u'text': u\"it's\"}\n"
        "{u'username': u'Ann', u'product_id': u'999', u'date': u'2018-01-01'}\n"
    )
    games = (
        "{u'app_name': u'Lost Summoner', u'genres': [u'Action', u'Indie'], u'id': u'761140', "
        "u'release_date': u'2018-01-04', u'price': 4.99}\n"
        "{u'app_name': u'Ironbound', u'tags': [u'Card Game'], u'id': u'725280', u'release_date': u'Soon'}\n"
        "{u'app_name': u'Nobody knows'}\n{u'app_name': u'Ironbound', u'id': u'725280'}\n"
    )
    (tmp_path / "steam_reviews.json.gz").write_bytes(gzip.compress(reviews.encode()))
    (tmp_path / "steam_games.json.gz").write_bytes(gzip.compress(games.encode()))
    dataset = prepare(config("steam", tmp_path), seed=0)
    assert titles(dataset, "Chaos Syren") == ["Lost Summoner", "Ironbound"]
    assert [(item.year, item.categories) for item in dataset.catalog.items] == [
        (2018, ("Action", "Indie")),
        (None, ()),
    ]
    assert dataset.provenance.rows_read == 3
    assert dataset.provenance.reader_dropped == {"items that the set does not list": 1}


def test_yelp(tmp_path: Path) -> None:
    write_folder(
        tmp_path,
        {
            "yelp_academic_dataset_review.json": (
                '{"review_id":"r1","user_id":"u","business_id":"b2","stars":3.0,"date":"2018-07-07 22:09:11"}\n'
                '{"review_id":"r2","user_id":"u","business_id":"b1","stars":5.0,"date":"2012-01-03 15:28:18"}\n'
            ),
            "yelp_academic_dataset_business.json": (
                '{"business_id":"b1","name":"Abby Rappoport","categories":"Doctors, Traditional Chinese Medicine"}\n'
                '{"business_id":"b2","name":"The UPS Store","categories":null}\n'
            ),
            "yelp_academic_dataset_tip.json": "{}\n",
        },
    )
    dataset = prepare(config("yelp", tmp_path), seed=0)
    assert titles(dataset, "u") == ["Abby Rappoport", "The UPS Store"]
    assert dataset.catalog[1].categories == ("Doctors", "Traditional Chinese Medicine")
    assert dataset.known_history("u").timestamps == (1325604498.0, 1531001351.0)


def test_goodreads(tmp_path: Path) -> None:
    write_folder(
        tmp_path,
        {
            "goodreads_interactions_poetry.json": (
                '{"user_id":"u","book_id":"2","rating":4,"date_added":"Fri Dec 08 00:16:46 -0800 2017"}\n'
                '{"user_id":"u","book_id":"1","rating":0,"date_added":"Thu Dec 07 00:16:46 -0800 2017"}\n'
            ),
            "goodreads_books_poetry.json": (
                '{"book_id":"1","title":"Milk","publication_year":"2014","popular_shelves":[{"count":"3","name":"to-read"}]}\n'
                '{"book_id":"2","title":"Honey","publication_year":""}\n{"book_id":"3","title":"Unread"}\n'
            ),
            "goodreads_book_genres_initial.json": (
                '{"book_id":"1","genres":{"poetry":9,"history, biography":1}}\n{"book_id":"2","genres":{}}\n'
            ),
        },
    )
    dataset = prepare(config("goodreads", tmp_path), seed=0)
    assert titles(dataset, "u") == ["Milk", "Honey"]
    assert [item.categories for item in dataset.catalog.items] == [("poetry", "history", "biography"), ()]
    assert dataset.catalog[1].year == 2014
    assert dataset.known_history("u").timestamps[1] == 1512721006.0
    assert read_raw(config("goodreads", tmp_path), 0).interactions["rating"].to_list() == [
        4.0,
        None,
    ]  # 0 is none


def test_mind(tmp_path: Path) -> None:
    for part, line in (
        ("train", "1\tU1\t11/12/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0 N5-0"),
        ("dev", "2\tU1\t11/11/2019 11:05:58 PM\tN1 N2\tN5-1 N4-0\n3\tU2\t11/15/2019 8:00:00 AM\t\tN3-0 N1-1"),
    ):
        write_folder(
            tmp_path / part,
            {
                "behaviors.tsv": line + "\n",
                "news.tsv": "".join(
                    f'N{n}\tsports\tgolf\tThe "{n}" news\tabstract\thttps://x\t[]\t[]\n' for n in range(1, 6)
                ),
            },
        )
    dataset = prepare(config("mind", tmp_path), seed=0)
    assert titles(dataset, "U1") == [f'The "{n}" news' for n in (1, 2, 5, 3)]
    assert titles(dataset, "U2") == ['The "1" news']
    first = 1573513558.0  # 2019-11-11 23:05:58, the user's first impression
    assert dataset.known_history("U1").timestamps == (first, first, first, 1573549558.0)
    assert dataset.provenance.reader_dropped == {"shown, not clicked": 4, "history listed again": 2}
    assert dataset.provenance.rows_read == 11  # 7 shown, 2 times 2 of history
    assert dataset.catalog[1].categories == ("sports",)


def test_lastfm_by_artist_and_by_track(tmp_path: Path) -> None:
    plays = "userid-timestamp-artid-artname-traid-traname.tsv"
    write_folder(
        tmp_path,
        {
            plays: (
                'user_1\t2009-05-04T23:08:57Z\tf1b1\tDeep "Dish\t\tFuck Me\n'
                "user_1\t2009-05-04T13:54:10Z\t\t坂本龍一\tt1\tComposition\n"
            ),
            "userid-profile.tsv": "#id\tgender\tage\tcountry\tregistered\nuser_1\tm\t\tJapan\tAug 13, 2006\n",
        },
        "utf-8",
    )
    artists = prepare(config("lastfm-1k", tmp_path), seed=0)
    assert titles(artists, "user_1") == ["坂本龍一", 'Deep "Dish']
    assert [item.item_id for item in artists.catalog.items] == ["f1b1", "坂本龍一"]
    assert artists.known_history("user_1").profile == {"gender": "m", "country": "Japan"}
    tracks = prepare(config("lastfm-1k", tmp_path, columns={"item_id": "track_id"}), seed=0)
    assert titles(tracks, "user_1") == ["坂本龍一: Composition", 'Deep "Dish: Fuck Me']


def test_bookcrossing(tmp_path: Path) -> None:
    write_folder(
        tmp_path,
        {
            "BX-Book-Ratings.csv": (
                '"User-ID";"ISBN";"Book-Rating"\n"1";"034545104X";"0"\n"1";"0155061224";"5"\n"2";"lost";"7"\n'
            ),
            "BX-Books.csv": (
                '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"\n'
                '"034545104X";"Flesh \\"Tones\\"; a Caf\xe9";"M. J. Rose";"2002";"B"\n'
                '"0155061224";"Rites &amp; Passage";"Judith Rae";"0";"H"\n'
            ),
            "BX-Users.csv": '"User-ID";"Location";"Age"\n"1";"nyc, new york, usa";NULL\n"2";"x";"18"\n',
        },
    )
    dataset = prepare(config("bookcrossing", tmp_path), seed=0)
    assert titles(dataset, "1") == ['Flesh "Tones"; a Café', "Rites & Passage"]
    assert [item.year for item in dataset.catalog.items] == [2002, None]
    assert dataset.known_history("1").profile == {"location": "nyc, new york, usa"}
    assert read_raw(config("bookcrossing", tmp_path), 0).interactions["rating"].to_list() == [None, 5.0]
    assert dataset.provenance.reader_dropped == {"items that the set does not list": 1}


def test_what_can_not_be_fetched_says_where_it_is() -> None:
    with pytest.raises(DataError, match=r"'yelp' can't be downloaded \(it is at https:"):
        prepare(DataConfig(name="yelp"), seed=0)


def test_another_folder_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"readme.txt": "x"})
    with pytest.raises(DataError, match=r"has no file 'steam_reviews\.\.\.' or .*\(it has: readme\.txt\)"):
        prepare(config("steam", tmp_path), seed=0)
