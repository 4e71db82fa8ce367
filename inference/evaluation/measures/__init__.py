"""Numbers about a classifier's answers; nothing here reads a file or draws."""
