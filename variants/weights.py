"""Loading and saving weights: safetensors, or a torch state dict, whose pickle is never executed.

torchvision's names (`features.0.weight`, `classifier.6.bias`) are accepted for any net with as many
layers.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LARGEST_FILE_BYTES = 2 * 2**30  # the largest net here, in float64, is a quarter of it
SHOWN = 3  # keys named in a refusal
_TORCHVISION = re.compile(r"(features|classifier)\.(\d+)\.(weight|bias)")


class WeightsError(ValueError):
    """A file of weights that is missing, damaged, unsafe or of another net.

    The message is one sentence.
    """


def load_weights(path: Path, module: nn.Module) -> None:
    """Copy a file's weights into `module`.

    Raises WeightsError, before any copy, if keys or shapes differ.
    """
    wanted = module.state_dict()
    found = _in_our_names(read_state_dict(path), wanted)
    _refuse_mismatch(path, found, wanted)
    module.load_state_dict(found)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file (by suffix) or of a torch file, on the CPU."""
    if not path.is_file():
        raise WeightsError(
            f"no file of weights at {path}; give a .safetensors file or a torch state dict"
        )
    size = path.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise WeightsError(
            f"{path} has {size} bytes, more than any AlexNet's {LARGEST_FILE_BYTES}; it is not read"
        )
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(found, Mapping) and set(found) == {"state_dict"}:
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(
            f"{path} does not hold named tensors; save module.state_dict() and nothing else"
        )
    for key, value in found.items():
        if fault := _fault(value):
            raise WeightsError(
                f"{path}: {key} {fault}; save a network's state dict in a floating-point type"
            )
    return {str(key): value for key, value in found.items()}


def _fault(value: Tensor) -> str | None:
    """Why a tensor can't be a layer's weights, as the end of a sentence. (Batch norm counts batches
    in int64.)
    """
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return "is sparse, quantised or without values"
    if not value.is_floating_point() and not (value.dtype == torch.int64 and value.dim() == 0):
        return f"holds {str(value.dtype).removeprefix('torch.')}"
    return None


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the module's state dict as safetensors. `path` must end in .safetensors, so that `load`
    recognises it.
    """
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}, path
    )


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a complete safetensors file ({error}); download or save it again"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from error


def _read_torch(path: Path) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise WeightsError(f"{path} is compressed, which torch.save never does; it is not read")
    try:
        with warnings.catch_warnings():
            # torch warns about pickle protocols other than its own
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, or is damaged; pickled objects are never executed. Save "
            "module.state_dict() alone"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from error
    except Exception as error:  # the unpickler can raise any error on such bytes
        raise WeightsError(
            f"{path} is damaged or not a torch file; download or save it again"
        ) from error


def _in_our_names(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with torchvision's keys renamed to ours.

    Layers with weights correspond in their order.
    """
    theirs = [_TORCHVISION.fullmatch(key) for key in found]
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in wanted))
    places = sorted({(match[1] == "classifier", int(match[2])) for match in theirs if match})
    if not all(theirs) or len(places) != len(layers):
        return found
    names = dict(zip(places, layers, strict=True))
    renamed = {}
    for match in theirs:
        assert match is not None
        renamed[f"{names[match[1] == 'classifier', int(match[2])]}.{match[3]}"] = found[match[0]]
    return renamed


def _refuse_mismatch(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    shapes = [
        f"{key} is {tuple(found[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    faults = (
        ("lacks", [key for key in wanted if key not in found]),
        ("has the unknown keys", [key for key in found if key not in wanted]),
        ("differs:", shapes),
    )
    problems = "; ".join(f"it {verb} {_first(items)}" for verb, items in faults if items)
    if problems:
        raise WeightsError(f"{path} holds the weights of another net: {problems}")


def _first(items: list[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
