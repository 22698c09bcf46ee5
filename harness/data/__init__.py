"""Data sets and loaders: from image files to batches on the device.

The steps and their modules:

    sources/         train and val images with labels, from files, archives or memory
       | once
    prepare/scan     decode every image, find broken ones, compute the statistics
    prepare/export   resize.py: short side to store_size, centre crop
       |             -> HARNESS_CACHE/data/NAME-KEY/: manifest.json, statistics.npz, *.beton or *.jsonl
       | each epoch
    augment/crops    draw crop and mirror of each image from (seed, epoch, image)
    loaders/, ffcv/  read, crop, mirror -> base.Batch: uint8 (N, 3, S, S), labels, indices, boxes, crops
       | each step
    augment/transforms   on the device: mean, colour noise, rotation -> float32 (N, 3, S, S)

Of FFCV only the .beton files and the reader thread are used; order and crops are ours, the same in
every loader.
"""
