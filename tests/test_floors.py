"""No import runs upwards through the floors that CONTRIBUTING.md lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pages import ROOT, page

PACKAGE = ROOT / "src" / "heatpoint"


def floors() -> dict[str, int]:
    """Room -> number of its floor."""
    lines = re.findall(r"^  (\d+)\. (`.+`)$", page("CONTRIBUTING.md"), flags=re.MULTILINE)
    return {room: int(number) for number, rooms in lines for room in re.findall(r"`(\w+)`", rooms)}


def imports(path: Path) -> Iterator[str]:
    """Every room that a file imports, within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("heatpoint."))


def test_every_room_has_a_floor() -> None:
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms if not room.startswith("_")} == set(floors())


def test_no_import_runs_upwards() -> None:
    floor = floors()
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imports(path) if room in floor else ():
            sideways = other != room and floor.get(other, 0) == floor[room] > 2
            if floor.get(other, 0) > floor[room] or sideways:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []
