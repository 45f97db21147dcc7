"""Which public data set a folder or an archive is, by the names of its files."""

from __future__ import annotations

from deeprec.data.files import Source

# What the names of some files begin or end with: every entry must be there.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ml-100k", ("u.data", "u.item", "u.genre", "u.user")),
    ("ml-1m", ("ratings.dat", "movies.dat", "users.dat")),
    ("steam", ("steam_reviews", "steam_games")),
    ("yelp", ("yelp_academic_dataset_review", "yelp_academic_dataset_business")),
    ("bookcrossing", ("BX-Book-Ratings", "BX-Books")),
    ("goodreads", ("goodreads_interactions", "goodreads_books")),
    ("mind", ("behaviors.tsv", "news.tsv")),
    ("lastfm-1k", ("userid-timestamp-artid-artname-traid-traname",)),
    ("recbole", (".inter", ".item")),
    ("ml-latest", ("ratings.csv", "movies.csv")),
)


def recognise(source: Source) -> str | None:
    """The name of the set, or None for files of one's own."""
    names = source.names("")
    for name, signs in _SIGNS:
        if all(any(_is(file, sign) for file in names) for sign in signs):
            return name
    if any(name.startswith("meta_") for name in names) and len(names) == 2:
        return "amazon-reviews"
    return None


def _is(file: str, sign: str) -> bool:
    return sign in file if sign.startswith(".") else file.startswith(sign)
