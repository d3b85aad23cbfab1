#!/usr/bin/env python3
"""Predicts step and memory of every case; writes OUT.json. Run before measuring: predict_all.py ORRERY OUT.json"""

import json
import sys

from cases import CASES
from evaluate import ask

results = []
for name, base, ranks, sets in CASES:
    predicted = ask(sys.argv[1], "predict", base, sets)
    results.append({"case": name, "step_ms": round(1000 * predicted["step_time_s"], 3),
                    "peak_GiB": [round(p["peak_GiB"], 3) for p in predicted["peak_memory_GiB"]]})
with open(sys.argv[2], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r) for r in results) + "\n]\n")
