"""The option `--set lr=0.02`: replaces fields of a recipe by name, checks their types, and suggests
names.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.serialization import to_plain
from variants.recipes.recipe import Recipe
from variants.values import SpecError

EXAMPLES = "--set lr=0.02, --set augmentation.colour_std=0, --set schedule.at_epochs=[30,60]"


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with the fields of `settings` ("lr=0.02") replaced, in order. Raises UsageError for a
    wrong setting.

    A value is JSON (0.02, true, null, [30, 60], {"kind": "linear"}); anything else is a string (bf16).
    """
    plain = to_plain(recipe)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UsageError(f"--set {setting}: use FIELD=VALUE, such as {EXAMPLES}")
        _put(plain, path.strip().split("."), _value(text.strip()), setting)
    try:
        return TypeAdapter(Recipe).validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{_which(settings, first['loc'])}: {first['msg'].removeprefix('Value error, ')}"
        ) from error
    except SpecError as error:
        raise UsageError(f"--set {', '.join(settings)}: {error}") from error


def label(settings: Sequence[str]) -> str:
    """The settings as text for titles: `lr 0.02, epochs 5`."""
    return ", ".join(setting.replace("=", " ", 1) for setting in settings)


def _put(item: Any, parts: list[str], new: Any, setting: str) -> None:
    *above, last = parts
    for part in above:
        item = _below(item, part, setting)
    _below(item, last, setting)
    item[last] = new


def _below(item: Any, name: str, setting: str) -> Any:
    known = [field for field in item if field != "name"] if isinstance(item, dict) else []
    if name in known:
        return item[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"there are {', '.join(known) or 'no fields below it'}"
    )
    raise UsageError(f"--set {setting}: the recipe has no field '{name}' there; {hint}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _which(settings: Sequence[str], place: tuple[int | str, ...]) -> str:
    """The setting that caused the error at `place`; all settings if none can be found."""
    dotted = ".".join(str(part) for part in place)
    found = [one for one in settings if dotted.startswith(one.partition("=")[0].strip())]
    return f"--set {found[-1] if found else ', '.join(settings)}"
