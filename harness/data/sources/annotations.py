"""Reads ILSVRC's annotations, XML files as those of Pascal VOC, with care: they may come from
anywhere.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from harness.errors import DataError

LARGEST = 1 << 20  # bytes; real annotations have a few thousand


def read_annotation(file: Path) -> ET.Element:
    """The document in `file`. Raises DataError for what is none.

    A document type is refused, since entities defined there could unpack to gigabytes; so is a file
    above 1 MiB.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise DataError(f"{file} is larger than any annotation; remove it")
        text = file.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise DataError(f"{file} defines a document type, which annotations don't; remove it")
        return ET.fromstring(text)
    except (OSError, ValueError, ET.ParseError) as error:
        raise unreadable_annotation(file, error) from error


def unreadable_annotation(file: Path, error: Exception) -> DataError:
    """The error of a file that says something else."""
    return DataError(f"{file} is not a readable CLS-LOC annotation ({error})")
