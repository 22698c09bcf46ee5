"""Measurements for `python -m harness bench`: the speed of the loader, of the training step, and of
both together.
"""
