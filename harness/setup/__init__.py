"""Installation of FFCV, which pip alone can't build. Uses the standard library only."""
