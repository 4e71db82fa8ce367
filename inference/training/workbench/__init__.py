"""Training on one's own images: task files, trainer, baselines, run folders."""
