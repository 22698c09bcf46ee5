"""What others published about these networks: numbers, claims and speeds with their sources, in
data/*.json.
"""
