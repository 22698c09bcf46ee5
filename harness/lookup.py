"""Looks up variants and recipes by name, with those of installed packages, or by the path of an object.

Loads neither torch nor pydantic, since `show` and `diff` use it.
"""

from __future__ import annotations

from typing import Any

from harness.errors import UsageError, unknown
from variants.catalog import CATALOG, Variant, own
from variants.plugins import is_path, load, register
from variants.recipes import RECIPES
from variants.recipes.recipe import RecipeRow


def variant_named(name: str) -> Variant:
    """The row of a name, or of a path such as `package.module:NAME`.

    Raises UsageError with a suggestion; SpecError where a path or an installed package is wrong.
    """
    register()
    if is_path(name):
        return own(_load(name, Variant))
    if name not in CATALOG:
        raise unknown("variant", name, CATALOG, "python -m harness list")
    return CATALOG[name]


def recipe_named(name: str) -> RecipeRow:
    """As variant_named, for recipes."""
    register()
    if is_path(name):
        row: RecipeRow = _load(name, RecipeRow)
        return row
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "python -m harness list --recipes")
    return RECIPES[name]


def _load(path: str, kind: type[Any]) -> Any:
    found = load(path)
    if not isinstance(found, kind):
        raise UsageError(f"'{path}' is a {type(found).__name__}; a {kind.__name__} is needed here")
    return found
