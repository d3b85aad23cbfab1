#!/usr/bin/env python3
"""Times training steps of transformers' DeepseekV3ForCausalLM on one GPU, as JSON on stdout.

BF16 weights and fused BF16 AdamW without FP32 masters, SDPA attention, grouped_mm experts, gradients
clipped to a norm of 1: what Orrery's plan of the same folder does, with less to store and to move.

Usage: transformers_steps.py CONFIG TOKENS BATCH LENGTH STEPS [--compile] [--recompute]
"""

import argparse
import json
import time
from pathlib import Path

import numpy
import torch
import transformers

HEADER_BYTES = 64  # of runtime/io/token_file.h


def build_model(path, compiled, recompute):
    values = json.loads(Path(path).read_text())
    values.pop("num_nextn_predict_layers", None)  # transformers has no MTP modules
    config = transformers.DeepseekV3Config(**values)
    config._attn_implementation = "sdpa"
    config._experts_implementation = "grouped_mm"
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.DeepseekV3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    if recompute:
        model.gradient_checkpointing_enable()
    model.train()
    return torch.compile(model) if compiled else model


def loss_of(model, batch):
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


def step_seconds(model, optimizer, batch):
    torch.cuda.synchronize()
    start = time.perf_counter()
    loss = loss_of(model, batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return time.perf_counter() - start, loss.item(), norm.item()


def main():
    parser = argparse.ArgumentParser()
    for name in ("config", "tokens"):
        parser.add_argument(name)
    for name in ("batch", "length", "steps"):
        parser.add_argument(name, type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--recompute", action="store_true")
    a = parser.parse_args()

    tokens = numpy.fromfile(a.tokens, dtype="<u4", offset=HEADER_BYTES).astype("int64")
    windows = torch.tensor(tokens, device="cuda").unfold(0, a.length + 1, a.length)
    model = build_model(a.config, a.compile, a.recompute)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8,
                                  weight_decay=0.1, fused=True)
    steps = []
    for s in range(a.steps):
        batch = windows[[(s * a.batch + i) % len(windows) for i in range(a.batch)]]
        seconds, loss, norm = step_seconds(model, optimizer, batch)
        steps.append(dict(step_time_s=seconds, loss=loss, grad_norm=norm))
    print(json.dumps(dict(
        steps=steps,
        parameters=sum(p.numel() for p in model.parameters()),
        peak_GiB=torch.cuda.max_memory_allocated() / 2**30,
        torch=torch.__version__,
        transformers=transformers.__version__,
    )))


if __name__ == "__main__":
    main()
