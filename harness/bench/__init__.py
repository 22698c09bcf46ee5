"""`python -m harness bench`: how fast loader, training step and both together are here, and what limits them."""
