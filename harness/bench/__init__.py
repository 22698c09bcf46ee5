"""Measurements for `python -m harness bench`: the speed of the loader, of the training step, of both
together, and of two towers in two processes.
"""
