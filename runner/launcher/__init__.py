"""Runs and sweeps as jobs of Slurm: ``--launcher=slurm``. submitit submits them; nothing here imports torch."""
