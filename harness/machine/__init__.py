"""The machine that a run happens on: processor, GPUs, versions, the commit, and what is missing for a run."""
