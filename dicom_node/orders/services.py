"""What tells of orders while the node runs: the HL7 listener and the worklist's refresh."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.orders.book import OrderBook
from dicom_node.orders.mllp import MllpListener
from dicom_node.orders.proposal_counts import CountProposals
from dicom_node.orders.worklist_source import RefreshWorklist, WorklistSource
from dicom_node.pipeline.judge_unimaged import JudgeUnimaged
from dicom_node.scheduler import Periodic

_FORGET_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderServices:
    """Started and stopped with the node; what is not configured is None."""

    book: OrderBook
    worklist: WorklistSource | None
    refresh: RefreshWorklist | None
    refresh_s: float
    listener: MllpListener | None
    unimaged: JudgeUnimaged
    count_proposals: CountProposals
    every_s: float
    """How often the last two run, in seconds."""

    def start(self) -> None:
        """Begin to listen for HL7 orders.

        Raises
        ------
        MllpListenerFailed
            When the address cannot be bound.
        """
        if self.listener is not None:
            self.listener.start()

    def stop(self, grace_s: float) -> None:
        """Take no more messages, and ask nothing more."""
        if self.listener is not None:
            self.listener.stop(grace_s)
        if self.worklist is not None:
            self.worklist.close()

    def periodics(self) -> Sequence[Periodic]:
        """Return what runs at intervals."""
        own = [
            Periodic("order_lookups", _FORGET_S, self.book.forget),
            Periodic("unimaged_orders", self.every_s, self.unimaged),
            Periodic("proposals", self.every_s, self.count_proposals, at_start=True),
        ]
        if self.refresh is not None:
            own.append(Periodic("worklist", self.refresh_s, self.refresh))
        return own
