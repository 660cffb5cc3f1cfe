"""One module a study: `judge(arms, rule)` gives its findings, `simulate(arms, part, theta, noise, rng)` tables of known effect.

Pure functions of points: nothing here trains, reads or writes.
"""
