"""Whose column is which: our names, the user's mapping, and what a name usually means."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol

from deeprec.data.parsing.table import Head
from deeprec.errors import DataError

Role = Literal["interactions", "items", "users"]

OURS = ("user_id", "item_id", "timestamp", "rating", "title", "categories", "year")
SETTINGS: dict[Role, str] = {
    "interactions": "data.columns",
    "items": "data.item_columns",
    "users": "data.user_columns",
}
HEADERS: dict[Role, str] = {
    "interactions": "data.header",
    "items": "data.item_header",
    "users": "data.user_header",
}
# Words that people call our columns by, the likeliest first; compared without case, accents, spaces and signs.
_USUAL: dict[str, tuple[str, ...]] = {
    "user_id": (
        "user", "customer", "reviewer", "member", "visitor", "client", "buyer", "account", "patron", "listener",
        "kunde", "kunden", "nutzer", "benutzer", "besucher", "mitglied", "kaeufer", "käufer", "usuario", "cliente",
        "utilisateur", "person", "session", "uid", "utente", "usuário", "gebruiker", "klant", "пользователь",
        "покупатель", "клиент", "用户", "会员", "顾客", "客户", "ユーザー", "ユーザ", "会員", "顧客",
    ),
    "item_id": (
        "item", "product", "sku", "asin", "article", "movie", "film", "book", "isbn", "song", "track", "artist",
        "game", "app", "business", "news", "video", "course", "recipe", "restaurant", "stockcode", "artikel",
        "produkt", "ware", "buch", "spiel", "producto", "produit", "prodotto", "ean", "gtin", "iid", "pid", "mid",
        "artículo", "libro", "película", "articolo", "produto", "livre", "товар", "фильм", "книга", "商品", "物品",
        "产品", "电影", "图书", "映画", "作品",
    ),
    "timestamp": (
        "timestamp", "time", "datetime", "date", "unixreviewtime", "when", "ts", "created", "ordered", "bought",
        "purchased", "clicked", "viewed", "zeit", "zeitpunkt", "zeitstempel", "datum", "bestellt", "bestelldatum",
        "kaufdatum", "gekauft", "fecha", "jour", "day", "data", "дата", "время", "时间", "时间戳", "日期", "购买时间",
        "日時", "日付", "時間",
    ),
    "rating": (
        "rating", "stars", "score", "overall", "grade", "bewertung", "sterne", "wertung", "note", "puntuacion", "voto",
        "nota", "avaliação", "оценка", "рейтинг", "评分", "打分", "星级", "評価",
    ),
    "title": (
        "title", "name", "label", "titel", "bezeichnung", "artikelname", "produktname", "productname", "itemname",
        "nombre", "nom", "description", "beschreibung", "título", "titolo", "titre", "nome", "naam", "название",
        "наименование", "标题", "名称", "商品名称", "书名", "电影名", "片名", "タイトル", "商品名", "題名",
    ),
    "categories": (
        "categories", "category", "genres", "genre", "tags", "class", "department", "kategorie", "kategorien",
        "warengruppe", "rubrik", "categoria", "categorie", "topic", "genere", "категория", "жанр", "类别", "类型",
        "分类", "标签", "カテゴリ", "カテゴリー", "ジャンル",
    ),
    "year": (
        "year", "jahr", "released", "releasedate", "published", "erscheinungsjahr", "annee", "ano", "anno", "год",
        "年份",
    ),
}  # fmt: skip
_OF_IDS = ("id", "nr", "no", "nummer", "number", "code", "编号", "番号")


class ColumnFinder(Protocol):
    """Says what a file calls our columns."""

    def find(self, name: str, head: Head, needed: bool) -> str | None:
        """The file's name of our column `name`; None where it has none and needs none."""
        ...


@dataclass(frozen=True, slots=True)
class FileColumns:
    """What columns of one file are called: its own mapping first, then the one of all files."""

    role: Role
    own: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str, head: Head, needed: bool) -> str | None:
        """The file's name of our column `name`; None where it has none and needs none.

        A name that the mapping of all files has, but this file lacks, leaves ours. Raises
        DataError naming the nearest column where one is missing.
        """
        theirs = self.own.get(name, self.shared.get(name, name))
        if theirs in head.names:
            return theirs
        if name not in self.own and name in head.names:
            return name
        if not needed and name not in self.own and name not in self.shared:
            return None
        raise DataError(self._missing(name, theirs, head))

    def _missing(self, name: str, theirs: str, head: Head) -> str:
        near = difflib.get_close_matches(theirs, head.names, n=1)
        guessed = near[0] if near else guess_columns(head.names, (name,)).get(name)
        hint = f"did you mean '{guessed}'?" if guessed else f"the file has: {', '.join(head.names)}."
        setting = f'{SETTINGS[self.role]} = {{{name} = "{guessed or "..."}"}}'
        if head.is_text and looks_like_a_row(head.names):
            return (
                f"{head.place}: no column '{theirs}'; its first line ({', '.join(head.names)[:60]}) looks like a row: "
                f'if it has no line of column names, give them with {HEADERS[self.role]} = ["user_id", ...]'
            )
        cut = (
            " or say what cuts the lines with data.delimiter"
            if head.is_text and len(head.names) == 1 and not head.kind.startswith("JSON")
            else ""
        )
        return f"{head.place}: no column '{theirs}'; {hint} Map it with {setting}{cut}"


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """Columns of a known format: the names that its editions use, the first that is there; the user's mapping wins."""

    names: Mapping[str, Sequence[str]]
    mapped: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str, head: Head, needed: bool) -> str | None:
        """See `ColumnFinder`; raises DataError naming what was looked for."""
        usual = (self.mapped[name],) if name in self.mapped else self.names.get(name, ())
        found = next((theirs for theirs in usual if theirs in head.names), None)
        if found is None and (needed or name in self.mapped):
            near = difflib.get_close_matches(usual[0] if usual else name, head.names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "is it another file?"
            looked = " or ".join(f"'{theirs}'" for theirs in usual or (name,))
            raise DataError(
                f"{head.place}: no column {looked} (found: {', '.join(head.names)}); {hint} A column that is called "
                f'otherwise is named with data.columns = {{{name} = "..."}}'
            )
        return found


def check_names(columns: Mapping[str, str], setting: str) -> None:
    """Raise DataError for a mapping of a column that we do not know."""
    for name in columns:
        if name not in OURS:
            near = difflib.get_close_matches(name, OURS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(OURS)}"
            raise DataError(f"{setting}: unknown column '{name}'; {hint}")


def guess_columns(names: Sequence[str], wanted: Sequence[str] = OURS) -> dict[str, str]:
    """Our column -> the file's, where a name says what it is. Each of theirs is used once.

    A plain `id` is the first id that is wanted, where no other column is it: in an item file the item's.

    >>> guess_columns(["Kunde", "Artikel-Nr", "Name", "Gekauft am"])
    {'user_id': 'Kunde', 'item_id': 'Artikel-Nr', 'timestamp': 'Gekauft am', 'title': 'Name'}
    """
    scores = {
        (ours, theirs): score for ours in wanted for theirs in names if (score := _score(ours, theirs)) > 0
    }
    found: dict[str, str] = {}
    for ours, theirs in sorted(scores, key=lambda pair: -scores[pair]):
        if ours not in found and theirs not in found.values():
            found[ours] = theirs
    free = (name for name in names if name.casefold().strip("_") == "id" and name not in found.values())
    if wanted and wanted[0].endswith("_id") and (plain := next(free, None)):
        found.setdefault(wanted[0], plain)
    return {ours: found[ours] for ours in wanted if ours in found}


def looks_like_a_row(names: Sequence[str]) -> bool:
    """Whether a first line holds values, not column names: a number among them, or the same word twice.

    Where two words say which columns they are, another one that stands twice is a mistake in the names.
    """
    filled = [name for name in names if name]
    if any(re.fullmatch(r"[+-]?\d+([.,:/-]\d+)*", name) for name in filled):
        return True
    return len(set(filled)) < len(filled) and len(guess_columns(filled)) < 2


def _score(ours: str, theirs: str) -> float:
    """How surely a column is ours: its whole name counts most, then words in it, likely ones before others."""
    plain = re.sub(r"[\W_]+", "", _folded(theirs))
    if plain == ours.replace("_", ""):
        return 10
    words = [_folded(word) for word in re.findall(r"[A-ZÄÖÜ]?[^\W\d_A-ZÄÖÜ]+|[A-ZÄÖÜ]+(?![a-zäöü])", theirs)]
    is_id = ours.endswith("_id")
    if ours != "user_id" and set(words) & set(_usual("user_id")):
        return 0  # a customer's name is no title
    for place, word in enumerate(_usual(ours)):
        rank = 1 - place / 100
        ids = (*(word + end for end in _OF_IDS), "parent" + word)
        if plain == word or (is_id and plain in ids):
            return 8 + rank
        if word in words or (len(word) > 4 and plain.startswith(word)):
            return 4 + rank + (1 if is_id and set(_OF_IDS) & set(words) else 0)
        if len(word) > 4 and plain.endswith(word):  # as German puts words together: Bestellzeitpunkt
            return 3 + rank
    return 0


@cache
def _usual(ours: str) -> tuple[str, ...]:
    return tuple(_folded(word) for word in _USUAL[ours])


def _folded(text: str) -> str:
    """Without case and accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))
