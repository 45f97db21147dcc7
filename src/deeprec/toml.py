"""Settings as TOML text, by a library: every character that a setting may hold reads back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_toml(values: Mapping[str, Any]) -> str:
    """Plain nested values as a TOML document.

    >>> to_toml({"data": {"source": "a\\U0001f600.csv"}})
    '[data]\\nsource = "a\\U0001f600.csv"\\n'
    """
    import tomlkit

    return tomlkit.dumps(dict(values))


def toml_value(value: Any) -> str:
    """One value on one line, as it stands behind `key =` and in `--set`.

    >>> toml_value({"a b": 1.0}), toml_value("x"), toml_value(True)
    ('{"a b" = 1.0}', '"x"', 'true')
    """
    import tomlkit

    if not isinstance(value, Mapping):
        return str(tomlkit.item(value).as_string())
    table = tomlkit.inline_table()
    table.update(value)
    return str(table.as_string())
