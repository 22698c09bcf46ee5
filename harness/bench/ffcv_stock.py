"""FFCV's own loader, in a process that imports FFCV as it is: for each line on stdin it loads for about
a second, then prints the number of images and its CPU seconds.

Usage: python -m harness.bench.ffcv_stock FILE.beton SIDE BATCH_SIZE WORKERS IMAGES
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

WINDOW_S = 1.0


def stock_loader(stored: str, side: int, batch_size: int, workers: int, images: int) -> Any:
    """A random resized crop, a flip, and a uint8 tensor (N, 3, side, side), from the first `images`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FFCV imports distutils
        from ffcv.fields.basics import IntDecoder
        from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.reader import Reader
        from ffcv.transforms import RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage

    image = [
        RandomResizedCropRGBImageDecoder((side, side)),
        RandomHorizontalFlip(),
        ToTensor(),
        ToTorchImage(),
    ]
    fields = Reader(stored).handlers
    return Loader(
        stored,
        batch_size=batch_size,
        num_workers=workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        indices=range(min(images, Reader(stored).num_samples)),
        pipelines=dict.fromkeys(fields)  # None: boxes are not read
        | {"image": image, "label": [IntDecoder(), ToTensor(), Squeeze()]},
        drop_last=False,
    )


def main(words: list[str]) -> None:
    """Answer every line of stdin until it is closed."""
    stored, *numbers = words
    loader = stock_loader(stored, *map(int, numbers))
    for _ in sys.stdin:
        started_s, cpu_s, images = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started_s < WINDOW_S:
            images += sum(len(batch[0]) for batch in loader)
        print(images, time.process_time() - cpu_s, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
