"""Claims about scaling as experiments with a verdict.

import scalesweep as ss

print(ss.study("sample_efficiency").judge(ss.read_points("points.csv")).sentence)
"""
