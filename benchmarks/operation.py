"""An operation, the forms that compute it, and how far their results lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

# Who wrote a form: this project, the formula in torch as anybody would write it, an installed package, a checkout.
Source = Literal["ours", "plain", "package", "peer"]
Size = Literal["full", "quick", "few"]


def as_it_is(result: Any) -> Any:
    """What is compared where a form returns just that."""
    return result


@dataclass(frozen=True)
class Work:
    """What a form cannot do without: multiplications, bytes, 64-bit words of random bits drawn beforehand."""

    multiplies: float = 0.0
    read: float = 0.0
    written: float = 0.0
    words: float = 0.0


@dataclass(frozen=True)
class Form:
    """One way to compute an operation.

    Args:
        run: What is timed.
        source: Who wrote it.
        result: Takes what `run` returned to the units and the shape of our result.
        differs: Why the result is not compared, in a few words; empty if it is.
        before: Called each time before `run`, outside the time: what a form that writes into its input needs.
    """

    run: Callable[[], Any]
    source: Source
    result: Callable[[Any], Tensor] = as_it_is
    differs: str = ""
    before: Callable[[], object] | None = None

    def once(self) -> Any:
        """One run with what goes before it."""
        if self.before is not None:
            self.before()
        return self.run()


@dataclass(frozen=True)
class Operation:
    """Forms that compute the same, the first one ours.

    Args:
        name: As `--only` finds it.
        size: What it was measured on, in a few words.
        forms: Name -> form.
        num_bytes: Of the maps, for peaks of memory.
        is_sampled: Whether results are losses of random draws: then their means agree, but for the draws.
    """

    name: str
    size: str
    forms: Mapping[str, Form]
    num_bytes: int
    is_sampled: bool = False
    ours: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ours", next(iter(self.forms)))

    def differences(self) -> dict[str, str]:
        """Form -> its largest difference from our result, or why it is not compared."""
        ours = self.forms[self.ours].result(self.forms[self.ours].once())
        return {name: form.differs or _difference(form, ours) for name, form in self.forms.items() if name != self.ours}


def _difference(form: Form, ours: Tensor) -> str:
    theirs = form.result(form.once())
    if theirs.shape != ours.shape:
        raise RuntimeError(f"results have the shapes {tuple(theirs.shape)} and {tuple(ours.shape)}")
    return f"{float((theirs - ours).abs().max()):.1e}"
