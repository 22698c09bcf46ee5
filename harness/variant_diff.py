"""Compares two variants field by field: network, recipe and evaluation protocol. It works for any specs
and recipes.

Layers are matched by name. Fields without effect are not reported, such as an output rule that gives
the same map, a std that the initialisation doesn't use, or the scale of colour noise that is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeAlias

from variants.catalog.edits import WITH_WEIGHTS
from variants.layers import LRN, Conv, Dense, Init, Layer, Local, Pool, Rule, Shape
from variants.recipes.recipe import Augmentation, Evaluation, Loss, Recipe
from variants.spec import AlexNetSpec, LayerRow
from variants.values import SpecError, value

Trained: TypeAlias = tuple[AlexNetSpec, Recipe]
Words: TypeAlias = dict[str, str]

WORDS = {
    "size": "window",
    "kernel": "window",
    "p": "probability",
    "one": "1x1 kernels",
    "three": "3x3 kernels",
    "five": "5x5 kernels",
}
# reported in another form, or by position
HIDDEN = {"kind", "name", "init", "rule", "use_bias", "divide_by_size"}


@value
class Difference:
    """One difference. place: a layer or a part of the recipe. a, b: the values of the two sides, as
    text.
    """

    part: Literal["network", "recipe", "protocol"]
    place: str
    what: str
    a: str
    b: str


def differences(a: Trained, b: Trained) -> list[Difference]:
    """Every difference of two (net, recipe) pairs that has an effect: network, recipe, evaluation
    protocol.
    """
    return [*network(a[0], b[0]), *recipe(a[1], b[1])]


# ----------------------------------------------------------------------------------------------------------- network


def network(a: AlexNetSpec, b: AlexNetSpec) -> list[Difference]:
    """Differences of the input, layers of one net only, fields of common layers, and layers in other
    positions.
    """
    left, right = _rows(a), _rows(b)
    found = list(_compare("network", "input", _input(a), _input(b)))
    places = _order_changes([n for n in left if n in right], [n for n in right if n in left], left)
    for name in _merged(list(left), list(right)):
        one, other = left.get(name), right.get(name)
        if one is None or other is None or type(one.layer) is not type(other.layer):
            found.append(_difference("network", name, "layer", _described(one), _described(other)))
            continue
        if name in places:
            found.append(_difference("network", name, "place", _place(a, name), _place(b, name)))
        found += _compare("network", name, _layer_words(one), _layer_words(other))
    return found


def _rows(spec: AlexNetSpec) -> dict[str, LayerRow]:
    return {row.layer.name: row for row in spec.rows}


def _input(spec: AlexNetSpec) -> Words:
    size = f"{spec.input_size}x{spec.input_size}"
    return {"size": size, "channels": str(spec.input_channels)}


def _layer_words(row: LayerRow) -> Words:
    """A layer's fields as text; layers with equal text compute the same function and start alike."""
    layer = row.layer
    words = {
        _word(layer, f.name): _text(f.name, getattr(layer, f.name))
        for f in fields(layer)
        if f.name not in HIDDEN
    }
    if isinstance(layer, Conv | Pool):
        words["output rule"] = _rule(row, layer)
    if isinstance(layer, LRN):
        words |= {"maps": str(layer.size), "alpha": f"{layer.alpha:g} / {layer.size}"}
        words["alpha"] = words["alpha"] if layer.divide_by_size else f"{layer.alpha:g}"
    if isinstance(layer, WITH_WEIGHTS):
        words["initial weights"] = _start(layer.init)
        words["initial biases"] = _start_of_biases(layer)
    return words


def _rule(row: LayerRow, layer: Conv | Pool) -> str:
    """ "exact" if both rules give the same map; else the rule, and how far ceil's last window exceeds the edge."""
    if _under(row, layer, "floor") == _under(row, layer, "ceil"):
        return "exact"
    if layer.rule == "floor":
        return "floor"
    size = layer.kernel if isinstance(layer, Conv) else layer.size
    over = (row.output[2] - 1) * layer.stride + size - row.input[2] - 2 * layer.padding
    return f"ceil, {over} beyond the edge"


def _under(row: LayerRow, layer: Conv | Pool, rule: Rule) -> Shape | None:
    """The output under another rule; None if the window doesn't fit under it."""
    try:
        return replace(layer, rule=rule).output(row.input)
    except SpecError:
        return None


def _start(init: Init) -> str:
    names = {"he_normal": "He's normal", "torch": "torch's uniform"}
    return f"N(0, {init.std:g})" if init.scheme == "normal" else names[init.scheme]


def _start_of_biases(layer: Layer) -> str:
    if not getattr(layer, "use_bias", True):
        return "no biases"
    init: Init = layer.init  # type: ignore[union-attr]  # the caller saw that there is one
    return "torch's uniform" if init.scheme == "torch" else f"{init.bias:g}"


def _word(layer: Layer, field: str) -> str:
    if field == "out":
        return "units" if isinstance(layer, Dense) else "kernels"
    if field == "size" and isinstance(layer, LRN):
        return "maps"
    return _plain(field)


def _described(row: LayerRow | None) -> str:
    """A short description of a layer that the other net lacks: "max pool 3x3/2", "dense 4096"."""
    if row is None:
        return "none"
    match row.layer:
        case Conv() | Local() as layer:
            return f"{layer.kind} {layer.out}@{layer.kernel}x{layer.kernel}/{layer.stride}"
        case Dense() as layer:
            return f"dense {layer.out}"
        case Pool() as layer:
            return f"{layer.function} pool {layer.size}x{layer.size}/{layer.stride}"
        case layer:
            said = [
                f"{word} {text}"
                for word, text in _layer_words(row).items()
                if not word.startswith("initial")
            ]
            return ", ".join([layer.kind.replace("_", " "), *said])


def _merged(left: list[str], right: list[str]) -> list[str]:
    """All names in the left net's order; layers of the right net only follow their neighbour there."""
    merged, before = list(left), -1
    for name in right:
        if name not in merged:
            merged.insert(before + 1, name)
        before = merged.index(name)
    return merged


def _order_changes(left: list[str], right: list[str], rows: dict[str, LayerRow]) -> set[str]:
    """Layers outside of the heaviest common subsequence of the two nets."""
    weight = {
        name: 100 if rows[name].parameters else 3 if isinstance(rows[name].layer, Pool) else 1
        for name in left
    }
    best: dict[str, tuple[int, tuple[str, ...]]] = {}
    for i, name in enumerate(left):
        earlier = [best[n] for n in left[:i] if right.index(n) < right.index(name)]
        total, kept = max(earlier, default=(0, ()), key=lambda found: found[0])
        best[name] = (total + weight[name], (*kept, name))
    stay = max(best.values(), default=(0, ()), key=lambda found: found[0])[1]
    return set(left) - set(stay)


def _place(spec: AlexNetSpec, name: str) -> str:
    names = ["the input", *(layer.name for layer in spec.layers)]
    return f"after {names[names.index(name) - 1]}"


# ------------------------------------------------------------------------------------------------- recipe and protocol


def recipe(a: Recipe, b: Recipe) -> list[Difference]:
    """Every field of two recipes that differs, names aside; evaluation counts as protocol."""
    found: list[Difference] = []
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if field.name == "name" or one == other:
            continue
        if is_dataclass(one) and type(one) is type(other) and not hasattr(one, "kind"):
            part: Literal["recipe", "protocol"] = (
                "protocol" if isinstance(one, Evaluation) else "recipe"
            )
            found += _compare(part, field.name, _used(one, other), _used(other, one))
        else:
            what = "learning rates by parameter" if field.name == "groups" else _plain(field.name)
            found.append(
                _difference(
                    "recipe", "training", what, _text(field.name, one), _text(field.name, other)
                )
            )
    return found


def _used(item: Any, other: Any) -> Words:
    """Fields of a part of a recipe, without those that have no effect because a feature is off on
    either side.
    """
    skip = set()
    if isinstance(item, Augmentation) and not (item.colour_std and other.colour_std):
        skip.add("colour_scale")
    if isinstance(item, Loss) and not (item.smoothing and other.smoothing):
        skip.add("reading")
    return {
        _plain(f.name): _text(f.name, getattr(item, f.name)) for f in fields(item) if f.name not in skip
    }


def _plain(field: str) -> str:
    return WORDS.get(field, field.replace("_", " "))


def _compare(
    part: Literal["network", "recipe", "protocol"], place: str, a: Words, b: Words
) -> Iterator[Difference]:
    for what in a:
        if a[what] != b[what]:
            yield _difference(part, place, what, a[what], b[what])


def _difference(
    part: Literal["network", "recipe", "protocol"], place: str, what: str, a: str, b: str
) -> Difference:
    return Difference(part=part, place=place, what=what, a=a, b=b)


def _text(field: str, item: Any) -> str:
    """A field's value as text."""
    match item:
        case None | ():
            return "none"
        case bool():
            return "yes" if item else "no"
        case float():
            return f"{item:g}"
        case tuple():
            return (
                ", ".join(_text(field, one) for one in item)
                if not is_dataclass(item[0])
                else _list(item)
            )
        case int() if field in ("kernel", "size"):
            return f"{item}x{item}"
        case _ if is_dataclass(item):
            return _sentence(item)
        case _:
            return str(item).replace("_", " ")


def _list(items: tuple[Any, ...]) -> str:
    return "; ".join(_sentence(item) for item in items)


def _sentence(item: Any) -> str:
    """A schedule, group or late change as text: its kind and its fields, without those at their
    defaults.
    """
    said = [
        f"{f.name.replace('_', ' ')} {_text('', getattr(item, f.name))}"
        for f in fields(item)
        if f.name != "kind" and (f.name not in _optional(item) or getattr(item, f.name) != f.default)
    ]
    kind = [item.kind.replace("_", " ")] if hasattr(item, "kind") else []
    return ", ".join([*kind, *said]) or "all parameters alike"


def _optional(item: Any) -> set[str]:
    return set() if hasattr(item, "kind") else {f.name for f in fields(item)}
