"""From the names on the command line to a RunSpec: looks names up, suggests where one is wrong, prepares the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.base import Prepared, Progress, silent
from harness.data.loaders.factory import LoaderName
from harness.data.prepare.job import prepare
from harness.data.sources import SOURCES
from harness.errors import UsageError, unknown
from harness.spec import RunSpec
from variants.catalog import CATALOG, Variant
from variants.geometry import spec_for
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Geometry, Recipe
from variants.values import SpecError


@dataclass(frozen=True)
class Names:
    """What a user asks for, by name. `data_path` where the source needs one; limits take part of a data set."""

    variant: str
    recipe: str
    data: str
    seed: int
    data_path: Path | None = None
    limits: tuple[int, int] | None = None
    skip_bad_images: bool = False


def variant_named(name: str) -> Variant:
    """Raises UsageError with a suggestion."""
    if name not in CATALOG:
        raise unknown("variant", name, CATALOG, "python -m harness list")
    return CATALOG[name]


def recipe_for(variant: Variant, name: str) -> Recipe:
    """The named recipe with the variant's own changes. Raises UsageError with a suggestion."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "python -m harness list --recipes")
    return apply(RECIPES[name].recipe, variant.recipe_changes)


def geometry_for(variant: Variant, recipe: str) -> Geometry:
    """The size a recipe trains. Raises UsageError where the variant does not exist in it."""
    geometry = RECIPES[recipe].geometry
    if geometry not in variant.geometries:
        fits = [name for name, row in RECIPES.items() if row.geometry in variant.geometries]
        raise UsageError(
            f"{variant.name} has no {geometry} geometry, which recipe '{recipe}' trains; "
            f"use --recipe {' or '.join(fits)}"
        )
    return geometry


def check_names(names: Names) -> tuple[Variant, Recipe, Geometry]:
    """Everything that can be refused before any data is touched."""
    variant = variant_named(names.variant)
    recipe = recipe_for(variant, names.recipe)
    if names.data not in SOURCES:
        raise unknown("data set", names.data, SOURCES, "python -m harness data list")
    if variant.spec.box is not None and recipe.loss.box_weight > 0 and not SOURCES[names.data].boxes:
        raise UsageError(
            f"{variant.name} trains a box head with recipe {names.recipe}, but {names.data} has no boxes; use --data "
            f"{' or '.join(source.name for source in SOURCES.values() if source.boxes)}"
        )
    return variant, recipe, geometry_for(variant, names.recipe)


def prepare_for(names: Names, loader: LoaderName = "auto", progress: Progress = silent) -> Prepared:
    """The data set `names` asks for, stored at the recipe's size."""
    _, recipe, _ = check_names(names)
    return prepare(
        names.data,
        path=names.data_path,
        store_size=recipe.store_size,
        limit=names.limits,
        skip_bad_images=names.skip_bad_images,
        loader=loader,
        progress=progress,
    )


def run_spec(names: Names, prepared: Prepared, device: str) -> RunSpec:
    """The run as a value. Raises UsageError where variant and data set don't go together."""
    variant, recipe, geometry = check_names(names)
    try:
        net = spec_for(variant, geometry, prepared.spec.classes)
    except SpecError as error:
        raise UsageError(str(error)) from error
    return RunSpec(
        variant=variant.name,
        geometry=geometry,
        net=net,
        recipe=recipe,
        data=prepared.spec,
        seed=names.seed,
        device="cuda" if device.startswith("cuda") else "cpu",
    )


def run_specs(
    variants: Sequence[str], names: Names, seeds: Sequence[int], prepared: Prepared, device: str
) -> list[RunSpec]:
    """Seed-major: all variants with the first seed, then all with the second, so that pairs fill up evenly."""
    return [
        run_spec(Names(variant, names.recipe, names.data, seed, names.data_path, names.limits), prepared, device)
        for seed in seeds
        for variant in variants
    ]
