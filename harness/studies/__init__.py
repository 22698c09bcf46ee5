"""Studies: named lists of runs to compare.

rows.py is the table of studies; a new study is one row there. runs.py finds which of a study's runs are
missing and executes one; lr_search.py adds the runs that search a learning rate first. workers.py runs
them in parallel processes on this machine, cluster.py as jobs of Slurm.
"""
