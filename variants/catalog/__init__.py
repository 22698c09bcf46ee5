"""The catalogue: every AlexNet by name, one file for each family of rows. Read paper.py first.

A row has a name, a network that differs from a base, the claim that it tests, and its source. "The
article" is a web article about AlexNet; `python -m harness article` lists its 67 claims.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from variants.catalog.article import ARTICLE_ROWS
from variants.catalog.cifar import CIFAR_ROWS
from variants.catalog.code_2012 import CODE_ROWS
from variants.catalog.derivatives import DERIVATIVE_ROWS
from variants.catalog.ingredients import INGREDIENT_ROWS
from variants.catalog.paper import PAPER, PAPER_ROWS
from variants.catalog.row import Family, Variant
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Recipe
from variants.values import SpecError

__all__ = ["CATALOG", "PAPER", "Variant", "get", "names", "native_recipe", "own"]

# Titles, for documents, and rows
FAMILIES: dict[Family, tuple[str, tuple[Variant, ...]]] = {
    "paper": ("The paper's network and its deltas", PAPER_ROWS),
    "code_2012": ("The 2012 code and its runs", CODE_ROWS),
    "derivative": ("Derivatives", DERIVATIVE_ROWS),
    "cifar": ("CIFAR-10 networks", CIFAR_ROWS),
    "article": ("The article's network and its ingredients", (*ARTICLE_ROWS, *INGREDIENT_ROWS)),
}

CATALOG: dict[str, Variant] = {row.name: row for _, rows in FAMILIES.values() for row in rows}


def own(row: Variant) -> Variant:
    """A row of another package, such as `package.module:NAME`.

    Raises SpecError if the project has its name.
    """
    known = CATALOG.get(row.name)
    if known is not None and known.family != "own":
        raise SpecError(f"variant '{row.name}': there is a row of this name; choose another name")
    return replace(row, family="own")


def get(name: str) -> Variant:
    """The row of that name; KeyError where there is none."""
    return CATALOG[name]


def names(pattern: str | None = None) -> list[str]:
    """Names of all rows, or of those that match a shell pattern such as `code_*`, in the catalogue's
    order.
    """
    return [name for name in CATALOG if pattern is None or fnmatchcase(name, pattern)]


def native_recipe(row: Variant) -> Recipe:
    """The recipe that the row was published with, the row's own changes applied."""
    return apply(RECIPES[row.recipe].recipe, row.recipe_changes)
