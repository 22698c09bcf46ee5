"""Wheel files: reads the metadata of one, writes one, and makes one self-contained."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import zipfile
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: alexnet-harness\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"


def read_metadata(wheel: Path) -> Message:
    """The METADATA of a wheel: `["Name"]`, `["Version"]`, `get_all("Requires-Dist")`."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


def write_empty_wheel(folder: Path, name: str, version: str) -> Path:
    """Write a wheel that says its name and version and holds nothing; its path."""
    stem = f"{re.sub('[-_.]+', '_', name)}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tag = "py3-none-any"
    info = {"METADATA": metadata, "WHEEL": WHEEL.format(pure="true", tag=tag)}
    path = folder / f"{stem}-{tag}.whl"
    _write(path, {f"{stem}.dist-info/{name}": text.encode() for name, text in info.items()})
    return path


def self_contained(wheel: Path, added: Mapping[str, bytes]) -> Path:
    """Write, beside a wheel with one extension module, a wheel for every CPython 3 that holds `added`,
    too; its path.

    added: the shared libraries that the module needs, by their path in the wheel. The module must call
    functions of Python's stable ABI only (FFCV's calls PyModule_Create2). The name of the new wheel
    says which glibc its libraries need, so pip refuses it on an older system.
    """
    with zipfile.ZipFile(wheel) as archive:
        files = {item: archive.read(item) for item in archive.namelist() if not item.endswith("/")}
    files = {re.sub(r"\.cpython-[^/]*\.so$", ".abi3.so", name): body for name, body in files.items()}
    files |= added
    glibc = _glibc(body for name, body in files.items() if re.search(r"\.so[.\d]*$", name))
    tag = f"py3-none-manylinux_2_{glibc}_{platform.machine()}"
    info = next(name for name in files if name.endswith(".dist-info/WHEEL"))
    files[info] = WHEEL.format(pure="false", tag=tag).encode()
    path = wheel.with_name(f"{'-'.join(wheel.name.split('-')[:2])}-{tag}.whl")
    _write(path, files)
    return path


def _glibc(libraries: Iterable[bytes]) -> int:
    """The minor version of the glibc 2.x that the libraries need, by the versions of their symbols."""
    return max(int(minor) for body in libraries for minor in re.findall(rb"GLIBC_2\.(\d+)", body))


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a wheel of `files`, by their paths in it, with a new RECORD."""
    info = next(name for name in files if name.endswith(".dist-info/WHEEL")).rpartition("/")[0]
    record = f"{info}/RECORD"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        lines = [f"{record},,\n"]
        for name, body in files.items():
            if name != record:
                archive.writestr(name, body)
                lines.append(_record_line(name, body))
        archive.writestr(record, "".join(lines))


def _record_line(name: str, body: bytes) -> str:
    checksum = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    return f"{name},sha256={checksum},{len(body)}\n"
