"""Finds the common recipe of the runs that may be compared with each other, by its contents instead of
its name.

A variant may change its recipe (`recipe_changes` of its row in the catalogue), and must still be
compared with the base. The rule: a run belongs to the recipe R if R with the changes of the variant's
row equals the run's recipe, field by field. The changed fields of R can't be seen in the run, so they
are taken from the present recipe of that name. Any other difference, such as another learning rate from
`--set lr=0.02`, makes another recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from harness.spec import RunSpec
from variants.catalog import Variant
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Recipe
from variants.values import SpecError

MOST_NAMED = 3
# never undone, since runs of different lengths are never compared
KEPT = ("epochs", "batch_size", "precision")


def shared_recipe(spec: RunSpec, row: Variant | None) -> tuple[Recipe, tuple[str, ...]]:
    """R without its name, and the fields of the row's changes that the run was trained without
    (usually none).
    """
    trained, changes = replace(spec.recipe, name=""), row.recipe_changes if row else ()
    missing = tuple(path for path, new in changes if _field(trained, path) != new)
    known = RECIPES.get(spec.recipe.name)
    if missing or known is None:
        return trained, missing
    try:
        undone = tuple((path, _field(known.recipe, path)) for path, _ in changes if path not in KEPT)
        shared = apply(trained, undone)
        return (shared if apply(shared, changes) == trained else trained), ()
    # the named recipe has no such field, for example because its schedule is of another kind
    except SpecError:
        return trained, ()


def recipe_label(recipe: Recipe, name: str, missing: tuple[str, ...]) -> str:
    """`mini`, or `mini, lr 0.02` where it differs from the recipe of that name; the length is not
    named.
    """
    known = RECIPES.get(name)
    changed = list(_changed(known.recipe, recipe)) if known else []
    changed = [text for text in changed if not text.startswith(("name ", "epochs "))]
    more = [f"{len(changed) - MOST_NAMED} more changes"] if len(changed) > MOST_NAMED + 1 else []
    shown = changed[:MOST_NAMED] + more if more else changed
    without = [f"without the variant's own {' and '.join(missing)}"] if missing else []
    return ", ".join([name, *shown, *without])


def _field(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = getattr(item, part, None)
    return item


def _changed(known: Any, used: Any, path: str = "") -> Iterator[str]:
    """The fields in which two values differ, each as `dotted.path value`."""
    if known == used:
        return
    if is_dataclass(known) and type(known) is type(used):
        for field in fields(known):
            below = f"{path}.{field.name}" if path else field.name
            yield from _changed(getattr(known, field.name), getattr(used, field.name), below)
    else:
        yield f"{path} {_text(used)}"


def _text(held: Any) -> str:
    if isinstance(held, float):
        return f"{held:g}"
    if isinstance(held, tuple):
        return "changed" if any(map(is_dataclass, held)) or not held else "/".join(map(_text, held))
    return str(getattr(held, "kind", held))
