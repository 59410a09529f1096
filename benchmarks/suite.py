"""All operations by section and name, built one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks import decoders, losses, sampling
from benchmarks.operation import Operation, Size

GROUPS = {"readouts": decoders.GROUPS, "losses": losses.GROUPS}
SECTIONS = ("sampling", *GROUPS)


def sampling_names(temperatures: tuple[float, ...] = sampling.TEMPERATURES) -> list[str]:
    """`sampling TASK TEMPERATURE` of every task."""
    return [f"sampling {task} {temperature:g}" for task in sampling.TASKS for temperature in temperatures]


def names(section: str) -> list[str]:
    """Names of a section's operations, each beginning with the section's name."""
    if section == "sampling":
        return sampling_names()
    return [f"{section} {name}" for group in GROUPS[section] for name in group]


def build(wanted: list[str], size: Size, peers: Mapping[str, str]) -> Iterator[Operation]:
    """The operations of these names, each made when its turn comes; nothing else is made."""
    for name in wanted:
        if name.startswith("sampling "):
            _, task, temperature = name.split(" ")
            yield sampling.operation(task, float(temperature), size, peers)
    for section, groups in GROUPS.items():
        for group, make in groups.items():
            if any(f"{section} {name}" in wanted for name in group):
                for operation in make(decoders.Maps.of(size), peers):
                    if f"{section} {operation.name}" in wanted:
                        yield operation
