"""Training of one cell: a visible loop, its schedule, its optimizer, its checkpoints."""
