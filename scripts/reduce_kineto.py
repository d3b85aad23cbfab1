#!/usr/bin/env python3
"""Reduces a PyTorch/Kineto trace to what `orrery compare` reads: GPU kernels, copies and fills, their
launches, and user annotations. Usage: reduce_kineto.py IN OUT"""
import json
import sys

GPU = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCH = {"cuda_runtime", "cuda_driver"}


def reduced(event):
    args = event.get("args", {})
    keep = {"ph": "X", "cat": event["cat"], "name": event["name"][:160], "ts": event["ts"],
            "dur": event["dur"]}
    if event["cat"] in GPU:
        keep["args"] = {k: args[k] for k in ("stream", "correlation", "grid") if k in args}
    elif event["cat"] in LAUNCH:
        keep["args"] = {"correlation": args["correlation"]}
    return keep


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    events = [e for e in events if e.get("ph") == "X"]
    launched = {e["args"]["correlation"] for e in events if e["cat"] in GPU}
    wanted = [e for e in events if e["cat"] in GPU or e["cat"] == "user_annotation"
              or (e["cat"] in LAUNCH and e["args"].get("correlation") in launched)]
    rows = ",\n".join(json.dumps(reduced(e), separators=(",", ":")) for e in wanted)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write('{"schemaVersion":1,"traceEvents":[\n' + rows + "\n]}\n")


if __name__ == "__main__":
    main()
