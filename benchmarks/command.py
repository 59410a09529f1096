"""``python -m benchmarks``: ours against the formula written plainly in torch, kornia, dsntnn, and checkouts given by path.

Every form of an operation takes turns with the others in one process; a ratio is that of the same round, given as median and
middle half, above 1 where ours is faster. Processes are fresh for each section, number of threads and allocator setting:
"retained" keeps large blocks between uses, "default" lets glibc give blocks above 32 MB back to the system each time. Peaks of
memory are those of a process for each form, in multiples of the maps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import written
from benchmarks.measure import LEAST_ROUNDS
from benchmarks.peers import CHECKOUTS, PeerError, check
from benchmarks.tables import document, sections
from benchmarks.worker import LONG_ROUNDS, SECTIONS

Record = dict[str, Any]
ALLOCATIONS = ("retained", "default")
RETAINED = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
# So many that a second in which somebody else has the processor is a small part of those of an operation that takes milliseconds.
ROUNDS, QUICK_ROUNDS = 31, 3
UNKNOWN = "--only: no name contains {}. --list shows all names."


class CommandError(Exception):
    """What a person asked for cannot be done; the message is one line."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for peer, (what, _, revision) in CHECKOUTS.items():
        made.add_argument(f"--{peer}", metavar="PATH", help=f"root of a checkout of {what}, tested with {revision}")
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only names that contain one of these")
    made.add_argument("--list", action="store_true", help="names, without measuring")
    made.add_argument("--quick", action="store_true", help="tiny maps and few rounds: whether all runs, not how fast")
    made.add_argument("--threads", nargs="+", type=int, default=[min(2, os.cpu_count() or 1)], metavar="N")
    made.add_argument("--allocations", nargs="+", default=list(ALLOCATIONS), choices=ALLOCATIONS)
    made.add_argument(
        "--rounds",
        type=int,
        help=f"at most; {ROUNDS} unless told, {QUICK_ROUNDS} if quick; slow forms at least {LEAST_ROUNDS} of them; growth, "
        f"pipeline and step no more than {LONG_ROUNDS}",
    )
    made.add_argument(
        "--from", nargs="+", type=Path, dest="saved", metavar="FILE", help="render records saved by --json"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="save the records")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="save the tables")
    made.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the markers of a page")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 2 if it cannot do what was asked."""
    given = parser().parse_args(arguments)
    try:
        if given.list:
            print("\n".join(_names(given.only)))
            return 0
        found = [record for path in given.saved for record in _load(path)] if given.saved else _measure(given)
        _deliver(given, latest(found))
    except (CommandError, PeerError) as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 2
    return 0


def latest(records: Sequence[Record]) -> list[Record]:
    """Of records of the same thing, as parts measured one after the other may hold, the last; machines are all kept."""
    keys = ("kind", "threads", "allocations", "section", "operation", "quantity", "form", "recipe", "noise")
    found: dict[tuple[Any, ...], Record] = {}
    for number, record in enumerate(records):
        is_machine = record["kind"] == "machine"
        found[(number,) if is_machine else tuple(record.get(key) for key in keys)] = record
    return list(found.values())


def _deliver(given: argparse.Namespace, found: list[Record]) -> None:
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    made = sections(found)
    text = document(made)
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")
    if given.write:
        try:
            page = written(given.write.read_text(encoding="utf-8"), made)
        except (OSError, ValueError) as problem:
            raise CommandError(f"--write: {given.write}: {problem}") from problem
        given.write.write_text(page, encoding="utf-8")
    if not (given.markdown or given.write):
        print(text)


def _load(path: Path) -> list[Record]:
    try:
        found: list[Record] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise CommandError(f"--from: {path}: {problem}") from problem
    return found


def _measure(given: argparse.Namespace) -> list[Record]:
    """All records that were asked for."""
    peers = {peer: getattr(given, peer.replace("-", "_")) for peer in CHECKOUTS}
    peers = {peer: path for peer, path in peers.items() if path}
    for peer, path in peers.items():
        check(peer, path)
    if min(given.threads) < 1:
        raise CommandError(f"--threads: give numbers of at least 1, got {min(given.threads)}.")
    if given.rounds is not None and given.rounds < 1:
        raise CommandError(f"--rounds: give at least 1, got {given.rounds}.")
    task = {
        "only": given.only,
        "size": "quick" if given.quick else "full",
        "peers": {peer: str(Path(path).resolve()) for peer, path in peers.items()},
        "rounds": given.rounds if given.rounds is not None else (QUICK_ROUNDS if given.quick else ROUNDS),
    }
    found: list[Record] = []
    wanted = _sections_of(given.only)
    for threads in given.threads:
        for allocations in given.allocations:
            for section in wanted:
                has_machine = any(record["kind"] == "machine" for record in found)
                one = {**task, "section": section, "allocations": allocations, "wants_machine": not has_machine}
                for record in _run(one, threads):
                    if record["kind"] == "machine":
                        record["command"] = _command(given, peers)
                    found.append({"threads": threads, "allocations": allocations, **record})
    if all(record["kind"] == "machine" for record in found):
        raise CommandError(UNKNOWN.format(" or ".join(given.only)))
    return found


def _sections_of(only: Sequence[str]) -> Sequence[str]:
    """The sections of the names that --list shows."""
    found = {name.split(" ")[0] for name in _names(only)}
    if not found:
        raise CommandError(UNKNOWN.format(" or ".join(only)))
    return [section for section in SECTIONS if section in found]


def _names(only: Sequence[str]) -> list[str]:
    task = {"section": "all", "allocations": "retained", "only": list(only), "is_list": True}
    return [name for record in _run(task, 1) for name in record["names"]]


def _run(task: Record, threads: int) -> Iterator[Record]:
    """The records of one section from a fresh process, each told about as it comes."""
    environment = {key: value for key, value in os.environ.items() if key not in RETAINED}
    environment |= {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "0"}
    environment |= RETAINED if task["allocations"] == "retained" else {}
    paths = [str(ROOT), str(ROOT / "src"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record: Record = json.loads(line)
            if record["kind"] == "problem":
                raise PeerError(record["message"])
            if "operation" in record:
                text = f"{task['section']}, {task['allocations']}: {record['operation']}"
                print(f"{text} {record.get('quantity') or record.get('form') or ''}", file=sys.stderr, flush=True)
            yield record
    if process.returncode:
        raise CommandError(f"{task['section']}: the process that measures ended with status {process.returncode}.")


def _command(given: argparse.Namespace, peers: dict[str, str]) -> str:
    """The command in the words that anybody can repeat: paths of this machine left out."""
    words = ["python -m benchmarks"]
    words += ["--threads", *map(str, given.threads)]
    words += [word for peer in peers for word in (f"--{peer}", "PATH")]
    words += ["--quick"] if given.quick else []
    words += ["--rounds", str(given.rounds)] if given.rounds is not None else []
    words += ["--allocations", *given.allocations] if given.allocations != list(ALLOCATIONS) else []
    words += ["--only", *(f"'{text}'" for text in given.only)] if given.only else []
    return " ".join(words)
