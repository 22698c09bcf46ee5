"""`apply`: replaces fields of a recipe by dotted names such as `augmentation.colour_std`. No torch."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from variants.recipes.recipe import Recipe
from variants.values import SpecError


def apply(recipe: Recipe, changes: tuple[tuple[str, Any], ...]) -> Recipe:
    """The recipe with fields replaced: `apply(r, (("lr", 0.02),))`. Unknown fields raise SpecError."""
    for path, new in changes:
        recipe = _put(recipe, path.split("."), path, new)
    return recipe


def _put(item: Any, parts: list[str], path: str, new: Any) -> Any:
    known = [field.name for field in fields(item)] if is_dataclass(item) else []
    name, *rest = parts
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = (
            f"did you mean '{near[0]}'?"
            if near
            else f"there are {', '.join(known) or 'no fields below it'}"
        )
        raise SpecError(f"recipe change {path}: no field '{name}'; {hint}")
    return replace(item, **{name: _put(getattr(item, name), rest, path, new) if rest else new})
