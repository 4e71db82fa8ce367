"""The seam between the step *notify* and the ways by which people are told."""

from typing import Protocol

from audit.errors import Rejected
from dicom_node.notify.message import ProposalEvent
from storage.proposals import ProposalRow


class NotTaken(Rejected):
    """The service or mail server refused the message; sending it again cannot help."""

    code = "notify.message.refused"


class Channel(Protocol):
    """One way by which people are told."""

    def tell(self, row: ProposalRow, event: ProposalEvent, key: str) -> None:
        """Tell what became of a proposal.

        Parameters
        ----------
        event : ProposalEvent
            What is told, whatever came since.
        key : str
            The same for every attempt at this message.

        Raises
        ------
        PeerUnreachable
            Nobody answered, or asked to be tried again.
        NotTaken
            The message was refused for good.
        """
        ...
