"""Data: from image files to batches on the device.

A batch's way, with the module of each step:

    sources/         train and val images with labels, from files, archives or memory
       | once
    prepare/scan     decode every image, name broken ones, sum up the statistics
    prepare/export   resize.py: short side to store_size, centre crop
       |             -> HARNESS_CACHE/data/NAME-KEY/: manifest.json, statistics.npz, *.beton or *.jsonl
       | each epoch
    augment/crops    draw crop and mirror of each image from (seed, epoch, image)
    loaders/, ffcv/  read, crop, mirror -> base.Batch: uint8 (N, 3, S, S), labels, indices, boxes, crops
       | each step
    augment/transforms   on the device: mean, colour noise, rotation -> float32 (N, 3, S, S)

FFCV is used for its .beton files and its reader thread alone; order and crops are ours, the same in every loader.
"""
