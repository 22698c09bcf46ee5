"""Preparing a data set once: check every image, measure the training set, write what the loader reads."""
