"""``dicom-node explore`` and ``dicom-node evaluate``: what is measured, and the pages."""
