"""The command ``dicom-node``."""
