"""Measuring: the store of a sweep, workers that claim its cells, launchers that start workers, trackers that get copies."""
