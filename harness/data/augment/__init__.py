"""Crops, mirror images, colour noise and boxes: which ones are drawn, and the arithmetic on the images."""
