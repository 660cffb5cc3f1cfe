"""Values of the analysis as text for people: sentences, and blocks for a terminal of 100 columns."""
