"""The store in a database: SQLite or PostgreSQL, by the same statements."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, Select, delete, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from deeprec.errors import StoreError
from deeprec.store import queries
from deeprec.store.base import (
    FEEDBACK_KINDS,
    Feedback,
    HistoryEntry,
    KnownUser,
    StoredHistory,
    StoreInfo,
    check_order,
    check_tenant,
    check_text,
)
from deeprec.store.connections import Connections
from deeprec.store.schema import latest_version
from deeprec.store.tables import FEEDBACK, HISTORY, OWNED, SECRET, USERS

_NAMED = 500  # values in one statement
_PAGE = 1000  # rows of a bulk read at a time: no transaction lasts as long as its reader pleases


class SqlStore:
    """A `Store` on an engine whose schema is current; see `deeprec.store.base.Store`."""

    def __init__(self, engine: Engine, place: str, wait: float) -> None:
        self.url = place
        self._connections = Connections(engine, place, wait)
        self._sqlite = self._connections.sqlite
        self._insert = sqlite.insert if self._sqlite else postgresql.insert
        with self._connections.to_read() as connection:
            salt = connection.execute(select(SECRET.c.salt)).scalar()
        if salt is None:
            raise StoreError(f"{place}: its salt is gone, so nobody can be found in it; restore a copy")
        self._salt = bytes(salt)
        self.tenant = ""

    def of(self, tenant: str) -> SqlStore:
        found = copy(self)  # of the handle alone: connections and locks are shared
        found.tenant = check_tenant(tenant)
        return found

    def tenants(self) -> list[str]:
        with self._connections.to_read() as connection:
            return list(connection.scalars(select(USERS.c.tenant).distinct().order_by(USERS.c.tenant)))

    def pseudonym(self, user_id: str) -> str:
        return self._digest(user_id).hex()[:16]

    def history(self, user_id: str) -> tuple[HistoryEntry, ...] | None:
        return self.known([user_id]).get(user_id, KnownUser()).history

    def put_history(self, user_id: str, entries: Sequence[HistoryEntry]) -> None:
        self.put_histories({user_id: entries})

    def put_histories(self, histories: Mapping[str, Sequence[HistoryEntry]]) -> None:
        for entries in histories.values():
            check_order(entries)
        # Users in one order for everybody, so that no two transactions wait for each other.
        digests = sorted((self._digest(user), user) for user in histories)
        now = time.time()
        with self._connections.to_write() as connection:
            for digest, user in digests:
                owner, _ = self._lock_user(connection, digest, user)
                connection.execute(delete(HISTORY).where(HISTORY.c.owner == owner))
                rows = [
                    {"owner": owner, "position": position, **asdict(entry)}
                    for position, entry in enumerate(histories[user])
                ]
                if rows:
                    connection.execute(insert(HISTORY), rows)
                connection.execute(
                    update(USERS).where(USERS.c.id == owner).values(user_id=user, history_stored=now)
                )

    def delete_user(self, user_id: str) -> bool:
        digest = self._digest(user_id)
        with self._connections.turn():
            with self._connections.to_write() as connection:
                owner, known = self._lock_user(connection, digest, None)
                for table in OWNED:
                    connection.execute(delete(table).where(table.c.owner == owner))
                connection.execute(
                    update(USERS).where(USERS.c.id == owner).values(user_id=None, history_stored=None)
                )
            self._connections.empty_log()
        return known

    def is_deleted(self, user_id: str) -> bool:
        return user_id in self.deleted([user_id])

    def deleted(self, user_ids: Iterable[str]) -> frozenset[str]:
        asked = list(user_ids)
        with self._connections.to_read() as connection:
            if len(asked) > _NAMED:  # there are few forgotten ones, mostly none
                rows = connection.scalars(queries.all_deleted(self.tenant))
            else:
                rows = connection.scalars(queries.deleted_among([self._digest(user) for user in asked]))
            gone = {bytes(digest) for digest in rows}
        return frozenset(user for user in asked if self._digest(user) in gone) if gone else frozenset()

    def known(self, user_ids: Sequence[str]) -> dict[str, KnownUser]:
        digests = {self._digest(user): user for user in user_ids}
        found: dict[str, KnownUser] = {}
        with self._connections.to_read() as connection:
            for part in _parts(list(digests)):
                rows = connection.execute(queries.users_of(part)).mappings().all()
                entries = self._entries(
                    connection, [row["id"] for row in rows if row["history_stored"] is not None]
                )
                for row in rows:
                    user = digests[bytes(row["digest"])]
                    history = None if row["history_stored"] is None else tuple(entries.get(row["id"], ()))
                    taken = self._taken(connection, row["id"], user) if row["has_taken"] else ()
                    found[user] = KnownUser(history, taken, row["user_id"] is None)
        return found

    def find_users(self, query: str, limit: int) -> list[str]:
        with self._connections.to_read() as connection:
            return list(
                connection.scalars(queries.users_like(self.tenant, query, limit, sqlite=self._sqlite))
            )

    def add_feedback(self, *feedback: Feedback) -> int:
        # Users in one order for everybody, so that no two transactions wait for each other.
        digests = {self._digest(entry.user_id): entry.user_id for entry in feedback}
        with self._connections.to_write() as connection:
            owners = {
                digests[digest]: self._lock_user(connection, digest, digests[digest])
                for digest in sorted(digests)
            }
            return sum(
                self._add(connection, owners[entry.user_id][0], entry)
                for entry in feedback
                if owners[entry.user_id][1]
            )

    def feedback(self, user_id: str | None = None, since: float | None = None) -> Iterator[Feedback]:
        query = queries.feedback_of(self.tenant, since)
        if user_id is not None:
            query = query.where(USERS.c.digest == self._digest(user_id))
        return self._feedback_pages(query)

    def histories(self) -> Iterator[StoredHistory]:
        last = 0
        while True:
            with self._connections.to_read() as connection:
                owners = connection.execute(queries.histories_after(self.tenant, last, _PAGE)).all()
                entries = self._entries(connection, [owner for owner, _, _ in owners])
            for owner, user_id, stored in owners:
                yield StoredHistory(user_id, tuple(entries.get(owner, ())), stored)
            if len(owners) < _PAGE:
                return
            last = owners[-1][0]

    def info(self) -> StoreInfo:
        with self._connections.to_read() as connection:
            people = connection.execute(queries.people(self.tenant)).one()
            entries = connection.execute(queries.history_size(self.tenant)).scalar_one()
            counts = {row[0]: row[1] for row in connection.execute(queries.feedback_counts(self.tenant))}
        return StoreInfo(
            url=self.url,
            schema=latest_version(),
            users=people[0],
            forgotten=people[1] - people[0],
            histories=people[2],
            history_entries=entries,
            feedback={kind: counts.get(kind, 0) for kind in FEEDBACK_KINDS},
        )

    def ping(self) -> None:
        with self._connections.to_read() as connection:
            connection.execute(select(SECRET.c.id)).first()

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _digest(self, user_id: str) -> bytes:
        check_text("user_id", user_id)
        name = f"{self.tenant}\0{user_id}" if self.tenant else user_id  # no id holds the separator
        return hmac.digest(self._salt, name.encode(), "sha256")

    def _lock_user(self, connection: Connection, digest: bytes, user_id: str | None) -> tuple[int, bool]:
        """The user's row, made if need be and locked until the end; and whether they are known, not forgotten."""
        row = self._insert(USERS).values(digest=digest, tenant=self.tenant, user_id=user_id)
        connection.execute(row.on_conflict_do_nothing(index_elements=["digest"]))
        query = select(USERS.c.id, USERS.c.user_id).where(USERS.c.digest == digest).with_for_update()
        owner, name = connection.execute(query).one()
        return owner, name is not None

    def _add(self, connection: Connection, owner: int, entry: Feedback) -> int:
        row = self._insert(FEEDBACK).values(
            owner=owner,
            item_id=entry.item_id,
            kind=entry.kind,
            value=entry.value,
            time=entry.time,
            run=entry.run,
            request_id=entry.request_id,
            key=entry.key,
            wish=entry.wish,
        )
        known = row.on_conflict_do_nothing(index_elements=["owner", "key"])
        return connection.execute(known, execution_options={"preserve_rowcount": True}).rowcount

    def _feedback_pages(self, query: Select[Any]) -> Iterator[Feedback]:
        page = query.limit(_PAGE)
        while True:
            with self._connections.to_read() as connection:
                rows = connection.execute(page).mappings().all()
            for row in rows:
                yield _feedback(row)
            if len(rows) < _PAGE:
                return
            after = tuple_(FEEDBACK.c.time, FEEDBACK.c.id) > tuple_(rows[-1]["time"], rows[-1]["id"])
            page = query.where(after).limit(_PAGE)

    def _entries(self, connection: Connection, owners: Sequence[int]) -> dict[int, list[HistoryEntry]]:
        found: dict[int, list[HistoryEntry]] = {}
        for part in _parts(owners):
            for row in connection.execute(queries.entries_of(part)).mappings():
                found.setdefault(row["owner"], []).append(_entry(row))
        return found

    def _taken(self, connection: Connection, owner: int, user_id: str) -> tuple[Feedback, ...]:
        rows = connection.execute(queries.taken_by(owner)).mappings().all()
        return tuple(_feedback({**row, "user_id": user_id}) for row in reversed(rows))


T = TypeVar("T")


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in parts that one statement can name."""
    for start in range(0, len(values), _NAMED):
        yield values[start : start + _NAMED]


def _entry(row: RowMapping) -> HistoryEntry:
    return HistoryEntry(row["item_id"], row["timestamp"], row["rating"])


def _feedback(row: Mapping[Any, Any]) -> Feedback:
    names = ("user_id", "item_id", "kind", "time", "value", "run", "request_id", "key", "wish")
    return Feedback(**{name: row[name] for name in names})
