"""Whether a received object is a result of ours that comes back (pure).

An archive that forwards whatever it stores returns our heat maps and reports. Analysing
them would report on a report, and with two such nodes for ever.
"""

from pydicom import Dataset

from dicom_node.version import MODEL_NAME
from inference.elements import text


def is_own_result(header: Dataset, device_uid: str) -> bool:
    """Return whether this node, or another one of this product, made the object.

    Every result carries the UID of the node as (0008,0014) Instance Creator UID, and the
    product's name as (0008,1090) Manufacturer's Model Name. The name alone would also hold
    for an acquisition device of that name; results are SRs or derived images (Image Type
    value 1, PS3.3 Section C.7.6.1.1.2).

    Parameters
    ----------
    header : Dataset
        As received; broken values count as absent.
    device_uid : str
        The UID of this node as a device.
    """
    if text(header, "InstanceCreatorUID") == device_uid:
        return True
    is_result = text(header, "Modality") == "SR" or "DERIVED" in text(header, "ImageType").split()
    return is_result and text(header, "ManufacturerModelName") == MODEL_NAME
