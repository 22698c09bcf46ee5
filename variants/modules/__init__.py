"""The networks as torch modules, built from their specs: alexnet.py first."""
