"""The commands `list`, `show` and `diff` for the catalogue.

They load neither torch nor pydantic, so they are fast.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.tables import new_table, print_json, print_table
from harness.errors import UsageError, unknown
from harness.lookup import variant_named
from variants.recipes.recipe import Geometry

if TYPE_CHECKING:
    from rich.table import Table

    from variants.catalog import Variant
    from variants.recipes.recipe import Recipe
    from variants.spec import AlexNetSpec, LayerRow

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(
    pattern: Annotated[str | None, typer.Argument(help="Shell pattern, such as 'code_*'.")] = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes instead.")] = False,
    studies: Annotated[
        bool, typer.Option("--studies", help="List the studies of `reproduce` instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the variants: name, meaning, parameters, published difference or error."""
    if studies:
        from harness.cli.study_list import list_studies

        list_studies(pattern, as_json)
    elif recipes:
        _list_recipes(pattern, as_json)
    else:
        _list_variants(pattern, as_json)


def show(
    variant: Annotated[str, typer.Argument(help="A name from `list`.")],
    geometry: Annotated[
        Geometry | None, typer.Option(help="Size of the net; default: the first it has.")
    ] = None,
    communication: Annotated[
        bool,
        typer.Option(
            "--communication", help="Show what GPUs send each other in a training step instead."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one variant: what it tests, its layers, parameters and multiply-accumulates."""
    row = variant_named(variant)
    size = _geometry(row, geometry)
    spec = _spec(row, size)
    if communication:
        from harness.cli.communication import show_communication

        show_communication(row.name, size, spec, _trained(variant, geometry)[1].batch_size, as_json)
        return
    if as_json:
        print_json(_show_fields(row, size, spec))
        return
    for label, text in _about(row, size):
        typer.echo(f"{label:10} {text}")
    for reading in row.readings:
        typer.echo(f"{'assumption':10} {reading}")
    typer.echo()
    print_table(_layer_table(spec))
    _print_citations(f"{row.source} {row.expects}")
    for line in _sources_of(row):
        typer.echo(line)


def diff(
    a: Annotated[str, typer.Argument(help="A name from `list`.")],
    b: Annotated[str, typer.Argument(help="Another name from `list`.")],
    geometry: Annotated[
        Geometry | None, typer.Option(help="Size of both nets; default: the first that each has.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every difference of two variants: network, recipe, evaluation protocol."""
    from harness.variant_diff import differences

    found = differences(_trained(a, geometry), _trained(b, geometry))
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found:
        typer.echo(f"no difference between {a} and {b}")
    else:
        table = new_table("part", "place", "what", a, b)
        for one in found:
            table.add_row(one.part, one.place, one.what, one.a, one.b)
        print_table(table)


# ---------------------------------------------------------------------------------------------------------- variants


def _geometry(row: Variant, asked: Geometry | None) -> Geometry:
    return asked or row.geometries[0]


def _spec(row: Variant, geometry: Geometry) -> AlexNetSpec:
    from variants.geometry import spec_for
    from variants.values import SpecError

    try:
        return spec_for(row, geometry)
    except SpecError as error:
        raise UsageError(str(error)) from error


def _trained(name: str, asked: Geometry | None) -> tuple[AlexNetSpec, Recipe]:
    """The net with its native recipe, or with the first one that trains the geometry asked for."""
    from variants.recipes import RECIPES, apply

    row = variant_named(name)
    geometry = _geometry(row, asked)
    native = RECIPES[row.recipe]
    fits = [native, *RECIPES.values()] if native.geometry == geometry else RECIPES.values()
    recipe = next(found.recipe for found in fits if found.geometry == geometry)
    return _spec(row, geometry), apply(recipe, row.recipe_changes)


def _list_variants(pattern: str | None, as_json: bool) -> None:
    from harness.published.comparisons import differences, errors
    from harness.published.words import short
    from variants.catalog import CATALOG, names
    from variants.plugins import register

    register()
    rows = [CATALOG[name] for name in names(pattern)]
    if not rows:
        raise unknown("variant", str(pattern), CATALOG, "python -m harness list")
    if as_json:
        print_json([_list_fields(row) for row in rows])
        return
    table = new_table("variant", "parameters", "published", "meaning", right=("parameters",))
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.family != row.family:
            table.add_section()
        published = short(differences(row), errors(row))
        table.add_row(row.name, f"{row.spec.parameters / 1e6:.1f} M", published, row.meaning)
    print_table(table)
    typer.echo(
        "published: error in %, or difference to a base in points (top-1 / top-5); `show NAME` prints "
        "the source"
    )


def _list_fields(row: Variant) -> dict[str, Any]:
    """published_difference and published_error: the first of each in the row, or null."""
    from harness.published.comparisons import differences, errors

    difference, error = next(iter(differences(row)), None), next(iter(errors(row)), None)
    return {
        "name": row.name,
        "family": row.family,
        "meaning": row.meaning,
        "parameters": row.spec.parameters,
        "macs": row.spec.macs,
        "geometries": row.geometries,
        "recipe": row.recipe,
        "recipe_changes": {path: _plain(new) for path, new in row.recipe_changes},
        "published_difference": asdict(difference) if difference else None,
        "published_error": asdict(error) if error else None,
        "expects": row.expects,
        "source": row.source,
        "readings": row.readings,
    }


def _show_fields(row: Variant, geometry: Geometry, spec: AlexNetSpec) -> dict[str, Any]:
    sized = {
        "geometry": geometry,
        "input_size": spec.input_size,
        "parameters": spec.parameters,
        "macs": spec.macs,
    }
    layers = [
        {"output": one.output, "parameters": one.parameters, "macs": one.macs, **asdict(one.layer)}
        for one in spec.rows
    ]
    return {**_list_fields(row), **sized, "layers": layers}


def _about(row: Variant, geometry: Geometry) -> list[tuple[str, str]]:
    from harness.published.comparisons import differences, errors
    from harness.published.words import about_difference, about_error

    published = [("difference", about_difference(found)) for found in differences(row)]
    published += [("error", [about_error(found)]) for found in errors(row)]
    return [
        ("variant", f"{row.name} ({geometry}): {row.meaning}"),
        ("source", row.source),
        ("expects", row.expects),
        ("recipe", row.recipe + "".join(f", {path} = {new}" for path, new in row.recipe_changes)),
        *(
            (label if i == 0 else "", line)
            for label, lines in published
            for i, line in enumerate(lines)
        ),
    ]


def _sources_of(row: Variant) -> list[str]:
    """The full names of the sources that the published numbers of the row come from."""
    from harness.published.comparisons import differences, errors
    from harness.published.load import sources

    used = dict.fromkeys(
        [found.source for found in differences(row)] + [found.source for found in errors(row)]
    )
    return [f"{name}: {sources()[name].title} ({sources()[name].place})" for name in used]


def _layer_table(spec: AlexNetSpec) -> Table:
    numbers = ("kernel", "stride", "pad", "groups", "output", "parameters", "MACs")
    table = new_table("layer", *numbers, right=numbers)
    for row in spec.rows:
        table.add_row(*_layer_cells(row))
    table.add_section()
    table.add_row("total", "", "", "", "", "", f"{spec.parameters:,}", f"{spec.macs:,}")
    return table


def _layer_cells(row: LayerRow) -> list[str]:
    layer = row.layer
    side = getattr(layer, "kernel", None) or (
        layer.size if layer.kind in ("pool", "adaptive_pool") else None
    )
    cells = [
        f"{side}x{side}" if side else "",
        *(str(getattr(layer, field, "")) for field in ("stride", "padding", "groups")),
        "x".join(str(n) for n in row.output),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.macs:,}" if row.macs else "",
    ]
    return [layer.name, *cells]


# ----------------------------------------------------------------------------------------------------------- recipes


def _list_recipes(pattern: str | None, as_json: bool) -> None:
    from fnmatch import fnmatchcase

    from variants.plugins import register
    from variants.recipes import RECIPES

    register()
    rows = [row for name, row in RECIPES.items() if pattern is None or fnmatchcase(name, pattern)]
    if not rows:
        raise unknown("recipe", str(pattern), RECIPES, "python -m harness list --recipes")
    if as_json:
        print_json([{"name": row.recipe.name, **asdict(row)} for row in rows])
        return
    table = new_table("recipe", "", "")
    for row in rows:
        known = (
            ("is", row.meaning),
            ("gave", row.expected_error),
            ("cost", row.expected_cost),
            ("source", row.source),
        )
        for i, (label, text) in enumerate(known):
            table.add_row("" if i else row.recipe.name, label, text)
        table.add_section()
    print_table(table)
    _print_citations(" ".join(row.source for row in rows))


# ---------------------------------------------------------------------------------------------------------- printing


def _print_citations(text: str) -> None:
    """Print the full names of the sources cited in `text`."""
    import re

    from variants.catalog.row import CITATIONS

    used = [name for name in CITATIONS if re.search(rf"\b{name} ", text)]
    typer.echo(
        "\n" + "\n".join(f"{name:3} {CITATIONS[name]}" for name in used) if used else "", nl=bool(used)
    )


def _plain(item: Any) -> Any:
    """A recipe change's value as JSON has it."""
    from dataclasses import is_dataclass

    if isinstance(item, tuple):
        return [_plain(one) for one in item]
    return asdict(item) if is_dataclass(item) and not isinstance(item, type) else item
