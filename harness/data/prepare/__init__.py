"""Preparation of a data set, done once: checks every image, computes statistics, writes the files
for the loader.
"""
