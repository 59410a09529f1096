"""heatpoint turns maps into points."""

__version__ = "0.1.0"
