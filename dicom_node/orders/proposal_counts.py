"""How many proposals there are, as the database has it: also those decided beside the node."""

from audit.metrics import Metrics
from inference.accessions import ProposalKind
from storage import proposals
from storage.session import Database
from storage.states import ProposalState


class CountProposals:
    """Sets the gauge ``proposals`` for every kind and state; runs at intervals."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    def __call__(self) -> None:
        """Count once."""
        with self._database.reading() as connection:
            found = proposals.counts(connection)
        for kind in ProposalKind:
            for state in ProposalState:
                count = found.get((kind.value, state), 0)
                self._metrics.gauge("proposals", count, kind=kind.value, state=state.value)
