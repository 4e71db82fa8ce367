"""DICOMweb services: STOW-RS in."""
