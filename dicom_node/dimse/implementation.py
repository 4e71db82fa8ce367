"""Who we say we are on an association and in file meta information (PS3.7 Annex D.3.3.2)."""

IMPLEMENTATION_CLASS_UID = "2.25.154417890455125767177337853376573732823"
"""Names this software; a random UUID under 2.25 (PS3.5 Section B.2), never to change."""

IMPLEMENTATION_VERSION_NAME = "DICOM_AI_NODE_1"
"""At most 16 characters."""
