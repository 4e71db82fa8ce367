"""Make the sender that a destination's settings ask for."""

from dicom_node.config.settings import Destination, DimseDestination
from dicom_node.delivery.dimse_sender import DimseSender
from dicom_node.delivery.outcome import Sender
from dicom_node.delivery.stow_sender import StowSender


def make_sender(destination: Destination, calling_ae_title: str) -> Sender:
    """Return the sender for `destination`.

    Parameters
    ----------
    calling_ae_title
        Our own title, for C-STORE.

    Raises
    ------
    InvalidConfiguration
        A file that the settings name (certificate, password) cannot be read.
    """
    if isinstance(destination, DimseDestination):
        return DimseSender(destination, calling_ae_title)
    return StowSender(destination)
