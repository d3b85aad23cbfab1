#!/usr/bin/env python3
"""Measures what small kernels cost on the GPUs at hand: microbenchmarks that no case takes part in.

Usage: scripts/measure_launches.py OUT.json     needs PyTorch

  chain: us a kernel of kernels that do next to nothing, back to back in a CUDA graph, in a stream, and in a
         stream with a timing event before and after each (and what those two events then read)
  copies: us a copy between buffers in turn, in a CUDA graph, by bytes of one buffer: two buffers
          that a cache can hold ("again"), and as many as fill 1 GiB ("fresh")
"""

import json
import sys

import torch


def graph_of(body):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        body()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            body()
    return graph


def timed(call, times=7):
    taken = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end) * 1000)
    return sorted(taken)[times // 2]


def chain():
    n = 500
    x = torch.zeros(1024, device="cuda")
    big = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def body():
        for _ in range(n):
            x.add_(1)

    def ahead():  # keeps the GPU busy while the host queues the rest
        for _ in range(8):
            big @ big

    busy = timed(ahead)
    graph = graph_of(body)
    result = {"graph_us": timed(graph.replay) / n, "stream_us": timed(body) / n}
    result["stream_queued_us"] = (timed(lambda: (ahead(), body())) - busy) / n

    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * n)]

    def with_events():
        ahead()
        for i in range(n):
            events[2 * i].record()
            x.add_(1)
            events[2 * i + 1].record()

    result["stream_queued_with_events_us"] = (timed(with_events) - busy) / n
    read = sorted(events[2 * i].elapsed_time(events[2 * i + 1]) * 1000 for i in range(n))
    result["event_to_event_us"] = read[n // 2]
    between = sorted(events[2 * i + 1].elapsed_time(events[2 * i + 2]) * 1000 for i in range(n - 1))
    result["between_ops_us"] = between[n // 2]
    return result


def copies():
    points = []
    for mib in (0.25, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256):
        elements = int(mib * 2**20) // 2
        for name, buffers in (("again", 2), ("fresh", max(2, int(1024 // mib)) if mib >= 1 else 1024)):
            pool = [torch.randn(elements, device="cuda").to(torch.bfloat16) for _ in range(buffers)]
            n = max(20, buffers)

            def body():
                for i in range(n):
                    pool[(i + 1) % buffers].copy_(pool[i % buffers])

            # add reads two buffers and writes one, by a plain kernel of the SMs
            def kernels():
                for i in range(n):
                    torch.add(pool[i % buffers], 1, out=pool[(i + 1) % buffers])

            copy, add = graph_of(body), graph_of(kernels)
            points.append({"bytes": 2 * elements, "buffers": name, "copy_us": timed(copy.replay) / n,
                           "kernel_us": timed(add.replay) / n})
            del copy, add, pool
    return points


def main():
    torch.cuda.init()
    result = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "chain": chain(),
              "copies": copies()}
    with open(sys.argv[1], "w") as f:
        json.dump(result, f, indent=1)
    print(json.dumps(result["chain"]))
    for p in result["copies"]:
        rate = 2 * p["bytes"] / 1e3
        print(f"{p['bytes'] / 2**20:7.2f} MiB {p['buffers']:<6} copy {p['copy_us']:8.2f} us {rate / p['copy_us']:6.0f} GB/s"
              f"  kernel {p['kernel_us']:8.2f} us {rate / p['kernel_us']:6.0f} GB/s")


if __name__ == "__main__":
    main()
