"""The node itself: DICOM services, pipeline, reports, delivery, operation."""
