"""Who we say we are on an association and in file meta information (PS3.7 Annex D.3.3.2)."""

IMPLEMENTATION_CLASS_UID = "2.25.198432950431856071034529370514830971244"
"""Names this software; derived from a UUID (PS3.5 Section B.2), never to change."""

IMPLEMENTATION_VERSION_NAME = "DICOM_AI_NODE_1"
"""At most 16 characters."""
