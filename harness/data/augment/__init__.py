"""Augmentation: random crops, flips and colour noise, and the boxes that go with them."""
