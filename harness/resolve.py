"""Turns a user's request into a RunSpec: looks up its names and prepares its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.base import Prepared
from harness.data.names import StoreFormat
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.progress import Progress, silent
from harness.data.sources import source_named, sources
from harness.errors import UsageError
from harness.lookup import recipe_named, variant_named
from harness.overrides import override
from harness.placement import LoaderName
from harness.spec import RunSpec
from variants.catalog import Variant
from variants.columns import Layout, column_rows
from variants.geometry import spec_for
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Geometry, Recipe, RecipeRow
from variants.values import SpecError


@dataclass(frozen=True)
class RunRequest:
    """A user's request. variant and recipe: a name, or a path such as `package.module:NAME`.

    path: where the source is, if it needs one. limits: images of each split to use. overrides: such as
    "lr=0.02".
    store_format, jpeg_quality: how the images are stored; see harness.data.prepare.
    """

    variant: str
    recipe: str
    data: str
    seed: int
    path: Path | None = None
    limits: tuple[int, int] | None = None
    skip_bad_images: bool = False
    overrides: tuple[str, ...] = ()
    store_format: StoreFormat = "raw"
    jpeg_quality: int | None = None


def geometry_for(variant: Variant, row: RecipeRow) -> Geometry:
    """The geometry that the recipe trains. Raises UsageError if the variant does not have it."""
    if row.geometry not in variant.geometries:
        fits = [name for name, other in RECIPES.items() if other.geometry in variant.geometries]
        raise UsageError(
            f"{variant.name} has no {row.geometry} geometry, which recipe '{row.recipe.name}' trains; "
            f"use --recipe {' or '.join(fits)}"
        )
    return row.geometry


def check_request(request: RunRequest) -> tuple[Variant, Recipe, Geometry]:
    """Variant and recipe of a request; raises every error that needs no data.

    The recipe includes the variant's changes and then the user's overrides.
    """
    try:
        variant = variant_named(request.variant)
        row = recipe_named(request.recipe)
        recipe = override(apply(row.recipe, variant.recipe_changes), request.overrides)
    except SpecError as error:
        raise UsageError(str(error)) from error
    source = source_named(request.data)
    if variant.spec.box is not None and recipe.loss.box_weight > 0 and not source.boxes:
        raise UsageError(
            f"{variant.name} trains a box head with recipe {recipe.name}, but {request.data} has no "
            f"boxes; use --data {' or '.join(row.name for row in sources().values() if row.boxes)}"
        )
    return variant, recipe, geometry_for(variant, row)


def prepare_for(
    request: RunRequest, loader: LoaderName = "auto", progress: Progress = silent
) -> Prepared:
    """The data set that `request` asks for, stored at the recipe's size."""
    _, recipe, _ = check_request(request)
    settings = StoreSettings(
        store_size=recipe.store_size,
        store_format=request.store_format,
        jpeg_quality=request.jpeg_quality,
        limit=request.limits,
    )
    return prepare(
        request.data,
        settings,
        path=request.path,
        skip_bad_images=request.skip_bad_images,
        loader=loader,
        progress=progress,
    )


def run_spec(
    request: RunRequest,
    prepared: Prepared,
    device: str,
    world_size: int = 1,
    layout: Layout = "one_device",
) -> RunSpec:
    """The run as a value.

    Raises UsageError if variant and data set, or variant and layout, don't fit together.
    """
    variant, recipe, geometry = check_request(request)
    try:
        net = spec_for(variant, geometry, prepared.spec.classes)
    except SpecError as error:
        raise UsageError(str(error)) from error
    if layout == "two_towers":
        try:
            column_rows(net)
        except SpecError as error:
            raise UsageError(f"{variant.name} can't run as two towers: {error}") from error
        if recipe.compile:
            raise UsageError(
                "compile=true works on one device; use --set compile=false with --placement two_towers"
            )
    return RunSpec(
        variant=variant.name,
        geometry=geometry,
        net=net,
        recipe=recipe,
        data=prepared.spec,
        seed=request.seed,
        device="cuda" if device.startswith("cuda") else "cpu",
        world_size=world_size,
        layout=layout,
        overrides=request.overrides,
    )


def study_requests(
    request: RunRequest, variants: Sequence[str], seeds: Sequence[int]
) -> list[RunRequest]:
    """One request per run, ordered by seed, so that all variants get their first seed before any
    gets its second.
    """
    return [replace(request, variant=variant, seed=seed) for seed in seeds for variant in variants]
