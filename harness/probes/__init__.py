"""Watching a run from outside: NVML and the host. A probe never fails or slows the run it watches."""
