"""Who the users are, and what they had: the store's word first, then the data set's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

from deeprec.data.dataset import Dataset
from deeprec.errors import StoreUnavailable
from deeprec.serve.bodies import HistoryGiven, HistoryItem, ItemSent, UserGiven
from deeprec.serve.gathering import Gathering
from deeprec.serve.ids import IdSearch
from deeprec.serve.problems import Problem, wrong_field
from deeprec.serve.titles import TitleSearch
from deeprec.store import HistoryEntry, KnownUser, Store, open_store
from deeprec.store.merging import merge
from deeprec.types import Example

ANONYMOUS = "(history)"  # the user id of a history that came with a request
_CHECKED = 500  # users of the data that are asked about at once


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

    @property
    def opened(self) -> Store | None:
        """The store, if it was opened already."""
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
    """Users of one run, each of a tenant: those of the data set are the first tenant's, whose name is empty."""

    def __init__(self, dataset: Dataset, titles: TitleSearch, door: StoreDoor) -> None:
        self._dataset, self._titles, self._door = dataset, titles, door
        ids = dataset.user_ids
        self._ids, self._search = frozenset(ids), IdSearch(ids)
        self._asked = Gathering(self._examples, common=(StoreUnavailable,))

    def entries(self, user_id: str, tenant: str = "") -> Sequence[HistoryEntry]:
        """A user's history, with what they took since. Raises Problem (404) for one of whom nothing is known."""
        known = self._store(tenant).known([user_id]).get(user_id, KnownUser())
        found = self._merged(user_id, tenant, known)
        if found is None:
            raise Problem(
                404,
                f"no user is called '{user_id[:80]}'; /v1/users?query=NAME finds users, "
                "PUT /v1/users/NAME/history makes one",
            )
        return found

    async def example(self, user_id: str, tenant: str = "") -> Example:
        """What is known of a user, as a policy is asked: nothing, for a stranger or one who was forgotten.

        Items that the catalogue lacks are left out.
        """
        return await self._asked.ask((user_id, tenant))

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

    def put(self, user_id: str, entries: Sequence[HistoryEntry], tenant: str = "") -> None:
        """Replace a user's history."""
        self._store(tenant).put_history(user_id, entries)

    def delete(self, user_id: str, tenant: str = "") -> None:
        """Forget a user. Raises Problem (404) for one whom nobody knows; deleting again is no error."""
        store = self._store(tenant)
        known = self._is_of_data(user_id, tenant) or store.is_deleted(user_id)
        # A stranger is not looked for by forgetting them: their hash would remain.
        if not known and user_id not in store.known([user_id]):
            raise Problem(404, f"no user is called '{user_id[:80]}', so there is nothing to delete")
        store.delete_user(user_id)

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

    def find(self, query: str, limit: int, tenant: str = "") -> list[UserGiven]:
        """A tenant's users whose id holds `query`: the same one first, then those that begin with it."""
        store = self._store(tenant)
        found = dict.fromkeys([*self._of_data(query, limit, store), *store.find_users(query, limit)])
        best = sorted(found, key=lambda user: (user != query, not user.startswith(query)))[:limit]  # stable
        known = store.known(best)
        return [
            UserGiven(user_id=user, interactions=len(self._merged(user, tenant, known.get(user)) or ()))
            for user in best
        ]

    def _of_data(self, query: str, limit: int, store: Store) -> list[str]:
        """The first users of the data set that match and were not forgotten."""
        found: list[str] = []
        matching = iter(()) if store.tenant else self._search.find(query)
        while len(found) < limit and (part := list(islice(matching, max(limit, _CHECKED)))):
            gone = store.deleted(part)
            found += [user for user in part if user not in gone]
        return found[:limit]

    def _store(self, tenant: str) -> Store:
        return self._door.open().of(tenant)

    def _is_of_data(self, user_id: str, tenant: str) -> bool:
        return not tenant and user_id in self._ids

    def _merged(self, user_id: str, tenant: str, known: KnownUser | None) -> Sequence[HistoryEntry] | None:
        """A user's history and what they took; None where neither is known."""
        known = known or KnownUser()
        history: Sequence[HistoryEntry] | None = known.history
        if history is None and self._is_of_data(user_id, tenant) and not known.is_deleted:
            history = self._data_entries(user_id)
        if not known.taken:
            return history
        entries = history or ()
        timed = all(entry.timestamp is not None for entry in entries)
        return merge(entries, known.taken, self._dataset.allow_repeats, timed)

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

    def _examples(self, asked: Sequence[tuple[str, str]]) -> list[Example | Exception]:
        """In a thread, for all who wait; a store that can't be reached is waited for once."""
        names: dict[str, list[str]] = {}
        for user_id, tenant in asked:
            names.setdefault(tenant, []).append(user_id)
        known = {tenant: self._store(tenant).known(users) for tenant, users in names.items()}
        return [
            self._example(user_id, self._merged(user_id, tenant, known[tenant].get(user_id)) or (), tenant)
            for user_id, tenant in asked
        ]

    def _example(self, user_id: str, entries: Sequence[HistoryEntry], tenant: str = "") -> Example:
        known = [(self._dataset.catalog.index_of(entry.item_id), entry) for entry in entries]
        kept = [(index, entry) for index, entry in known if index is not None]
        if not self._dataset.allow_repeats:  # the first of several counts, as where data are prepared
            firsts: dict[int, HistoryEntry] = {}
            for index, entry in kept:
                firsts.setdefault(index, entry)
            kept = list(firsts.items())
        ratings = [entry.rating for _, entry in kept if entry.rating is not None]
        times = [entry.timestamp for _, entry in kept if entry.timestamp is not None]
        return Example(
            user_id,
            tuple(index for index, _ in kept),
            ratings=tuple(ratings) if len(ratings) == len(kept) else (),  # parallel to the items, or nothing
            timestamps=tuple(times) if len(times) == len(kept) else (),
            profile=self._dataset.known_history(user_id).profile if self._is_of_data(user_id, tenant) else {},
        )

    def _title(self, item_id: str) -> str | None:
        index = self._dataset.catalog.index_of(item_id)
        return None if index is None else self._dataset.catalog[index].label
