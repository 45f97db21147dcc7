"""Who the users are, and what they had: the store's word first, then the data set's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

from deeprec.data.dataset import Dataset
from deeprec.errors import StoreUnavailable
from deeprec.serve.bodies import HistoryGiven, HistoryItem, ItemSent, UserGiven
from deeprec.serve.gathering import Gathering
from deeprec.serve.problems import Problem, wrong_field
from deeprec.serve.titles import TitleSearch
from deeprec.store import HistoryEntry, Store, open_store
from deeprec.types import Example

ANONYMOUS = "(history)"  # the user id of a history that came with a request


class StoreDoor:
    """A store that is opened when it is needed first: the service also starts while it is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._store: Store | None = None

    def open(self) -> Store:
        """The store. Raises StoreUnavailable as long as it can't be reached."""
        if self._store is None:
            with self._lock:
                if self._store is None:
                    self._store = open_store(self._url)
        return self._store

    def try_open(self) -> StoreUnavailable | None:
        """Open it now if it is there; StoreError for one that can never be used."""
        try:
            self.open()
        except StoreUnavailable as error:
            return error
        return None

    def close(self) -> None:
        """Give up its connections, if it was ever opened."""
        if self._store is not None:
            self._store.close()


class Users:
    """Users of one run's data and of the store."""

    def __init__(self, dataset: Dataset, titles: TitleSearch, door: StoreDoor) -> None:
        self._dataset, self._titles, self._door = dataset, titles, door
        self._known = dict.fromkeys(dataset.user_ids)
        self._asked = Gathering(self._examples)

    def entries(self, user_id: str) -> Sequence[HistoryEntry]:
        """A user's history. Raises Problem (404) for a user whom neither knows, or who was deleted."""
        store = self._door.open()
        stored = store.history(user_id)
        if stored is not None:
            return stored
        if user_id not in self._known or store.is_deleted(user_id):
            raise Problem(
                404,
                f"no user is called '{user_id[:80]}'; /v1/users?query=NAME finds users, "
                "PUT /v1/users/NAME/history makes one",
            )
        return self._data_entries(user_id)

    async def example(self, user_id: str) -> Example:
        """What is known of a user, as a policy is asked; items that the catalogue lacks are left out."""
        return await self._asked.ask(user_id)

    def anonymous(self, items: Sequence[ItemSent], field: str = "history") -> Example:
        """The history that came with a request. No store is asked."""
        return self._example(ANONYMOUS, self.resolve(items, field))

    def resolve(self, items: Sequence[ItemSent], field: str = "history") -> list[HistoryEntry]:
        """Each item that was sent by its id. Raises Problem where one can't be told, or time goes back."""
        entries: list[HistoryEntry] = []
        latest = 0.0
        for place, sent in enumerate(items):
            index = self._titles.resolve(f"{field}.{place}", sent.item_id, sent.title)
            if sent.timestamp is not None:
                if sent.timestamp < latest:
                    raise wrong_field(
                        f"{field}.{place}.timestamp",
                        sent.timestamp,
                        "goes back in time; put the oldest first",
                    )
                latest = sent.timestamp
            entries.append(HistoryEntry(self._dataset.catalog[index].item_id, sent.timestamp, sent.rating))
        return entries

    def put(self, user_id: str, entries: Sequence[HistoryEntry]) -> None:
        """Replace a user's history."""
        self._door.open().put_history(user_id, entries)

    def delete(self, user_id: str) -> None:
        """Forget a user. Raises Problem (404) for one whom nobody knows; deleting again is no error."""
        store = self._door.open()
        known = user_id in self._known or store.is_deleted(user_id)
        if not store.delete_user(user_id) and not known:
            raise Problem(404, f"no user is called '{user_id[:80]}', so there is nothing to delete")

    def given(self, user_id: str, entries: Sequence[HistoryEntry]) -> HistoryGiven:
        """A history as clients get it."""
        return HistoryGiven(
            user_id=user_id,
            history=[
                HistoryItem(
                    item_id=entry.item_id,
                    title=self._title(entry.item_id),
                    timestamp=entry.timestamp,
                    rating=entry.rating,
                )
                for entry in entries
            ],
        )

    def find(self, query: str, limit: int) -> list[UserGiven]:
        """Users whose id holds `query`, the same one first; those of the data, then the store's own."""
        store = self._door.open()
        matching = [user for user in self._known if query in user]
        matching.sort(key=lambda user: (user != query, not user.startswith(query)))  # stable
        found: list[UserGiven] = []
        while matching and len(found) < limit:
            part, matching = matching[:limit], matching[limit:]
            gone = store.deleted(part)
            for user in part:
                stored = store.history(user)
                if stored is None and user in gone:
                    continue
                count = len(self._dataset.known_history(user).history) if stored is None else len(stored)
                found.append(UserGiven(user_id=user, interactions=count))
        own = (
            UserGiven(user_id=history.user_id, interactions=len(history.entries))
            for history in store.histories()
            if query in history.user_id and history.user_id not in self._known
        )
        return [*found[:limit], *islice(own, max(0, limit - len(found)))]

    def _data_entries(self, user_id: str) -> list[HistoryEntry]:
        known = self._dataset.known_history(user_id)
        count = len(known.history)
        return [
            HistoryEntry(self._dataset.catalog[item].item_id, timestamp, rating)
            for item, timestamp, rating in zip(
                known.history,
                known.timestamps or (None,) * count,
                known.ratings or (None,) * count,
                strict=True,
            )
        ]

    def _examples(self, user_ids: Sequence[str]) -> list[Example | Exception]:
        """In a thread, for all who wait; a store that can't be reached is waited for once."""
        found: list[Example | Exception] = []
        for user_id in user_ids:
            try:
                found.append(self._example(user_id, self.entries(user_id)))
            except Problem as problem:
                found.append(problem)
        return found

    def _example(self, user_id: str, entries: Sequence[HistoryEntry]) -> Example:
        known = [(self._dataset.catalog.index_of(entry.item_id), entry) for entry in entries]
        kept = [(index, entry) for index, entry in known if index is not None]
        ratings = [entry.rating for _, entry in kept if entry.rating is not None]
        times = [entry.timestamp for _, entry in kept if entry.timestamp is not None]
        return Example(
            user_id,
            tuple(index for index, _ in kept),
            ratings=tuple(ratings) if len(ratings) == len(kept) else (),  # parallel to the items, or nothing
            timestamps=tuple(times) if len(times) == len(kept) else (),
            profile=self._dataset.known_history(user_id).profile if user_id in self._known else {},
        )

    def _title(self, item_id: str) -> str | None:
        index = self._dataset.catalog.index_of(item_id)
        return None if index is None else self._dataset.catalog[index].label
