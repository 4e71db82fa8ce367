"""``dicom-node explain``: why a model said what it said of an image."""
