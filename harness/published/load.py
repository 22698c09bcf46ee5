"""Reads the files in data/, each once.

Measurements and sources are read with plain json, so that `list` and `show` need no pydantic; the tests
read the same files with strict types. All other files are read with strict types here.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from harness.published.schema import Measurement, Remark, Source

MEASUREMENT_FILES = ("paper", "run_log", "zfnet", "derivatives", "caffenet128", "arithmetic")


def text(name: str) -> str:
    """The file data/`name`.json."""
    return files("harness.published").joinpath("data", f"{name}.json").read_text(encoding="utf-8")


@cache
def read(name: str, cls: Any) -> Any:
    """The file data/`name`.json as a `cls`. Raises RecordError naming the field that doesn't fit."""
    from harness.serialization import from_json

    return from_json(text(name), cls)


@cache
def sources() -> dict[str, Source]:
    """Every source by the short name that measurements, speeds and remarks use."""
    return {name: Source(**fields) for name, fields in json.loads(text("sources")).items()}


@cache
def measurements() -> dict[str, Measurement]:
    """Every network evaluated by somebody, by its id, in the order of the data files."""
    return {
        item["id"]: Measurement(**_tuples(item))
        for name in MEASUREMENT_FILES
        for item in _file(name)["measurements"]
    }


def remarks(variant: str | None = None) -> list[Remark]:
    """Published statements without a number, about `variant` or about all."""
    every = [Remark(**_tuples(item)) for name in MEASUREMENT_FILES for item in _file(name)["remarks"]]
    return [item for item in every if variant in (None, item.variant)]


@cache
def _file(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text(f"targets_{name}"))
    return made


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in fields.items()}
