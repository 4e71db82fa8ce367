"""Report objects: what the SR and the heat-map captures say, and how they are built."""
