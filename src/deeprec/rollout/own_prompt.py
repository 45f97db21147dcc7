"""A prompt of your own: a text with fields, named as `rollout.template = "package.module:name"`."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from string import Formatter

from deeprec.errors import ConfigError
from deeprec.references import load_reference
from deeprec.rollout.tags import TAGS

_VALUES = {"history": "-", "profile": "", "wish": "", "k": 1, "n": 1, "turns": 1}  # to try it with
FIELDS = (*_VALUES, *(f"t.{tag.name}" for tag in fields(TAGS)))


@cache
def load_template(reference: str) -> str:
    """The text; raises ConfigError for one that can't be filled in, or that the protocol can't go on from.

    Its fields are `{history}`, `{profile}` and `{wish}` (a line with its break, or nothing), `{k}` items a
    retrieval, `{n}` of the final list, `{turns}` at most, and the protocol's tags such as `{t.begin_preference}`.
    """
    found, place = load_reference(reference, "rollout.template"), f"rollout.template = '{reference}'"
    if not isinstance(found, str):
        raise ConfigError(f"{place}: is a {type(found).__name__}; name a text with fields")
    try:
        named = [name for _, name, _, _ in Formatter().parse(found) if name is not None]
        unknown = [name for name in named if name not in FIELDS]
        shown = "" if unknown else found.format(t=TAGS, **_VALUES)
    except ValueError as error:
        raise ConfigError(f"{place}: can't be filled in ({error}); write a brace of the text twice") from None
    if unknown:
        raise ConfigError(f"{place}: unknown field {{{unknown[0]}}}; known: {', '.join(FIELDS)}")
    if "history" not in named:
        raise ConfigError(f"{place}: lacks {{history}}; a policy must see what the user had")
    if not shown.endswith(f"{TAGS.begin_think}\n"):
        raise ConfigError(
            f"{place}: must end with {{t.begin_think}} and a line break, which open the response"
        )
    return found
