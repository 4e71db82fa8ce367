"""What this software calls itself."""

from importlib.metadata import PackageNotFoundError, version

MODEL_NAME = "dicom-node"
"""(0008,1090) Manufacturer's Model Name of everything that a node makes."""


def software_version() -> str:
    """Return the version of the installed package, or ``0`` in a checkout without one."""
    try:
        return version("dicom-node")
    except PackageNotFoundError:
        return "0"
