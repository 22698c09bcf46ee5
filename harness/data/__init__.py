"""Images, from a named source to batches: sources, writing .beton files, loaders, pixel arithmetic."""
