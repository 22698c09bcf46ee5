"""Training recipes: recipe.py defines the type Recipe and its parts, rows.py the recipes by name."""

from __future__ import annotations

from variants.recipes.changes import apply
from variants.recipes.recipe import RecipeRow
from variants.recipes.rows import ROWS

__all__ = ["RECIPES", "apply"]

RECIPES: dict[str, RecipeRow] = {row.recipe.name: row for row in ROWS}
