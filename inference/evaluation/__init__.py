"""Measuring a shipped model; the running node never imports this package."""
