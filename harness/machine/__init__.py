"""The machine of a run: processor, GPUs, software versions and commit, and the checks of `doctor`."""
