"""FFCV: writing .beton files and loading them. Only FFCV's reader and its pipeline thread are used."""
