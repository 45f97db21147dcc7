"""The statements that read users, the same for SQLite and PostgreSQL but for one function's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, exists, func, or_, select

from deeprec.store.base import TAKEN
from deeprec.store.tables import FEEDBACK, HISTORY, USERS

_IS_TAKEN = FEEDBACK.c.kind != "impression"
_HAS_TAKEN = exists().where(FEEDBACK.c.owner == USERS.c.id, _IS_TAKEN).correlate(USERS)


def users_of(digests: Sequence[bytes]) -> Select[Any]:
    """The rows of these users, and whether they took anything."""
    return select(USERS, _HAS_TAKEN.label("has_taken")).where(USERS.c.digest.in_(digests))


def entries_of(owners: Sequence[int]) -> Select[Any]:
    """Their histories, each in its order."""
    return select(HISTORY).where(HISTORY.c.owner.in_(owners)).order_by(HISTORY.c.owner, HISTORY.c.position)


def taken_by(owner: int) -> Select[Any]:
    """A user's latest clicks and ratings, the latest first."""
    query = select(FEEDBACK).where(FEEDBACK.c.owner == owner, _IS_TAKEN)
    return query.order_by(FEEDBACK.c.time.desc(), FEEDBACK.c.id.desc()).limit(TAKEN)


def users_like(tenant: str, text: str, limit: int, *, sqlite: bool) -> Select[Any]:
    """A tenant's ids that hold `text`: the same first, then those that begin with it."""
    place = func.instr(USERS.c.user_id, text) if sqlite else func.strpos(USERS.c.user_id, text)
    return (
        select(USERS.c.user_id)
        .where(USERS.c.tenant == tenant)
        .where(or_(USERS.c.history_stored.is_not(None), _HAS_TAKEN), place > 0)
        .order_by(USERS.c.user_id != text, place != 1, USERS.c.id)
        .limit(limit)
    )


def deleted_among(digests: Sequence[bytes]) -> Select[Any]:
    """Digests of those who were forgotten."""
    return select(USERS.c.digest).where(USERS.c.digest.in_(digests), USERS.c.user_id.is_(None))


def all_deleted(tenant: str) -> Select[Any]:
    """Digests of everybody of a tenant who was forgotten."""
    return select(USERS.c.digest).where(USERS.c.tenant == tenant, USERS.c.user_id.is_(None))


def histories_after(tenant: str, last: int, count: int) -> Select[Any]:
    """A tenant's users with a history, by when they first came, behind the row `last`."""
    return (
        select(USERS.c.id, USERS.c.user_id, USERS.c.history_stored)
        .where(USERS.c.tenant == tenant, USERS.c.history_stored.is_not(None), USERS.c.id > last)
        .order_by(USERS.c.id)
        .limit(count)
    )


def feedback_of(tenant: str, since: float | None) -> Select[Any]:
    """A tenant's feedback, oldest first."""
    query = select(FEEDBACK, USERS.c.user_id).join(USERS).where(USERS.c.tenant == tenant)
    query = query.order_by(FEEDBACK.c.time, FEEDBACK.c.id)
    return query if since is None else query.where(FEEDBACK.c.time >= since)


def people(tenant: str) -> Select[Any]:
    """How many users a tenant has that are not forgotten, how many in all, and how many histories."""
    query: Any = select(func.count(USERS.c.user_id), func.count(), func.count(USERS.c.history_stored))
    found: Select[Any] = query.where(USERS.c.tenant == tenant)
    return found


def history_size(tenant: str) -> Select[Any]:
    """How many entries a tenant's histories have."""
    return select(func.count()).select_from(HISTORY.join(USERS)).where(USERS.c.tenant == tenant)


def feedback_counts(tenant: str) -> Select[Any]:
    """How much feedback of each kind a tenant has."""
    query = select(FEEDBACK.c.kind, func.count()).select_from(FEEDBACK.join(USERS))
    return query.where(USERS.c.tenant == tenant).group_by(FEEDBACK.c.kind)
