"""Minimisation: objectives, problems in the solver's coordinates, the batched Newton method, profiles of the likelihood."""
