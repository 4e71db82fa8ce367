"""Files on disk, rows in the database, and the engine that moves work."""
