"""Every row of the catalogue as a timm model: import this, then
`timm.create_model("alexnet_grouped_2gpu")`.

Each variant has a model name of its own. Its keyword arguments are those of
timm_support.adapter.TimmAlexNet, besides timm's general ones (`features_only`, `checkpoint_path`,
`cache_dir`, `pretrained_cfg_overlay` ...). No keyword selects a variant, since timm drops keywords that
are None. `pretrained=True` needs weights of your own: either `pretrained_cfg_overlay={"file":
"weights.safetensors"}`, or a folder that `timm.models.save_for_hf` wrote, by the name
"local-dir:folder".

timm's scripts find only the models of timm's own modules. Run a script through this module, which
registers the names first:

    python -m variants.timm_models train.py data --model alexnet_grouped_2gpu --epochs 90
    torchrun --nproc-per-node 2 -m variants.timm_models train.py data --model alexnet_grouped_2gpu
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from variants.catalog import CATALOG
from variants.plugins import register
from variants.spec import AlexNetSpec
from variants.timm_support.adapter import TimmAlexNet
from variants.timm_support.cfgs import default_cfg
from variants.timm_support.parts import feature_info

register()  # rows of installed packages, too
default_cfgs = generate_default_cfgs(
    {f"alexnet_{row.name}": default_cfg(row) for row in CATALOG.values()}
)


def _entry_point(name: str, spec: AlexNetSpec) -> Callable[..., nn.Module]:
    """The function that timm calls for a row. timm registers it by its __name__ and __module__."""

    def make(pretrained: bool = False, **keywords: Any) -> nn.Module:
        made: nn.Module = build_model_with_cfg(
            TimmAlexNet,
            name,
            pretrained,
            model_cfg=spec,
            feature_cfg={"out_indices": tuple(range(len(feature_info(spec))))},
            **keywords,
        )
        return made

    make.__name__ = make.__qualname__ = name
    make.__module__ = __name__
    return make


def run_script(arguments: list[str]) -> None:
    """Run a timm script as `python SCRIPT ...` would, with the rows registered."""
    if not arguments or not Path(arguments[0]).is_file():
        script = f"there is no {arguments[0]}" if arguments else "no script is named"
        sys.exit(f"{script}; use: python -m variants.timm_models path/to/train.py ARGUMENTS")
    import_module("variants.timm_models")  # under its own name, not as __main__
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    run_script(sys.argv[1:])
else:
    for _row in CATALOG.values():
        register_model(_entry_point(f"alexnet_{_row.name}", _row.spec))
