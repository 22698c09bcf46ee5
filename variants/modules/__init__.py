"""The networks as torch modules, built from their specs. Read alexnet.py first."""
