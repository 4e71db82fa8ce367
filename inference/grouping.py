"""Moves that belong together become one proposal: swaps, one-sided moves, missing orders."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from inference.accessions import Move, ProposalKind


def grouped(moves: Sequence[Move]) -> list[tuple[ProposalKind, tuple[Move, ...]]]:
    """Return proposals' moves, in the order of the moves (pure).

    Accessions that images leave for each other, in pairs or in a ring, make one swap.
    Otherwise the images that go from one accession to another make one move, and those of
    one accession that show the same region and fit nowhere make one missing order.
    """
    rings = _rings(moves)
    groups: dict[tuple[ProposalKind, str, str], list[Move]] = {}
    for move in moves:
        origin = move.origin.key
        if move.target is None:
            key = (ProposalKind.MISSING_ORDER, origin, move.region)
        elif rings[origin] == rings[move.target.key]:
            key = (ProposalKind.SWAP, str(rings[origin]), "")
        else:
            key = (ProposalKind.MOVE, origin, move.target.key)
        groups.setdefault(key, []).append(move)
    return [(key[0], tuple(group)) for key, group in groups.items()]


def _rings(moves: Sequence[Move]) -> dict[str, int]:
    """Return for each accession the number of the ring that it is in.

    A ring is a strongly connected component of the graph whose edges are the moves.
    """
    edges = [(move.origin.key, move.target.key) for move in moves if move.target is not None]
    names = sorted({key for edge in edges for key in edge} | {move.origin.key for move in moves})
    index = {name: number for number, name in enumerate(names)}
    rows = [index[origin] for origin, _ in edges]
    columns = [index[target] for _, target in edges]
    if not names:
        return {}
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, directed=True, connection="strong")
    return {name: int(labels[number]) for name, number in index.items()}
