#!/usr/bin/env python3
"""Puts the prediction of every measured case beside its measurement.

Usage: evaluate.py ORRERY FOLDER     reads what measure.py left in FOLDER, writes results.json and the README's table here

The error of an op kind is that of the sum of its ops in the traced step; the median and the 90th percentile
of a case are over its ops, each taken with the error of its kind. The step is that of the steps before
the traced one, which run as CUDA graphs where they can (the median, without the first); the traced step
carries two events an op and is given beside it.
"""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES

HERE = Path(__file__).resolve().parent
STACK = HERE.parents[1] / "hardware_profiles" / "stack" / "orrery.json"
RESERVED_GIB = json.loads(STACK.read_text())["reserved_GiB"]["value"]
BEGIN, END = "<!-- results -->\n", "<!-- end results -->\n"


def ask(orrery, verb, base, sets, *more):
    command = [orrery, verb, str(HERE / base), "--json", *more]
    for s in sets:
        command += ["--set", s]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def steady(metrics):
    """The steps that run as CUDA graphs: without the traced last one and what comes before they are made."""
    return metrics[3:-1] if len(metrics) > 5 else metrics[1:-1]


def quantile(errors, q):
    ordered = sorted(errors)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def percent(predicted, measured):
    return round(100 * (predicted / measured - 1), 1)


def evaluate(orrery, folder, name, base, ranks, sets):
    with tempfile.NamedTemporaryFile(suffix=".json") as trace:
        trace.write(gzip.decompress((folder / f"{name}.trace.json.gz").read_bytes()))
        trace.flush()
        compared = ask(orrery, "compare", base, sets, "--run", trace.name)
    predicted = ask(orrery, "predict", base, sets)
    metrics = [json.loads(l) for l in (folder / f"{name}.metrics.jsonl").read_text().splitlines()]
    step_ms = 1000 * statistics.median(m["step_time_s"] for m in steady(metrics))
    errors = [abs(k["error_fraction"]) for k in compared["op_kinds"] if "error_fraction" in k
              for _ in range(k["ops"])]  # without what took no time: collectives of one rank
    # The runtime counts weights, states and pool of rank 0; what the stack reserves is outside.
    peak = predicted["peak_memory_GiB"][0]["peak_GiB"] - RESERVED_GIB
    measured_peak = metrics[-1]["memory_GiB"]
    step = compared["step"]
    return {
        "case": name, "ranks": ranks, "matched": compared["matched"],
        "predicted_step_ms": round(step["predicted_us"] / 1000, 2),
        "measured_step_ms": round(step_ms, 2),
        "traced_step_ms": round(step["measured_us"] / 1000, 2),
        "step_error_percent": percent(step["predicted_us"] / 1000, step_ms),
        "op_median_error_percent": round(100 * statistics.median(errors), 1),
        "op_p90_error_percent": round(100 * quantile(errors, 0.9), 1),
        "predicted_peak_GiB": round(peak, 2), "measured_peak_GiB": round(measured_peak, 2),
        "memory_error_percent": percent(peak, measured_peak),
        "op_kinds": [{"name": k["name"], "ops": k["ops"],
                      "predicted_us": round(k["predicted_us"], 1),
                      "measured_us": round(k["measured_us"], 1)} for k in compared["op_kinds"]],
    }


def table(results):
    rows = ["| case | step, predicted / measured ms | error | ops, median / 90th percentile | peak memory |",
            "|---|---|---|---|---|"]
    for r in results:
        rows.append(f"| {r['case']} | {r['predicted_step_ms']:.1f} / {r['measured_step_ms']:.1f} "
                    f"| {r['step_error_percent']:+.1f} % | {r['op_median_error_percent']:.1f} / "
                    f"{r['op_p90_error_percent']:.1f} % | {r['memory_error_percent']:+.1f} % |")
    return "\n".join(rows) + "\n"


def write_table(results):
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + table(results) + END + rest.split(END)[1])


def main():
    folder = Path(sys.argv[2])
    results = []
    for case in CASES:
        if (folder / f"{case[0]}.trace.json.gz").exists():
            results.append(evaluate(sys.argv[1], folder, *case))
            r = results[-1]
            print(f"{r['case']:<32} step {r['step_error_percent']:+6.1f} %  ops {r['op_median_error_percent']:5.1f} / "
                  f"{r['op_p90_error_percent']:5.1f} %  memory {r['memory_error_percent']:+6.1f} %")
    write_table(results)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
