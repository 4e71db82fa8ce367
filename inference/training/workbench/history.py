"""The log of a training: a CSV always, TensorBoard where it is installed."""

import csv
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.training.whole import whole
from inference.training.workbench.progress import Reporter


class History:
    """One row per epoch; an epoch that is trained again after a kill replaces nothing twice.

    Parameters
    ----------
    file : Path
        The CSV.
    reporter : Reporter
        Told a line per epoch.
    tensorboard : Path, optional
        Folder for TensorBoard's events.
    """

    def __init__(self, file: Path, reporter: Reporter, tensorboard: Path | None = None) -> None:
        self._file, self._reporter, self._tensorboard = file, reporter, tensorboard
        self._writer: Any = None
        self.rows: list[dict[str, float]] = []

    def restore(self, rows: Sequence[dict[str, float]]) -> None:
        """Begin with the epochs of a checkpoint; later ones in the log are forgotten."""
        self.rows = [dict(row) for row in rows]
        self._write()
        if self._tensorboard is not None and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - seconds to import

            self._writer = SummaryWriter(str(self._tensorboard), purge_step=len(self.rows) + 1)

    def add(self, epoch: int, values: dict[str, float], *, seconds: float) -> None:
        """Log one epoch."""
        self.rows.append({"epoch": epoch, **values, "seconds": round(seconds, 3)})
        self._write()
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._reporter.line(f"epoch {epoch}: {told}, {seconds:.1f} s")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]) if self.rows else ["epoch"])
        writer.writeheader()
        writer.writerows(self.rows)
        with whole(self._file) as stream:
            stream.write(text.getvalue().encode())
