"""What needs a GPU. Elsewhere these tests are skipped; `nox -s gpu` runs them."""

from __future__ import annotations

import pytest
import torch

HERE = "tests/gpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder `cuda`, and skip them where torch can't use a GPU."""
    for item in items:
        if HERE in item.path.as_posix():
            item.add_marker(pytest.mark.cuda)
            if not torch.cuda.is_available():
                item.add_marker(
                    pytest.mark.skip(reason="it needs a GPU that torch can use; see nox -s gpu")
                )


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")
