"""Plugins: variants and recipes of other packages, by entry point or by a path such as
`package.module:NAME`.

A package adds variants with an entry point in its pyproject.toml; the other groups work in the same
way:

    [project.entry-points."alexnet_harness.variants"]
    wide = "my_package.rows:WIDE"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

from variants.values import SpecError

Group: TypeAlias = Literal["variants", "recipes", "data_sources", "probes", "report_sections"]


def is_path(name: str) -> bool:
    """Whether a name is the path of an object, `package.module:NAME`."""
    return ":" in name


def load(path: str) -> Any:
    """The object at `package.module:NAME`.

    Raises SpecError if the module is missing or broken, or lacks the name.
    """
    name_of_module, _, name = path.partition(":")
    try:
        module = import_module(name_of_module)
    except ModuleNotFoundError as error:
        raise SpecError(f"'{path}' can't be imported: {error}; is its folder on PYTHONPATH?") from error
    except Exception as error:  # another's module may raise anything
        raise SpecError(f"'{path}' can't be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise SpecError(f"'{path}' can't be found: {error}") from error


@cache
def register() -> None:
    """Add the variants and recipes of installed packages to CATALOG and RECIPES, once. Raises
    SpecError.

    This is called when a name is looked up, not when the catalogue is imported, since a package's
    module imports the catalogue itself.
    """
    from variants.catalog import CATALOG, Variant, own
    from variants.recipes import RECIPES
    from variants.recipes.recipe import RecipeRow

    add_new(RECIPES, ((row.recipe.name, row) for row in added("recipes", RecipeRow)), "recipe")
    add_new(CATALOG, ((row.name, own(row)) for row in added("variants", Variant)), "variant")


def add_new(table: dict[str, Any], rows: Iterable[tuple[str, Any]], what: str) -> None:
    """Add named rows to a table.

    Raises SpecError if a name is taken, by the project or by another package.
    """
    for name, row in rows:
        if name in table:
            raise SpecError(f"{what} '{name}': there is a row of this name; choose another name")
        table[name] = row


def added(group: Group, kind: type[Any] | None = None) -> Iterator[Any]:
    """The objects that installed packages add to a group. An entry point names one object or a tuple of
    objects.

    kind: the type that they must have. Raises SpecError with the name of an entry point that is wrong.
    """
    for point in sorted(entry_points(group=f"alexnet_harness.{group}"), key=lambda point: point.name):
        try:
            found = point.load()
        except Exception as error:  # another package may raise anything when it is imported
            raise SpecError(
                f"entry point {point.name} = {point.value} can't be loaded: {error}"
            ) from error
        for item in found if isinstance(found, tuple) else (found,):
            if kind is not None and not isinstance(item, kind):
                raise SpecError(f"entry point {point.name} = {point.value} is not a {kind.__name__}")
            yield item
