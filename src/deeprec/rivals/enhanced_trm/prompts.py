"""What the writer is asked, as texts that anybody can read and replace; and how its replies are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from deeprec.data.catalog import LONGEST_TITLE, Catalog, clean_text
from deeprec.errors import ConfigError
from deeprec.settings.rivals import EnhancedTRMConfig
from deeprec.trm.phrases import SEPARATOR, item_phrases
from deeprec.types import Item

HISTORY = 20  # latest items of a history that a prompt shows
_ITEM_FIELDS = ("title", "categories", "year")
_HISTORY_FIELDS = ("history",)
# A pretrained model is asked in words. One line, so that a line break ends every reply.
_ITEM = """\
An item of a catalogue.
Title: {title}
Categories: {categories}
Year: {year}
On a single line, with semicolons between, write one sentence that describes it, then up to eight short attributes \
(themes, mood, setting, style, who likes it).
Description and attributes:"""
_HISTORY = """\
A user had these items, the latest last:
{history}
Name one more item that this user plausibly wants next: its title alone, written as the titles above.
-"""
# The tiny writer has read histories alone: of an item it can say what goes with it.
_TINY_ITEM = "History\n- {title}\n- "
_TINY_HISTORY = "History\n{history}\n- "
_MARKER = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_LABEL = re.compile(r"^(?:description(?: and attributes)?|attributes)\s*:\s*", re.IGNORECASE)
_LONGEST = 300  # characters of a phrase; a longer one is no description but a model that doesn't stop


@dataclass(frozen=True)
class Prompts:
    """The two templates of a writer."""

    item: str
    history: str

    def for_item(self, item: Item) -> str:
        """What is asked about an item; unknown fields say so."""
        categories = clean_text(", ".join(item.categories), LONGEST_TITLE)
        return self.item.format(
            title=item.label,
            categories=categories or "unknown",
            year="unknown" if item.year is None else item.year,
        )

    def for_history(self, items: Sequence[int], catalog: Catalog) -> str:
        """What is asked about a history, oldest first."""
        return self.history.format(history="\n".join(f"- {catalog[item].label}" for item in items))


def build_prompts(config: EnhancedTRMConfig) -> Prompts:
    """Our own templates, or those of the settings; raises ConfigError for a file that is no template."""
    item, history = (_TINY_ITEM, _TINY_HISTORY) if config.model == "tiny" else (_ITEM, _HISTORY)
    if config.item_prompt is not None:
        item = _read(config.item_prompt, "item_prompt", _ITEM_FIELDS)
    if config.history_prompt is not None:
        history = _read(config.history_prompt, "history_prompt", _HISTORY_FIELDS)
    return Prompts(item, history)


def _read(file: str, name: str, fields: Sequence[str]) -> str:
    place = f"rivals.enhanced_trm.{name} = '{file}'"
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8").removesuffix("\n")
        used = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{place}: can't be read as a prompt ({error}); check path and braces") from None
    unknown = sorted(used - set(fields))
    if unknown or fields[0] not in used:
        problem = f"unknown field {{{unknown[0]}}}" if unknown else f"lacks {{{fields[0]}}}"
        known = ", ".join(f"{{{field}}}" for field in fields)
        raise ConfigError(f"{place}: {problem}; fields are {known}, and any other brace is doubled")
    return text


def read_phrases(text: str, item: Item, most: int) -> tuple[str, ...]:
    """The phrases of an item's text that its catalogue entry lacks, in order, `most` of them.

    >>> alien = Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi",), 1979)
    >>> read_phrases(" Attributes: Sci-Fi; a ship adrift;dread ;1979; dread", alien, 8)
    ('a ship adrift', 'dread')
    """
    known = {phrase.casefold() for phrase in (item.label, clean_text(item.title), *item_phrases(item))}
    found = []
    for part in _LABEL.sub("", clean_text(text)).split(SEPARATOR.strip()):
        phrase = _LABEL.sub("", _MARKER.sub("", part).strip()).strip(" .|")
        if not any(character.isalnum() for character in phrase) or len(phrase) > _LONGEST:
            continue
        if phrase.casefold() not in known:
            known.add(phrase.casefold())
            found.append(phrase)
    return tuple(found[:most])


def read_title(text: str, catalog: Catalog) -> int | None:
    """The one item that a written line names, or None. Never a substring match."""
    matches = catalog.search(_MARKER.sub("", text.strip()).strip(' "'))
    return matches[0] if len(matches) == 1 else None
