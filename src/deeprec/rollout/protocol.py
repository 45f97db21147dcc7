"""Prompts, rendered lists, and the parsing of what a policy wrote. No model, no engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.config import RolloutConfig
from deeprec.data.catalog import LONGEST_FACT, LONGEST_TITLE, Catalog, clean_text
from deeprec.rollout.own_prompt import load_template
from deeprec.rollout.tags import TAGS
from deeprec.trm.periods import month_phrase
from deeprec.trm.ranking import MAX_PREFERENCE
from deeprec.types import Example
from deeprec.wishes.text import clean_wish

_NUMBER = re.compile(r"^\s*\d+\s*[.)]\s*")
# Speakers of a chat: a policy that goes on in another's name has left the protocol.
_ROLE = re.compile(
    r"<\|im_start\|>|<\|im_end\|>|<\|endoftext\|>|^\s*(?:user|assistant|system|human)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
# What the instruction shows as an example: whoever copies it has understood nothing of the user.
_PLACEHOLDERS = ("first phrase; second phrase", "title of the best item", "title of the next item")

_FULL = """\
You recommend the next item to a user, and you may explore the catalogue before you decide.

How to explore: reason about what this user may want next, then write a preference, a few short \
phrases joined by semicolons, between {t.begin_preference} and {t.end_preference}, like this: \
{t.begin_preference}first phrase; second phrase{t.end_preference}. A retrieval model answers with \
{k} items from the catalogue between {t.begin_items} and {t.end_items}. Study them, then ask for \
something different; ask at least once and at most {turns} times.

How to answer: when you have seen enough, say in a sentence how you will rank, close your \
reasoning with {t.end_think}, and write exactly {n} titles, the likeliest first, each as it was \
listed and on a numbered line:
{t.begin_list}
1. title of the best item
2. title of the next item
{t.end_list}

{profile}The user's history, oldest first:
{history}
{wish}
{t.begin_think}
"""
_WISH_COMPACT, _WISH = "Wish: ", "What the user wants right now, in their own words: "
_COMPACT = "{profile}History\n{history}\n{wish}{t.begin_think}\n"


def render_prompt(example: Example, catalog: Catalog, config: RolloutConfig) -> str:
    """The prompt for one user; ends with the tag that opens the response.

    Shows the latest `config.history` items, oldest first, with the configured fields
    where the source has them, and the user's wish if there is one. Never reads `example.target`.
    """
    template, wish = template_of(config.template), render_wish(example, config)
    prompt = template.format(
        t=TAGS,
        k=config.retrieved,
        n=config.recommended,
        turns=config.max_retrievals,
        profile=render_profile(example, config),
        history=render_history(example, catalog, config),
        wish=wish,
    )
    if not wish or wish in prompt:
        return prompt
    # A text of one's own that has no place for a wish: in front of the tag that opens the response.
    before, tag, after = prompt.rpartition(TAGS.begin_think)
    return f"{before}{wish}{tag}{after}"


def template_of(name: str) -> str:
    """The text that `rollout.template` names; raises ConfigError for one of your own that can't be used."""
    if name == "compact":
        return _COMPACT
    return _FULL if name == "full" else load_template(name)


def render_profile(example: Example, config: RolloutConfig) -> str:
    """A line about the user with its line break; empty where none is shown or known."""
    if "profile" not in config.prompt_fields:
        return ""
    known = (
        (clean_text(key, LONGEST_FACT), clean_text(value, LONGEST_FACT))
        for key, value in example.profile.items()
    )
    facts = "; ".join(f"{key}: {value}" for key, value in known)
    return f"The user: {facts}\n" if facts else ""


def render_wish(example: Example, config: RolloutConfig) -> str:
    """A line with the user's own words and its line break; empty for who says nothing.

    It is one line of visible text, so that it can be no tag, no role and no other line of the prompt.
    """
    wish = clean_wish(example.wish)
    if not wish:
        return ""
    if config.template == "compact":
        return f"{_WISH_COMPACT}{wish}\n"
    line = f"{_WISH}{wish}\n"
    return f"\n{line}" if config.template == "full" else line


def wishes_in(prompt: str) -> list[str]:
    """The user's own words in a rendered prompt."""
    starts = (_WISH_COMPACT, _WISH)
    return [line.removeprefix(one) for line in prompt.splitlines() for one in starts if line.startswith(one)]


def render_history(example: Example, catalog: Catalog, config: RolloutConfig) -> str:
    """The latest `config.history` items, oldest first, one bulleted line each."""
    shown = range(max(0, len(example.history) - config.history), len(example.history))
    # Bullets, not numbers: a number in a response then means a place in a retrieved list.
    lines = [f"- {_history_line(example, position, catalog, config)}" for position in shown]
    return "\n".join(lines) if lines else "(nothing yet)"


def _history_line(example: Example, position: int, catalog: Catalog, config: RolloutConfig) -> str:
    fields = [field for field in config.prompt_fields if field in ("categories", "year")]
    line = item_line(example.history[position], catalog, fields)
    if "rating" in config.prompt_fields and example.ratings:
        line += f" | {example.ratings[position]:g}"
    if "date" in config.prompt_fields and example.timestamps:
        # To the month: what was new or usual then. Of this user's past, never of the target.
        line += f" | {month_phrase(example.timestamps[position])}"
    return line


def item_line(item_index: int, catalog: Catalog, fields: Sequence[str]) -> str:
    """Label and the wanted fields of an item: `Heat | Action, Crime | 1995`."""
    item = catalog[item_index]
    parts = [item.label]
    if "categories" in fields and item.categories:
        # As long as a title at most: there are shops that take whole descriptions for categories.
        parts.append(clean_text(", ".join(item.categories), LONGEST_TITLE))
    if "year" in fields and item.year is not None:
        parts.append(str(item.year))
    return " | ".join(parts)


def render_items(item_indices: Sequence[int], catalog: Catalog, fields: Sequence[str] = ()) -> str:
    """What the environment writes after a preference: a tagged, numbered list."""
    lines = "\n".join(
        f"{number}. {item_line(item, catalog, fields)}" for number, item in enumerate(item_indices, 1)
    )
    return f"\n{TAGS.begin_items}\n{lines}\n{TAGS.end_items}\n"


def render_ranking(item_indices: Sequence[int], catalog: Catalog) -> str:
    """How a policy should write its final list (used by the warm start's scripts)."""
    lines = "\n".join(f"{number}. {catalog[item].label}" for number, item in enumerate(item_indices, 1))
    return f"{TAGS.begin_list}\n{lines}\n{TAGS.end_list}"


@dataclass(frozen=True, slots=True)
class Exploration:
    """A sampled segment that ends with a preference."""

    thought: str
    preference: str  # stripped, MAX_PREFERENCE characters at most; empty when there is none
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinalList:
    """A sampled segment that ends the response."""

    thought: str
    lines: tuple[str, ...]  # numbers removed, blank lines left out
    errors: tuple[str, ...]


def parse_exploration(text: str) -> Exploration:
    """Split `thought <begin>preference<end>`; what is malformed is named in `errors`."""
    errors = _common_errors(text)
    body = text[: -len(TAGS.end_preference)] if text.endswith(TAGS.end_preference) else text
    thought, begin, preference = body.rpartition(TAGS.begin_preference)
    if not begin:
        return Exploration(body.strip(), "", (*errors, "preference not opened"))
    allowed = {TAGS.begin_preference: 1, TAGS.end_preference: 1}
    errors += _tag_errors(text, allowed)
    preference = preference.strip()
    if len(preference) > MAX_PREFERENCE:
        errors += (f"preference longer than {MAX_PREFERENCE} characters",)
    # The TRM refuses longer text. The policy's mistake is on record; it must not stop a whole batch.
    return Exploration(thought.strip(), preference[:MAX_PREFERENCE], errors)


def parse_list(text: str) -> FinalList:
    """Split `thought </think> <list>...</list>`; what is malformed is named in `errors`.

    Lines are returned even from a malformed segment, as long as one list can be told.
    """
    errors = _common_errors(text)
    errors += _tag_errors(text, {TAGS.end_think: 1, TAGS.begin_list: 1, TAGS.end_list: 1})
    thought, end_think, rest = text.partition(TAGS.end_think)
    if not end_think:
        rest = text
        errors += ("reasoning not closed",)
    elif not thought.strip():
        errors += ("no reasoning before the list",)
    between, begin, body = rest.partition(TAGS.begin_list)
    listed, end, _ = body.partition(TAGS.end_list)
    if not begin or not end:
        return FinalList(thought.strip(), (), (*errors, "no recommendation list"))
    if between.strip():
        errors += ("text between reasoning and list",)
    if any(tag in listed for tag in TAGS.all):
        errors += ("tag inside the list",)
    lines = tuple(_NUMBER.sub("", line, count=1).strip() for line in listed.splitlines() if line.strip())
    return FinalList(thought.strip(), lines, errors)


def _common_errors(text: str) -> tuple[str, ...]:
    errors: tuple[str, ...] = ()
    if _ROLE.search(text):
        errors += ("role name",)
    if any(placeholder in text for placeholder in _PLACEHOLDERS):
        errors += ("placeholder copied from the prompt",)
    return errors


def _tag_errors(text: str, allowed: dict[str, int]) -> tuple[str, ...]:
    counts = {tag: text.count(tag) for tag in TAGS.all}
    return tuple(
        f"{count} x {tag} where {allowed.get(tag, 0)} belong"
        for tag, count in counts.items()
        if count != allowed.get(tag, 0)
    )


def resolve_lines(lines: Sequence[str], catalog: Catalog) -> tuple[int, ...]:
    """Item index of each line, 0 where it is not exactly one item's label."""
    return tuple(catalog.resolve(line) or 0 for line in lines)
