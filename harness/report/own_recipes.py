"""Published differences between networks trained with different recipes, and the runs that can decide
them.

An example is torchvision's net against the 2012 net: both network and recipe differ. Runs of both
networks with one recipe measure something else. Such a claim needs runs of each side with its published
recipe, and these are in two settings. Recipes are compared by their contents, so a changed recipe of
the same name does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.records.store import RunRecord
from harness.report.setting import Setting
from variants.catalog import CATALOG, native_recipe
from variants.recipes.recipe import Evaluation, Recipe

Runs = Mapping[int, RunRecord]
Sides = tuple[tuple[str, str], tuple[str, str]]  # (variant, name of its recipe) of either side


def recipe_obstacle(sides: Sides, setting: Setting) -> str | None:
    """Why the runs of `setting` can't decide a difference between these sides, as a clause; None if
    they can.
    """
    (_, recipe), (_, versus_recipe) = sides
    if recipe == versus_recipe:
        return None
    foreign = [name for variant, name in sides if _published_recipe(variant, name) is None]
    if foreign:
        return f"published with a recipe that the harness does not have ({', '.join(foreign)})"
    if all(_as_published(setting.runs.get(variant, {}), variant, name) for variant, name in sides):
        return None
    return f"published with different recipes ({recipe}, {versus_recipe}); these runs used one recipe"


def pairs(sides: Sides, settings: Sequence[Setting]) -> Iterator[Setting]:
    """Settings combined from two: each side's runs with its own recipe, on equal images, geometry,
    device, precision.
    """
    (variant, recipe), (versus, versus_recipe) = sides
    if recipe == versus_recipe:
        return
    for ours in settings:
        for theirs in settings:
            left, right = ours.runs.get(variant, {}), theirs.runs.get(versus, {})
            comparable = ours is not theirs and _conditions(ours) == _conditions(theirs)
            if (
                comparable
                and _as_published(left, variant, recipe)
                and _as_published(right, versus, versus_recipe)
            ):
                yield Setting(key=ours.key, runs={variant: left, versus: right}, base=versus)


def _conditions(setting: Setting) -> tuple[object, ...]:
    """What must be equal on both sides; store_size belongs to the recipe."""
    key = setting.key
    return replace(key.data, store_size=0), key.geometry, key.device, key.precision


def _as_published(runs: Runs, variant: str, recipe: str) -> bool:
    published = _published_recipe(variant, recipe)
    return bool(runs) and all(_training(run.spec.recipe) == published for run in runs.values())


def _published_recipe(variant: str, recipe: str) -> Recipe | None:
    """The contents of the recipe that the side was published with; None if it is not one of ours."""
    row = CATALOG.get(variant)
    return _training(native_recipe(row)) if row is not None and row.recipe == recipe else None


def _training(recipe: Recipe) -> Recipe:
    """The recipe without its name and its evaluation, which the claim's protocol determines."""
    return replace(recipe, name="", evaluation=Evaluation())
