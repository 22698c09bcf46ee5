"""FFCV: writes and loads .beton files. Only FFCV's reader and its pipeline thread are used."""
