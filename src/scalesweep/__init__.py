"""scalesweep: measure, fit and report empirical scaling laws of small transformers."""

__version__ = "0.1.0"
