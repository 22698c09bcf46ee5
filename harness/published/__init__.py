"""What others published about these networks: numbers, claims and speeds, as strictly read data with their sources."""
