"""What the service keeps of users: histories and feedback, in SQLite or PostgreSQL."""

from __future__ import annotations

from deeprec.errors import MissingExtraError
from deeprec.store.base import (
    Feedback,
    FeedbackKind,
    HistoryEntry,
    KnownUser,
    Store,
    StoredHistory,
    StoreInfo,
)

__all__ = [
    "Feedback",
    "FeedbackKind",
    "HistoryEntry",
    "KnownUser",
    "Store",
    "StoreInfo",
    "StoredHistory",
    "open_store",
]


def open_store(url: str, *, create: bool = True, wait: float = 2.0) -> Store:
    """The store at `url`, its schema brought up to date.

    `sqlite:///PATH` is a file, made with its folder unless `create` is False;
    `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE` a database that exists already, and
    the tables are made in it. `wait` is how many seconds a locked or unreachable database
    is waited for. Raises StoreError for a URL or a database that can't be used, one of a
    newer deeprec among them; StoreUnavailable when it can't be reached or is locked;
    MissingExtraError without the libraries.
    """
    try:
        from deeprec.store.opening import open_sql_store
    except ImportError:
        raise MissingExtraError("a store", "serve") from None
    return open_sql_store(url, create=create, wait=wait)
