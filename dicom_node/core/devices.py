"""Under which labels an image is counted: closed sets, so that no sender invents one (pure)."""

from collections.abc import Callable, Mapping

from dicom_node.config.settings import NodeSettings

OTHER = "other"


def device_labels(settings: NodeSettings) -> Callable[[str, str], Mapping[str, str]]:
    """Return what gives the metric labels of (calling AE title, Station Name).

    Only configured peers and devices have labels of their own.
    """
    peers = frozenset(peer.ae_title for peer in settings.access.peers)
    devices = {
        name: device.label for device in settings.accession.devices for name in device.station_names
    }

    def labels(calling_ae_title: str, station: str) -> Mapping[str, str]:
        return {
            "calling_ae_title": calling_ae_title if calling_ae_title in peers else OTHER,
            "device": devices.get(station, OTHER),
        }

    return labels
