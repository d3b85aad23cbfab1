#!/usr/bin/env python3
"""Reduces a PyTorch/Kineto trace to what `orrery compare` reads: GPU kernels, copies and fills, their
launches, user annotations, the allocator's memory, rank and GPU. IN may be compressed with gzip.
Usage: reduce_kineto.py IN OUT"""
import gzip
import json
import sys

GPU = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCH = {"cuda_runtime", "cuda_driver"}
MEMORY = "[memory]"


def reduced(event):
    args = event.get("args", {})
    if event["name"] == MEMORY:
        keep = {"ph": "i", "name": MEMORY, "ts": event["ts"]}
        wanted = ("Device Type", "Device Id", "Total Allocated")
        return keep | {"args": {k: args[k] for k in wanted if k in args}}
    keep = {"ph": "X", "cat": event["cat"], "name": event["name"][:160], "ts": event["ts"],
            "dur": event["dur"]}
    if event["cat"] in GPU:
        wanted = ("stream", "correlation", "device", "grid")
        keep["args"] = {k: args[k] for k in wanted if k in args}
    elif event["cat"] in LAUNCH:
        keep["args"] = {"correlation": args["correlation"]}
    return keep


def main():
    opened = gzip.open if sys.argv[1].endswith(".gz") else open
    with opened(sys.argv[1], "rt", encoding="utf-8") as f:
        trace = json.load(f)
    events = trace["traceEvents"]
    spans = [e for e in events if e.get("ph") == "X"]
    launched = {e["args"].get("correlation") for e in spans if e.get("cat") in GPU and "args" in e}
    wanted = [e for e in spans if e.get("cat") in GPU or e.get("cat") == "user_annotation"
              or (e.get("cat") in LAUNCH and e.get("args", {}).get("correlation") in launched)]
    wanted += [e for e in events if e.get("ph") == "i" and e.get("name") == MEMORY]
    head = {"schemaVersion": 1}
    head |= {k: trace[k] for k in ("deviceProperties", "distributedInfo") if k in trace}
    rows = ",\n".join(json.dumps(reduced(e), separators=(",", ":")) for e in wanted)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(json.dumps(head)[:-1] + ',"traceEvents":[\n' + rows + "\n]}\n")


if __name__ == "__main__":
    main()
