"""Where the images lie that models are made from and measured on."""

import os
from pathlib import Path

DATA_FOLDER = "../shared/data"


def data_folder() -> Path:
    """Return what ``$XRAY_DATA`` names, else `DATA_FOLDER`."""
    return Path(os.environ.get("XRAY_DATA", DATA_FOLDER))
