"""Training of the shipped models; the running node never imports this package."""
