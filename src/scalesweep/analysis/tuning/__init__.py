"""Settings that were tuned: responses, optima, the tuned frontier, laws of the optima, transfer between sizes."""
