"""Getting what pip alone can't: FFCV, compiled on this machine. Standard library only."""
