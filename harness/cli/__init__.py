"""The command line, one module per group of commands. Slow imports are inside the commands."""
