"""Kinds of values in bodies and queries, each with its limits; and what every body is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from deeprec.data.times import check_seconds
from deeprec.errors import DataError
from deeprec.store.base import ID_LENGTH, KEY_LENGTH, RATING_LIMIT
from deeprec.texts import fault_of, is_blank
from deeprec.wishes.text import LONGEST_WISH

_KEYS = 20  # of an object: more than any has
_LARGEST = 2**31  # of a count: what it may be in earnest is a setting


def _kept(text: str) -> str:
    """Text that can be an id: what no database keeps is none here either."""
    fault = fault_of(text, len(text))
    if fault is not None:
        raise PydanticCustomError("text", "{fault}", {"fault": fault})
    return text


def _searched(text: str) -> str:
    """What to look for, or a wish: as an id, but it may be empty."""
    return "" if is_blank(text) else _kept(text)


def _plausible(seconds: float) -> float:
    try:
        check_seconds(seconds)
    except DataError as error:
        raise PydanticCustomError("time", "{told}", {"told": str(error)}) from None
    return seconds


Id = Annotated[str, Field(min_length=1, max_length=ID_LENGTH), AfterValidator(_kept)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_LENGTH), AfterValidator(_kept)]
Title = Annotated[str, Field(min_length=1), AfterValidator(_kept)]
# In a body a number is a number: neither text nor true and false. A query holds text alone.
Rating = Annotated[float, Field(strict=True, ge=-RATING_LIMIT, le=RATING_LIMIT)]
Seconds = Annotated[
    float,
    Field(strict=True, ge=0, description="Seconds since 1970, ten years from now at most."),
    AfterValidator(_plausible),
]
Count = Annotated[int, Field(strict=True, ge=1, le=_LARGEST)]
Place = Annotated[int, Field(ge=0, le=_LARGEST)]
Searched = Annotated[str, Field(max_length=ID_LENGTH), AfterValidator(_searched)]
Wish = Annotated[
    str,
    Field(
        max_length=LONGEST_WISH, description="What the user wants now, in their own words; empty: nothing."
    ),
    AfterValidator(_searched),
]
Name = Annotated[str, Field(min_length=1, max_length=ID_LENGTH)]


class Sent(BaseModel):
    """A body or query: no other keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any) -> Any:
        """One error for an object of thousands of keys, in place of thousands."""
        if isinstance(value, dict) and len(value) > _KEYS:
            raise PydanticCustomError(
                "keys", "holds {count} keys; send those described", {"count": len(value)}
            )
        return value


class Given(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(extra="forbid")
