"""The loaders behind one interface: FFCV where it works, image files, and images made in memory."""
