"""Counting what reconciliation said of filings whose truth is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.accessions import Proposal, Reconciliation, Standing
from tests.bench.misfiling import Filing, Mistake

ALARMS = frozenset({Standing.MISMATCH, Standing.EXTRA})
"""Standings of an image that tell a technologist that something is wrong."""

ACCEPTED = "accepted by the other order"
"""By the table of regions the wrong order accepts the image: nothing is wrong to be found."""

BOOTSTRAP = 1000


@dataclass(slots=True)
class Shares:
    """Hits and totals of each question, trial by trial, with the people of each trial."""

    people: list[tuple[str, ...]] = field(default_factory=list)
    counts: list[dict[str, tuple[int, int]]] = field(default_factory=list)

    def add(self, filing: Filing, found: Reconciliation) -> None:
        """Count one trial."""
        self.people.append(filing.people)
        self.counts.append(score(filing, found))

    def share(self, question: str) -> tuple[int, int]:
        """Return hits and total of a question."""
        pairs = [counts[question] for counts in self.counts if question in counts]
        return sum(hits for hits, _ in pairs), sum(total for _, total in pairs)

    def interval(self, question: str, *, seed: int = 0) -> tuple[float, float]:
        """Return the 95 % interval of a share: people are drawn with replacement, and a
        trial counts as often as all of its people together."""
        rows = [row for row, counts in enumerate(self.counts) if question in counts]
        if not rows:
            return 0.0, 1.0
        hits = np.array([self.counts[row][question][0] for row in rows], dtype=float)
        totals = np.array([self.counts[row][question][1] for row in rows], dtype=float)
        names = sorted({name for row in rows for name in self.people[row]})
        index = {name: number for number, name in enumerate(names)}
        members = [np.array([index[name] for name in self.people[row]]) for row in rows]
        random = np.random.default_rng(seed)
        values = []
        for _ in range(BOOTSTRAP):
            drawn = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
            weights = _weights(drawn, members)
            total = float((weights * totals).sum())
            if total:
                values.append(float((weights * hits).sum()) / total)
        low, high = np.percentile(values, (2.5, 97.5))
        return float(low), float(high)


def _weights(drawn: NDArray[np.int64], members: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return how often each trial counts: the product over its people."""
    longest = max(len(each) for each in members)
    padded = np.full((len(members), longest), len(drawn))
    for row, each in enumerate(members):
        padded[row, : len(each)] = each
    result: NDArray[np.float64] = np.append(drawn, 1)[padded].prod(axis=1).astype(float)
    return result


def score(filing: Filing, found: Reconciliation) -> dict[str, tuple[int, int]]:
    """Return hits and total of every question that a trial answers (pure)."""
    standing = {
        image.image.sop_instance_uid: image.standing
        for accession in found.accessions
        for image in accession.images
    }
    moved = {m.image.sop_instance_uid for p in found.proposals for m in p.moves}
    alarmed = moved | {uid for uid, each in standing.items() if each in ALARMS}
    right = [p for p in found.proposals if _restores(p, filing)]
    untouched = [uid for uid in standing if uid not in filing.touched]
    counts = {
        "false alarms": (sum(uid in alarmed for uid in untouched), len(untouched)),
        "match": (sum(standing[u] is Standing.MATCH for u in untouched), len(untouched)),
        "proposals right": (len(right), len(found.proposals)),
        "images wrongly moved": (
            sum(m.image.sop_instance_uid in untouched for p in found.proposals for m in p.moves),
            len(untouched),
        ),
    }
    if filing.mistake in (Mistake.SWAP, Mistake.MISPLACE, Mistake.LOST_ORDER):
        name = filing.mistake.value
        if not filing.visible:
            counts[f"{name}: {ACCEPTED}"] = (1, 1)
            return counts
        counts[f"{name} found"] = (int(bool(filing.touched & alarmed)), 1)
        restored = {m.image.sop_instance_uid for p in right for m in p.moves}
        counts[f"{name} restored"] = (int(filing.touched <= restored), 1)
    if filing.mistake is Mistake.DROPPED and filing.missing:
        told = {region for accession in found.accessions for region in accession.missing}
        counts["dropped part found"] = (int(bool(told & {*filing.missing})), 1)
    if filing.mistake in (Mistake.NONE, Mistake.JOINED):
        missing = [bool(accession.missing) for accession in found.accessions]
        counts["false incomplete"] = (sum(missing), len(missing))
    return counts


def _restores(proposal: Proposal, filing: Filing) -> bool:
    return all(
        filing.truth[move.image.sop_instance_uid] == (move.target.key if move.target else "")
        for move in proposal.moves
    )


def questions(shares: Iterable[Shares]) -> list[str]:
    """Return every question that some trial answered, in the order of first answers."""
    return list(dict.fromkeys(name for each in shares for counts in each.counts for name in counts))
