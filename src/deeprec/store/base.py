"""What a store keeps of users, and what it promises. No database library is imported here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, get_args

from deeprec.data.times import check_seconds
from deeprec.errors import DataError
from deeprec.texts import fault_of
from deeprec.wishes.text import LONGEST_WISH

FeedbackKind = Literal["impression", "click", "rating"]
FEEDBACK_KINDS: tuple[str, ...] = get_args(FeedbackKind)

# An index entry of PostgreSQL holds some 2,700 bytes, and a character takes up to four.
ID_LENGTH = 256  # characters of a user's, an item's or a run's id
KEY_LENGTH = 128  # characters of an id that the client made up for a request
TENANT_LENGTH = 64  # characters of a tenant's name
TAKEN = 1000  # clicks and ratings of a user that are read for a recommendation, the latest ones
RATING_LIMIT = 1e9  # either way: exports hold ratings as 32-bit floats
_TENANT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{TENANT_LENGTH - 1}}}")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One item that a user had: `timestamp` in seconds since 1970, `rating` on the catalogue's scale.

    Raises DataError for an id that can't be stored, and for numbers that are not finite.
    """

    item_id: str
    timestamp: float | None = None
    rating: float | None = None

    def __post_init__(self) -> None:
        check_text("item_id", self.item_id)
        _check_time("timestamp", self.timestamp)
        _check_number("rating", self.rating)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user did with an item that was recommended.

    `value` is the rating of a `rating`, and None otherwise. `time` is in seconds since
    1970. `run` names the run that recommended, `request_id` the answer it was part of.
    `key` is an id of the client's choice that makes sending again harmless: of one user,
    feedback with the same key is stored once. `wish` is what the user had said that they want, in
    their own words, when the item was shown. Raises DataError for what can't be stored.
    """

    user_id: str
    item_id: str
    kind: FeedbackKind
    time: float
    value: float | None = None
    run: str | None = None
    request_id: str | None = None
    key: str | None = None
    wish: str | None = None

    def __post_init__(self) -> None:
        check_text("user_id", self.user_id)
        check_text("item_id", self.item_id)
        if self.kind not in FEEDBACK_KINDS:
            raise DataError(f"feedback: kind = {self.kind!r}; known: {', '.join(FEEDBACK_KINDS)}")
        if (self.kind == "rating") != (self.value is not None):
            wanted = "needs a value" if self.kind == "rating" else "takes no value"
            raise DataError(f"feedback: value = {self.value!r}, but a {self.kind} {wanted}")
        _check_number("value", self.value)
        _check_time("time", self.time)
        for name, text, length in (
            ("run", self.run, ID_LENGTH),
            ("request_id", self.request_id, KEY_LENGTH),
            ("key", self.key, KEY_LENGTH),
            ("wish", self.wish, LONGEST_WISH),
        ):
            if text is not None:
                check_text(name, text, length)


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A user's history as it was put: `stored` is when, in seconds since 1970."""

    user_id: str
    entries: tuple[HistoryEntry, ...]
    stored: float


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What a store knows of one user, to recommend with.

    `history` is None where none was put. `taken` are clicks and ratings, oldest first, the
    latest `TAKEN` of them. A forgotten user has neither.
    """

    history: tuple[HistoryEntry, ...] | None = None
    taken: tuple[Feedback, ...] = ()
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds: counts, and the version of its schema."""

    url: str  # without a password
    schema: str
    users: int  # with a history or feedback
    forgotten: int
    histories: int
    history_entries: int
    feedback: Mapping[str, int]  # kind -> count


class Store(Protocol):
    """Histories and feedback of users; safe to share between threads.

    It shows the users of one `tenant`, whose name is empty unless `of` gave another: no method
    reads or changes anything of another tenant's, and the same id in two of them is two users.

    What a method has returned from is on disk. Every method raises StoreUnavailable when
    the database is locked or can't be reached, after the store's `wait` at most for each
    step, and StoreError when it can't be used at all; both name the URL without its
    password. A user id that can't be stored is a DataError.
    """

    @property
    def url(self) -> str:
        """Where it is, without a password."""

    @property
    def tenant(self) -> str:
        """Whose users it shows."""

    def of(self, tenant: str) -> Store:
        """The same store for the users of another tenant; raises DataError for a name that can't be one."""

    def tenants(self) -> list[str]:
        """All that have users, by name."""

    def pseudonym(self, user_id: str) -> str:
        """What stands for a user where their id must not: the same one always, of nobody else, in this store."""

    def history(self, user_id: str) -> tuple[HistoryEntry, ...] | None:
        """The history that was put, oldest first; None when none was. One that was put empty is `()`."""

    def known(self, user_ids: Sequence[str]) -> dict[str, KnownUser]:
        """What is stored of each of these users; who was never heard of is not in it."""

    def find_users(self, query: str, limit: int) -> list[str]:
        """Users with a history, a click or a rating whose id holds `query`, in regard of case.

        The id that equals it first, then those that begin with it, then the others, each in
        the order in which they first came; `limit` at most.
        """

    def put_history(self, user_id: str, entries: Sequence[HistoryEntry]) -> None:
        """Replace a user's history by `entries`, oldest first.

        For a forgotten user this is a fresh start: they are no longer forgotten. Raises
        DataError when the times go back.
        """

    def put_histories(self, histories: Mapping[str, Sequence[HistoryEntry]]) -> None:
        """The same for many users: all of it or nothing."""

    def delete_user(self, user_id: str) -> bool:
        """Forget a user: history, feedback, and the id itself; True when something was stored.

        What remains is a hash of the id, keyed with the store's own salt, so that
        `is_deleted` can tell: a user of the training data stays forgotten too.
        """

    def is_deleted(self, user_id: str) -> bool:
        """Whether the user was forgotten, and has not started afresh since."""

    def deleted(self, user_ids: Iterable[str]) -> frozenset[str]:
        """Those of `user_ids` that were forgotten."""

    def add_feedback(self, *feedback: Feedback) -> int:
        """Store all of it or nothing; how much of it is new.

        Feedback whose user and key are known is not stored again; the first counts.
        Feedback of a forgotten user is not kept.
        """

    def feedback(self, user_id: str | None = None, since: float | None = None) -> Iterator[Feedback]:
        """Feedback of a user or of all, with a time of `since` or later, oldest first."""

    def histories(self) -> Iterator[StoredHistory]:
        """Every history, empty ones too, in the order in which the users first came."""

    def info(self) -> StoreInfo:
        """Counts and schema version."""

    def ping(self) -> None:
        """Do nothing but reach the database: for readiness checks."""

    def close(self) -> None:
        """Give up all connections; a closed store is not used again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def check_text(name: str, text: str, length: int = ID_LENGTH) -> None:
    """Raise DataError, naming the field, for text that no database keeps as it is."""
    fault = fault_of(text, length)
    if fault is not None:
        raise DataError(f"{name} {fault}")


def check_tenant(name: str) -> str:
    """The name of a tenant; raises DataError for one that isn't."""
    if name and not _TENANT.fullmatch(name):
        raise DataError(
            f"tenant = {name[:80]!r}: give up to {TENANT_LENGTH} letters, digits, '-', '_' or '.', beginning with a "
            "letter or digit"
        )
    return name


def check_order(entries: Sequence[HistoryEntry]) -> None:
    """Raise DataError when times go back: a history is oldest first."""
    latest = -math.inf
    for position, entry in enumerate(entries):
        if entry.timestamp is None:
            continue
        if entry.timestamp < latest:
            raise DataError(
                f"history, entry {position}: goes back in time ({entry.timestamp:.10g} after {latest:.10g}); "
                "put the oldest first"
            )
        latest = entry.timestamp


def _check_number(name: str, value: float | None) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise DataError(f"{name} = {value} is not a finite number; correct it or leave it out")
    if abs(value) > RATING_LIMIT:
        raise DataError(f"{name} = {value:g} is no rating; give one between -1e9 and 1e9")


def _check_time(name: str, value: float | None) -> None:
    if value is None:
        return
    try:
        check_seconds(value)
    except DataError as error:
        raise DataError(f"{name} = {error}") from None
