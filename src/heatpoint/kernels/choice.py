"""The setting that says which form runs, and the choice for one call."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from heatpoint._checks import message, one_of

# From the fastest to the one that always works.
FORMS = ("triton", "native", "gemm", "torch")
AUTO = "auto"
_current = [AUTO]


class use:
    """Sets the form that hot operations take, for the whole process; as a context, until its end.

    Args:
        form: "auto", the first of `FORMS` that a call allows; or one of `FORMS`. A call that the named form cannot compute
            raises, rather than quietly taking another. A function of which there is no such form, as there is none by matrix
            products of a readout, takes "torch". Contexts of two threads that overlap undo each other's.

    Raises:
        ValueError: If the form is unknown.

    >>> setting = use("torch")
    >>> current()
    'torch'
    >>> setting = use("auto")
    """

    def __init__(self, form: str) -> None:
        one_of("heatpoint.kernels.use", "form", form, (AUTO, *FORMS))
        self._form, self._before, self._is_entered = form, [_current[0]], False
        _current[0] = form

    def __enter__(self) -> use:
        if self._is_entered:
            self._before.append(_current[0])
        self._is_entered = True
        _current[0] = self._form
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current[0] = self._before.pop()


def current() -> str:
    """The form that is set, "auto" unless `use` has changed it."""
    return _current[0]


def available() -> dict[str, str]:
    """Form -> why it cannot be used on this machine, "" if it can.

    >>> available()["torch"]
    ''
    """
    from heatpoint.kernels import _library, _triton  # Looking for them is left to who asks.

    return {**dict.fromkeys(FORMS, ""), "triton": _triton.why_not_here(), "native": _library.library().reason}


def choose(function: str, obstacles: Mapping[str, str]) -> str:
    """The form that one call takes.

    Args:
        function: Name of the caller, for the error text.
        obstacles: Form -> why it cannot compute this call, "" if it can; "torch" always can. A form left out is none of this
            function's.

    Returns:
        The set form, "torch" if it is none of this function's; under "auto" the first of `FORMS` without an obstacle.

    Raises:
        ValueError: If the set form cannot compute the call.

    >>> choose("loss", {"gemm": "the axis is cyclic"})
    'torch'
    """
    form = current()
    if form == AUTO:
        return next(name for name in FORMS if name == "torch" or obstacles.get(name) == "")
    if obstacles.get(form):
        remedy = 'Take heatpoint.kernels.use("auto"), or change the call.'
        raise ValueError(
            message(function, "kernels", "be able to compute this call", f"{form!r}: {obstacles[form]}", remedy)
        )
    return form if form in obstacles else "torch"
