"""The tiny trained run is shared with the tests of the other upper rooms."""

from runs import model_path, trained_run

__all__ = ["model_path", "trained_run"]
