"""Models that the trainer can step."""
