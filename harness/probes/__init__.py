"""Watching a run from outside: NVML, the host, or a replayed trace. A probe never fails or slows the run it watches."""
