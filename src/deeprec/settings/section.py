"""What every group of settings is made of."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from deeprec.settings.effect import Effect

# numpy and scikit-learn take no larger ones.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

# Settings that are whole values: a partial one replaces the default, entry by entry nothing is merged.
WHOLE = frozenset({"weights", "columns", "item_columns", "user_columns", "collapse"})


class Setting(NamedTuple):
    """One setting: its dotted name, how it is defined, and what it changes."""

    path: str
    field: FieldInfo
    effects: tuple[Effect, ...]


class Section(BaseModel):
    """A frozen group of settings that knows no other keys, and no infinite numbers.

    Each setting says what it changes: `Annotated[int, SPEED] = Field(...)`, several effects one after
    the other. Those that don't have the `effect` of their section.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
    effect: ClassVar[Effect | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError for a setting whose effect nobody has declared."""
        super().__pydantic_init_subclass__(**options)
        for setting in cls.settings():
            if not setting.effects:
                raise TypeError(
                    f"{cls.__name__}.{setting.path}: say what it changes, such as Annotated[int, SPEED] "
                    "(deeprec/settings/effect.py)"
                )

    @classmethod
    @cache
    def settings(cls) -> tuple[Setting, ...]:
        """Every setting within, in order."""
        found: list[Setting] = []
        for name, field in cls.model_fields.items():
            inner = _subsection(field)
            if inner is None:
                own = tuple(entry for entry in field.metadata if isinstance(entry, Effect))
                common = () if cls.effect is None else (cls.effect,)
                found.append(Setting(name, field, own or common))
            else:
                found += [one._replace(path=f"{name}.{one.path}") for one in inner.settings()]
        return tuple(found)


def _subsection(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, if it isn't a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
