"""The loaders, with a common interface: FFCV, image files, and images made in memory."""
