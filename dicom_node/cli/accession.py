"""``dicom-node accession``: how accessions stand, what is proposed, and your word on it."""

import argparse
from collections.abc import Sequence

from rich.table import Table

from audit.errors import Rejected
from dicom_node.bootstrap_beside import open_decide
from dicom_node.bootstrap_data import open_tables
from dicom_node.cli.parsing import (
    add_config_flag,
    add_json_flag,
    print_json_lines,
    print_table,
    user,
)
from dicom_node.config.load import load
from dicom_node.orders.decide import Decide
from dicom_node.orders.views import SIDES, accession_view, proposal_view
from inference.accessions import Standing
from inference.regions import RegionMap, load_regions
from storage import checks, proposals
from storage.checks import CheckRow
from storage.proposals import NoSuchProposal, ProposalRow
from storage.states import IllegalTransition, ProposalState
from storage.unmapped import SeenText, seen_texts

_FINE = (Standing.MATCH, Standing.NOT_DECLARED)
_ATTENTION = [standing.value for standing in Standing if standing not in _FINE]


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="accessions to look at, and open proposals")
    add_config_flag(listing)
    listing.add_argument("--standing", choices=[s.value for s in Standing], action="append")
    listing.add_argument("--all", action="store_true", help="every accession and proposal")
    listing.add_argument("--accession", default="", metavar="NUMBER")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="newest N")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)
    show = actions.add_parser("show", help="one proposal, whole")
    add_config_flag(show)
    show.add_argument("proposal", type=int, metavar="PROPOSAL")
    add_json_flag(show)
    show.set_defaults(run=run_show)
    for name, text in (
        ("accept", "agree with a proposal; corrects the archive where configured"),
        ("reject", "disagree; the same is not proposed again"),
    ):
        decision = actions.add_parser(name, help=text)
        add_config_flag(decision)
        decision.add_argument("proposal", type=int, metavar="PROPOSAL")
        decision.add_argument("--note", default="", help="why; kept with the proposal")
        decision.add_argument("--dry-run", action="store_true", help="say what would be done")
        decision.add_argument(
            "--whole", action="store_true", help="with --dry-run: every attribute sent"
        )
        add_json_flag(decision)
        decision.set_defaults(run=run_decide)
    unmapped = actions.add_parser("unmapped", help="descriptions that name no known body part")
    add_config_flag(unmapped)
    unmapped.add_argument("--limit", type=int, default=50, metavar="N", help="most frequent N")
    add_json_flag(unmapped)
    unmapped.set_defaults(run=run_unmapped)


def run_list(arguments: argparse.Namespace) -> int:
    """Print accessions that need a look, and open proposals; or all of them."""
    wanted = arguments.standing or ([] if arguments.all or arguments.accession else _ATTENTION)
    state = None if arguments.all else ProposalState.OPEN
    with (
        open_tables(load(arguments.config)) as database,
        database.reading() as connection,
    ):
        judged = checks.listing(
            connection,
            verdicts=wanted,
            accession_number=arguments.accession,
            limit=arguments.limit,
        )
        offered = proposals.listing(
            connection,
            state=state,
            accession_number=arguments.accession,
            limit=arguments.limit,
        )
    if arguments.json:
        print_json_lines({"type": "accession", **accession_view(row)} for row in judged)
        print_json_lines({"type": "proposal", **proposal_view(row)} for row in offered)
        return 0
    _print_checks(judged, everything=not wanted)
    _print_proposals(offered)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one proposal; return 1 where there is none of this number."""
    with (
        open_tables(load(arguments.config)) as database,
        database.reading() as connection,
    ):
        try:
            row = proposals.get(connection, arguments.proposal)
        except NoSuchProposal:
            return _failed(f"there is no proposal {arguments.proposal}")
    if arguments.json:
        print_json_lines([proposal_view(row)])
        return 0
    view = proposal_view(row)
    print(f"Proposal {row.id} ({row.kind.replace('_', ' ')}), {row.state.value}")
    print(view["sentence"])
    table = Table("image", "from", "to", "seen", "probability", "margin", box=None)
    for move in view["moves"]:
        table.add_row(
            str(move["image"]),
            move["from"] or "(none)",
            move["to"] or "(no order)",
            move["region"].lower(),
            f"{move['probability']:.3f}",
            f"{move['margin']:.1f}",
        )
    print_table(table)
    print(f"made {view['created_at']}")
    if row.decided_at is not None:
        print(f"{row.state.value} {view['decided_at']} by {row.decided_by}")
    if row.note:
        print(f"note: {row.note}")
    print(SIDES)
    return 0


def run_decide(arguments: argparse.Namespace) -> int:
    """Accept or reject; return 1 where that cannot be."""
    settings = load(arguments.config)
    with open_tables(settings) as database, open_decide(settings, database) as decide:
        try:
            if arguments.dry_run:
                return _dry_run(arguments, decide)
            change = decide.accept if arguments.action == "accept" else decide.reject
            decided = change(arguments.proposal, actor=user(), note=arguments.note)
        except NoSuchProposal:
            return _failed(f"there is no proposal {arguments.proposal}")
        except IllegalTransition:
            return _failed(f"proposal {arguments.proposal} is not open any more")
        except Rejected as error:
            return _failed(str(error))
    if arguments.json:
        print_json_lines([proposal_view(decided.proposal)])
        return 0
    print(f"proposal {arguments.proposal}: {decided.proposal.state.value}")
    if decided.mended is not None:
        where = ", ".join(decided.mended.destinations)
        print(f"{decided.mended.objects} objects are on their way to {where}")
    elif arguments.action == "accept":
        print("nothing was sent: accession.on_accept is 'notify'")
    return 0


def run_unmapped(arguments: argparse.Namespace) -> int:
    """Print descriptions in which the table of regions finds nothing, most frequent first."""
    settings = load(arguments.config)
    regions = load_regions(settings.inference.region_map_file)
    with open_tables(settings) as database, database.reading() as connection:
        seen = [each for each in seen_texts(connection) if not _is_mapped(each, regions)][
            : arguments.limit
        ]
    if arguments.json:
        print_json_lines(
            {"attribute": each.attribute, "text": each.text, "count": each.count} for each in seen
        )
        return 0
    if not seen:
        print("every description seen names a known body part")
        return 0
    table = Table("count", "where", "text", box=None)
    for each in seen:
        table.add_row(str(each.count), each.attribute, each.text)
    print_table(table)
    print("Add the words to a file of your own and name it in inference.region_map_file.")
    return 0


def _is_mapped(seen: SeenText, regions: RegionMap) -> bool:
    """Whether the table finds a region now; an order is read again with its next notice."""
    if seen.attribute in ("worklist", "hl7"):
        return False
    value, _, rest = seen.text.partition("^")
    code = regions.region_for_code(rest.rpartition("^")[2], value) if rest else None
    return code is not None or bool(regions.regions_in_text(seen.text).regions)


def _dry_run(arguments: argparse.Namespace, decide: Decide) -> int:
    number = arguments.proposal
    row = decide.get(number)
    if row.state is not ProposalState.OPEN:
        return _failed(f"proposal {number} is not open any more")
    preview = decide.preview(number) if arguments.action == "accept" else None
    if arguments.json:
        would = preview.to_json() if preview is not None else None
        print_json_lines([{"dry_run": True, "proposal": proposal_view(row), "would_send": would}])
        return 0
    print(f"proposal {number}: would be {arguments.action}ed")
    if preview is not None:
        print(preview.text(whole=arguments.whole))
    elif arguments.action == "accept":
        print("nothing would be sent: accession.on_accept is 'notify'")
    return 0


def _print_checks(judged: Sequence[CheckRow], *, everything: bool) -> None:
    if not judged:
        print("no accession was checked yet" if everything else "no accession needs a look")
        return
    table = Table("accession", "standing", "images", "ordered by", "says", box=None)
    for row in judged:
        view = accession_view(row)
        table.add_row(
            view["accession_number"] or "(none)",
            view["standing"].replace("_", " "),
            str(len(view["images"])),
            (view["ordered_by"] or "").replace("_", " "),
            view["sentence"],
        )
    print_table(table)


def _print_proposals(offered: Sequence[ProposalRow]) -> None:
    if not offered:
        print("no proposal is open")
        return
    table = Table("proposal", "kind", "state", "says", box=None)
    for row in offered:
        table.add_row(
            str(row.id), row.kind.replace("_", " "), row.state.value, proposal_view(row)["sentence"]
        )
    print_table(table)


def _failed(reason: str) -> int:
    print(reason)
    return 1
