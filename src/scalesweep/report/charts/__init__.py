"""Figures as values, and what draws them: for papers, for the page, for a terminal."""
