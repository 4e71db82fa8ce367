"""The ground of the node: what every other package may rely on and report to.

Holds the root of the error tree, the clock, the metrics port, the catalogue of log
events and the append-only, hash-chained record of every prediction. It imports no
other package of this project.
"""
