"""``dicom-node demo``: sample studies through a whole node, and what came back."""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.bootstrap_data import open_database
from dicom_node.config.settings import NodeSettings
from dicom_node.demo.pacs import stand_in_pacs
from dicom_node.demo.run import SentStudy, collect, running_node, send, write_configuration
from dicom_node.demo.samples import find_samples
from storage.listing import study_listing

_LIMIT_S = 120.0


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments; it brings its own configuration."""
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder for results (replaced)"
    )
    parser.add_argument("--data", type=Path, help="folder of real images (default: $XRAY_DATA)")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    parser.set_defaults(run=run, config=Path("config.yaml"))


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; nothing is left running whatever happens."""
    console = Console(stderr=arguments.json)
    folder: Path = arguments.output.absolute()
    if folder.exists() and not (folder / "node.log").exists() and any(folder.iterdir()):
        print(f"error: {arguments.output} is not the output of a demonstration", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "sent").mkdir(parents=True)
    samples = find_samples(arguments.data, taken_at=datetime.now(UTC))
    console.print(samples.note, style="bold yellow")
    with stand_in_pacs(folder / "pacs") as pacs:
        console.print(f"PACS: {pacs.name}, {pacs.ae_title} on port {pacs.port}")
        configuration = write_configuration(folder, pacs)
        console.print("starting the node …")
        with running_node(configuration, folder / "node.log") as settings:
            console.print(
                f"node: {settings.dimse.ae_title} on port {settings.dimse.port}, "
                f"http://{settings.web.host}:{settings.web.port}/healthz"
            )
            with _progress(console) as progress:
                sending = progress.add_task("sending", total=len(samples.studies))
                back = progress.add_task("reports in the PACS", total=len(samples.studies))
                studies = []
                for images in samples.studies:
                    studies.append(send(settings, images, folder / "sent"))
                    progress.advance(sending)
                collect(
                    pacs,
                    studies,
                    folder,
                    limit_s=_LIMIT_S,
                    on_report=lambda _study: progress.advance(back),
                )
            results = _results(settings, studies)
    if arguments.json:
        json.dump(results, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        _print(console, results, settings, folder)
    return 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _results(settings: NodeSettings, studies: list[SentStudy]) -> list[dict[str, Any]]:
    """Return a document for each image: what was sent, said and delivered, and where it lies."""
    with open_database(settings) as database, database.reading() as connection:
        reports = {row.study_instance_uid: row.report for row in study_listing(connection, 100)}
    results = []
    for study in studies:
        report = reports[study.study_instance_uid] or {"images": []}
        results += [
            {
                "patient": study.patient_id,
                "accession": study.accession_number,
                "ordered": study.ordered,
                "seen": [f"{s['meaning']} {s['probability']:.0%}" for s in image["seen"]],
                "verdict": image["verdict"] or "not checked",
                "findings": [
                    f"{f['meaning']} {f['probability']:.0%}"
                    for f in image["findings"]
                    if f["decision"] == "present"
                ],
                "not_run": image["not_run"],
                "seconds": round(study.seconds or 0.0, 2),
                "reports": [str(path) for path in study.reports],
                "heat_maps": [str(path) for path in study.pictures],
            }
            for image in report["images"]
        ]
    return results


def _print(
    console: Console, results: list[dict[str, Any]], settings: NodeSettings, folder: Path
) -> None:
    table = Table(
        "patient", "accession", "ordered", "seen", "verdict", "findings", "seconds", box=None
    )
    colours = {"match": "green", "mismatch": "bold red", "uncertain": "yellow"}
    for row in results:
        findings = ", ".join(row["findings"]) or ("not run" if row["not_run"] else "none")
        verdict = row["verdict"]
        table.add_row(
            row["patient"],
            row["accession"],
            row["ordered"],
            ", ".join(row["seen"]),
            f"[{colours.get(verdict, 'white')}]{verdict.replace('_', ' ')}[/]",
            findings,
            f"{row['seconds']:.1f}",
        )
    console.print(table)
    console.print(
        f"seconds: from the answer for the last image to the SR in the PACS, "
        f"{settings.settle.settle_s:g} s of them the quiet time that settles a study"
    )
    shown = Path(folder)
    console.print(f"reports as text   {shown}/*/report-1.txt")
    console.print(f"heat maps         {shown}/*/heat-map-*.png")
    console.print(f"the node's log    {shown}/node.log")
    console.print(f"audit rows        dicom-node audit list --config {shown}/config.yaml")
    console.print("Not a medical device. Nothing is left running.")
