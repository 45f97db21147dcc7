"""The protocol's tags. No other file spells one."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Tags:
    """What separates the parts of a response (paper section 3)."""

    begin_preference: str = "<|begin_of_preference|>"
    end_preference: str = "<|end_of_preference|>"
    begin_items: str = "<|begin_of_item_list|>"
    end_items: str = "<|end_of_item_list|>"
    begin_think: str = "<think>"
    end_think: str = "</think>"
    begin_list: str = "<recommendation_list>"
    end_list: str = "</recommendation_list>"

    @property
    def all(self) -> tuple[str, ...]:
        """Every tag, in a fixed order."""
        return tuple(
            getattr(self, field.name) for field in fields(self)
        )  # `astuple` copies deeply: 30 times slower


TAGS = Tags()
