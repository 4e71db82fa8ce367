"""``dicom-node studies``: the newest studies and how far each has come."""

import argparse
from dataclasses import asdict

from rich.table import Table

from dicom_node.bootstrap_data import open_tables
from dicom_node.cli.parsing import add_config_flag, add_json_flag, print_json_lines, print_table
from dicom_node.config.load import load
from storage.listing import StudyListing, study_listing


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_config_flag(parser)
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="newest N")
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the studies, the newest first."""
    with open_tables(load(arguments.config)) as database, database.reading() as connection:
        rows = study_listing(connection, arguments.limit)
    if arguments.json:
        print_json_lines(asdict(row) for row in rows)
        return 0
    if not rows:
        print("no study has been received yet")
        return 0
    table = Table("patient", "accession", "images", "report", "delivered", "result", box=None)
    for row in rows:
        table.add_row(
            row.patient_id,
            ", ".join(row.accession_numbers),
            str(row.instances),
            str(row.revision) if row.report else _progress(row),
            f"{row.delivered}/{row.deliveries}" if row.report else "",
            _result(row),
        )
    print_table(table)
    return 0


def _result(row: StudyListing) -> str:
    sentences = [str(row.report["sentence"])] if row.report else []
    if left_out := row.other_patient_instances:
        images, were = ("image", "was") if left_out == 1 else ("images", "were")
        sentences.append(
            f"{left_out} {images} of another patient under this study {were} left out."
        )
    return " ".join(sentences)


def _progress(row: StudyListing) -> str:
    if row.parked_jobs:
        return f"{row.parked_jobs} parked"
    if not row.routed:
        return "no route took it: only stored"
    return "in work" if row.waiting_jobs else "waiting to settle"
