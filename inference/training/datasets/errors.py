"""Why a data set cannot be used."""

from audit.errors import InvalidConfiguration

_MOST = 10


class UnusableData(InvalidConfiguration):
    """The data folder does not hold what the task describes; `problems` says where.

    Files are named relative to the data folder.
    """

    code = "training.data.unusable"

    def __init__(self, problems: list[str]) -> None:
        shown = problems[:_MOST]
        if len(problems) > _MOST:
            shown.append(f"and {len(problems) - _MOST} more")
        super().__init__(shown)
