"""The compute-optimal N and D by the three approaches of Hoffmann et al. 2022, side by side."""
