#!/usr/bin/env python3
"""Measures collectives over sizes, as nccl-tests does, through PyTorch.

Usage: torchrun --nproc-per-node N scripts/measure_nccl.py OUT.json

Sizes are the whole buffer of one rank. A point is the mean time of back-to-back calls, by CUDA
events, of the slowest rank. Bus bandwidth by nccl-tests' factors.
"""

import json
import os
import sys

import torch
import torch.distributed as dist

SIZES = [1 << p for p in range(10, 31, 2)]


def operation(name, size, rank, ranks):
    part = size // ranks
    whole = torch.randint(0, 100, (size // 2,), device="cuda", dtype=torch.int16).view(torch.bfloat16)
    piece = torch.empty(part // 2, device="cuda", dtype=torch.bfloat16)
    other = torch.empty_like(whole)
    if name == "all_reduce":
        return lambda: dist.all_reduce(whole)
    if name == "all_gather":
        return lambda: dist.all_gather_into_tensor(whole, piece)
    if name == "reduce_scatter":
        return lambda: dist.reduce_scatter_tensor(piece, whole)
    if name == "all_to_all":
        return lambda: dist.all_to_all_single(other, whole)

    def send_receive():  # rank 0 sends to rank 1
        if rank == 0:
            dist.send(whole, 1)
        elif rank == 1:
            dist.recv(whole, 0)

    return send_receive


def measure(call, size):
    iterations = 200 if size <= 1 << 20 else 50 if size <= 1 << 26 else 10
    for _ in range(5):
        call()
    dist.barrier()
    torch.cuda.synchronize()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(iterations):
        call()
    end.record()
    torch.cuda.synchronize()
    us = torch.tensor([begin.elapsed_time(end) * 1000 / iterations], device="cuda")
    dist.all_reduce(us, op=dist.ReduceOp.MAX)
    return us.item()


def main():
    rank = int(os.environ["RANK"])
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
    ranks = dist.get_world_size()
    factor = {
        "all_reduce": 2 * (ranks - 1) / ranks,
        "all_gather": (ranks - 1) / ranks,
        "reduce_scatter": (ranks - 1) / ranks,
        "all_to_all": (ranks - 1) / ranks,
        "send_recv": 1,
    }
    points = []
    for name in factor:
        for size in SIZES:
            us = measure(operation(name, size, rank, ranks), size)
            points.append({"collective": name, "bytes": size, "us": round(us, 2),
                           "busbw_GBps": round(size / us / 1e3 * factor[name], 2)})
    if rank == 0:
        out = {
            "gpu": torch.cuda.get_device_name(),
            "ranks": ranks,
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
            "points": points,
        }
        with open(sys.argv[1], "w", encoding="utf-8") as f:
            json.dump(out, f, indent=1)
            f.write("\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
