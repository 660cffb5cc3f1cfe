"""Predictions with intervals: rival laws, rolling origin, dated forecasts and their scores, the next cells to measure."""
