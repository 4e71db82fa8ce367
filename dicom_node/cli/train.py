"""``dicom-node train``: train a network and its baselines on labelled images.

The workbench is imported when the command runs: its help needs none of the extra packages.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from dicom_node.cli.parsing import add_config_flag, count
from dicom_node.cli.reports import changes_of, needs_extra
from inference.datafolder import data_folder

_RUNS = Path("runs")
_BASELINES = ("hog-svm", "small-cnn", "none")


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Train a network and two baselines on labelled images. A run that was "
        "stopped goes on where it was when the same command is given again."
    )
    add_config_flag(parser)
    parser.add_argument(
        "task", nargs="?", metavar="TASK", help="a task file or a shipped task; none: list them"
    )
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the images")
    parser.add_argument("--out", type=Path, help=f"run folder (default: {_RUNS}/TASK)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--epochs", type=int, help="instead of the task's number")
    parser.add_argument(
        "--baseline", action="append", choices=_BASELINES, help="only this one; may be repeated"
    )
    parser.add_argument("--weights", type=Path, help="starting features: a file or its folder")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the task, as in `--set data.path=nih --set network=densenet121`",
    )
    parser.add_argument("--limit", type=count, default=0, help="images of each split, for a trial")
    parser.add_argument("--threads", type=count, default=0, help="compute threads (0: all)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on (the default)")
    again.add_argument("--fresh", action="store_true", help="forget an earlier run in the folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


@needs_extra
def run(arguments: argparse.Namespace) -> int:
    """Train, or list the shipped tasks."""
    from inference.evaluation.reports.documents import document  # noqa: PLC0415 - as said above
    from inference.training.workbench.progress import Reporter  # noqa: PLC0415
    from inference.training.workbench.runs import Run, RunOptions  # noqa: PLC0415
    from inference.training.workbench.task import read_task  # noqa: PLC0415

    if arguments.task is None:
        return _list(as_json=arguments.json)
    changes = changes_of(arguments)
    if arguments.epochs is not None:
        changes["epochs"] = arguments.epochs
    task = read_task(arguments.task, changes)
    chosen = tuple(arguments.baseline or _BASELINES[:-1])
    options = RunOptions(
        data=arguments.data,
        out=arguments.out or _RUNS / task.name,
        device=arguments.device,
        fresh=arguments.fresh,
        baselines=() if "none" in chosen else chosen,
        weights=arguments.weights,
        limit=arguments.limit,
        threads=arguments.threads,
        command=shlex.join(["dicom-node", *sys.argv[1:]]),
    )
    try:
        result = Run(task, options, Reporter()).finish()
    except KeyboardInterrupt:
        print("stopped; the same command goes on after the last whole epoch", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(document(result), sort_keys=True, allow_nan=False))
    else:
        _show(result)
    return 0


def _list(*, as_json: bool) -> int:
    from inference.training.workbench.task import read_task, shipped_tasks  # noqa: PLC0415

    for name in shipped_tasks():
        task = read_task(name)
        if as_json:
            print(json.dumps(task.document(), sort_keys=True))
        else:
            print(f"{name:16} {task.kind.value:12} {task.description}")
    return 0


def _show(result: dict[str, Any]) -> None:
    print(f"{result['task']}: best epoch {result['best_epoch']}, in {result['folder']}")
    print(f"{'':16} {'split':6} {'AUC':>6} {'accuracy':>9}")
    rows = {result["network"]: result, **result["baselines"]}
    for name, scores in rows.items():
        for split in ("val", "test"):
            if split in scores:
                auc, accuracy = scores[split]["auc"], scores[split]["accuracy"]
                print(f"{name:16} {split:6} {auc:6.3f} {accuracy:9.3f}")
