"""Records of schema version 1, in the names of the present version. Version 2 renamed fields; no number
changed.

Version 1 said `rate` for the learning rate and `share` for the images that share one draw of a crop.
Its env.json has no `schema_version`, which is how a folder of version 1 is known. Fields that version 2
added to env.json are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECIPE = {
    "rate": "lr",
    "rate_inside_velocity": "lr_inside_velocity",
    "late": "late_changes",
    "augment": "augmentation",
}
GROUP = {"rate_factor": "lr_factor", "decay_factor": "weight_decay_factor", "rate_schedule": "schedule"}


NOT_RECORDED = "schema version 1 did not record it"


def env(plain: dict[str, Any]) -> dict[str, Any]:
    """env.json."""
    missing = dict(plain["missing"])
    settings = plain["torch"]
    if settings is not None:
        added = ("matmul_tf32", "cudnn_tf32")
        settings = {**dict.fromkeys(added), **settings}
        missing |= {f"torch.{name}": NOT_RECORDED for name in added}
        if settings["cudnn"] is None:
            missing.setdefault("torch.cudnn", "CUDA was not available")
    used = _used_gpus(plain)
    if used is None:
        missing["used_gpus"] = (
            "schema version 1 recorded all visible GPUs, not the one that the run used"
        )
    return {**plain, "schema_version": 1, "torch": settings, "used_gpus": used, "missing": missing}


def _used_gpus(plain: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The GPUs that a run used, where the record leaves no doubt."""
    if plain["placement"]["device"] == "cpu":
        return []
    if len(plain["gpus"]) == 1 and plain["gpus"][0]["name"] is not None:
        return [{"name": plain["gpus"][0]["name"], "uuid": plain["gpus"][0]["device"]}]
    return None


def spec(plain: dict[str, Any]) -> dict[str, Any]:
    """spec.json."""
    recipe = _renamed(plain["recipe"], RECIPE)
    recipe["augmentation"] = _renamed(recipe["augmentation"], {"share": "images_per_draw"})
    recipe["groups"] = [_renamed(group, GROUP) for group in recipe["groups"]]
    recipe["late_changes"] = [_renamed(change, {"rate": "lr"}) for change in recipe["late_changes"]]
    return {**plain, "recipe": recipe}


def stamped(plain: dict[str, Any]) -> dict[str, Any]:
    """A line of events.jsonl."""
    event = _renamed(plain["event"], {"rate": "lr"})
    if event.get("kind") == "rate_dropped":
        event["kind"] = "lr_changed"
    return {**plain, "event": event}


def _renamed(plain: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): held for name, held in plain.items()}
