"""Which GPUs are ours, as NVML handles: CUDA and NVML number them differently, so everything goes by
UUID.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.probes.base import Unavailable
from variants.values import value


@value
class Gpu:
    """A visible GPU or MIG instance as env.json has it. device: its UUID. `missing`: why a field is
    null.
    """

    device: str
    name: str | None
    memory_mib: int | None
    power_limit_w: float | None
    max_sm_clock_mhz: int | None
    mig: Literal["off", "on", "instance"]
    chosen_by: str
    missing: dict[str, str]


@dataclass(frozen=True)
class Device:
    """A GPU or a MIG instance. parent: the handle of the whole GPU (its own, without MIG).

    unreadable: why NVML gives nothing of this one; it stays in the list, so that the others keep their
    places.
    """

    uuid: str
    handle: Any
    parent: Any
    name: str
    mig: Literal["off", "on", "instance"]  # "on": a GPU in MIG mode, addressed as a whole
    chosen_by: str
    unreadable: str | None = None


def choose(nvml: Any, visible: str | None, uuids: Sequence[str], order: str | None) -> list[Device]:
    """The devices named by CUDA (`uuids`), else by CUDA_VISIBLE_DEVICES: indices, UUIDs, their
    beginnings, MIG ids.

    As in CUDA, the list ends at the first entry that names nothing. Raises Unavailable where no device
    is left.
    """
    known = list(_devices(nvml))
    if uuids:
        if not {_bare(device.uuid) for device in known} & {_bare(wanted) for wanted in uuids}:
            raise Unavailable(f"NVML knows none of the GPUs that CUDA uses ({', '.join(uuids)})")
        return [_by_uuid(known, wanted) for wanted in uuids]
    whole = [device for device in known if device.mig != "instance"]
    if visible is None:
        if not whole:
            raise Unavailable("the driver is here, but it sees no GPU")
        return whole
    chosen = list(_named(known, whole, visible, order))
    if not chosen:
        raise Unavailable(f"CUDA_VISIBLE_DEVICES='{visible}' leaves no GPU visible")
    return chosen


def _by_uuid(known: list[Device], wanted: str) -> Device:
    unknown = _unreadable(wanted, "NVML does not know this GPU, which CUDA uses")
    return next((device for device in known if _bare(device.uuid) == _bare(wanted)), unknown)


def _unreadable(uuid: str, reason: str) -> Device:
    return Device(uuid, None, None, "unknown", "off", "all visible", reason)


def _named(
    known: list[Device], whole: list[Device], visible: str, order: str | None
) -> Iterator[Device]:
    mixed = (
        len({device.name for device in whole if device.unreadable is None}) > 1
        and order != "PCI_BUS_ID"
    )
    seen = set()
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal():
            found = whole[int(entry) : int(entry) + 1]
            how = "index in PCI order"
            if mixed:
                how += "; CUDA may count otherwise among unlike GPUs: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        else:
            found = [device for device in known if entry and device.uuid.startswith(entry)]
            how = "UUID"
        if len(found) != 1 or found[0].uuid in seen:
            return
        seen.add(found[0].uuid)
        yield replace(found[0], chosen_by=how)


def _devices(nvml: Any) -> Iterator[Device]:
    """Every GPU in PCI order, each followed by its MIG instances; one that can't be read keeps its
    place.
    """
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = text(nvml.nvmlDeviceGetUUID(handle)), text(nvml.nvmlDeviceGetName(handle))
        except nvml.NVMLError as error:
            yield _unreadable(f"unknown-{index}", f"NVML can't read GPU {index}: {error}")
            continue
        mig = _mig_is_on(nvml, handle)
        yield Device(uuid, handle, handle, name, "on" if mig else "off", "all visible")
        if mig:
            yield from _instances(nvml, handle, name)


def _instances(nvml: Any, handle: Any, name: str) -> Iterator[Device]:
    for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            uuid = text(nvml.nvmlDeviceGetUUID(part))
        except nvml.NVMLError:  # places may be empty
            continue
        yield Device(uuid, part, handle, name, "instance", "all visible")


def _mig_is_on(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except (nvml.NVMLError, AttributeError):  # most GPUs, and older bindings, do not know MIG
        return False


def cuda_uuids() -> tuple[str, ...]:
    """The visible devices as CUDA names them; empty unless torch has CUDA running, which is not
    started for this.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ()
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(str(device.uuid) for device in found if hasattr(device, "uuid"))


def _bare(uuid: str) -> str:
    """CUDA gives the UUID without its "GPU-" or "MIG-"."""
    return uuid.lower().removeprefix("gpu-").removeprefix("mig-")


def text(said: str | bytes) -> str:
    """Older bindings answer in bytes."""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
