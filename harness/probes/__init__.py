"""Probes: sample NVML and the host during a run. A probe never makes the run fail or slower."""
