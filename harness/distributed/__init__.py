"""One run in several processes: ranks.py connects them, data_parallel.py divides each batch among them."""
