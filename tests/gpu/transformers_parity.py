#!/usr/bin/env python3
"""Compares training in Orrery with transformers on one GPU, for deepseek_v3 and llama.

A random model is saved by transformers and loaded by Orrery, and both train on the same tokens:

  gradients  of the first batch. The reference is transformers in FP32 from the same BF16 weights;
             the yardstick is how far transformers itself is from it in BF16.
  curve      the losses of some AdamW steps with FP32 master weights and BF16 copies on both sides.

Needs PyTorch, safetensors and transformers 5. Exits with 1 when a tolerance is exceeded; everything
that is compared is in OUT/results.json.

Usage: transformers_parity.py build/release/orrery --out /tmp/parity
"""

import argparse
import contextlib
import copy
import json
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from parity_inputs import (
    CONFIGS,
    SEED,
    random_windows,
    training_order,
    write_experiment,
    write_tokens,
)


def build_model(family, args):
    """In FP32, with BF16's values; nothing is left at 0 or 1."""
    prefix = {"deepseek_v3": "DeepseekV3", "llama": "Llama"}[family]
    config = getattr(transformers, prefix + "Config")(**copy.deepcopy(CONFIGS[family]))
    config._attn_implementation = "sdpa"
    config._experts_implementation = "eager"
    torch.manual_seed(SEED)
    model = getattr(transformers, prefix + "ForCausalLM")(config).float().to(args.device)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            p.copy_(p.bfloat16())
            assert p.isfinite().all()
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.uniform_(-0.1, 0.1)
    return model.train()


def to_bf16(model):
    """Only the parameters: rotary frequencies and the routers' biases stay FP32."""
    model = copy.deepcopy(model)
    for p in model.parameters():
        p.data = p.data.bfloat16()
    return model


def loss_of(model, batch):
    # The fused kernels may use TF32 for FP32.
    fp32 = next(model.parameters()).dtype == torch.float32
    with sdpa_kernel(SDPBackend.MATH) if fp32 else contextlib.nullcontext():
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten()
        )


def gradients_of(model, batch):
    """Loss and FP32 gradients by the names of checkpoints, where experts are separate."""
    model.zero_grad(set_to_none=True)
    loss = loss_of(model, batch)
    loss.backward()
    gradients = {}
    for name, p in model.named_parameters():
        g = p.grad.float()
        start, _, matrix = name.rpartition(".")
        if not start.endswith(".experts"):
            gradients[name] = g
            continue
        for e in range(g.shape[0]):
            if matrix == "gate_up_proj":
                gate, up = g[e].chunk(2)
                gradients[f"{start}.{e}.gate_proj.weight"] = gate
                gradients[f"{start}.{e}.up_proj.weight"] = up
            else:
                gradients[f"{start}.{e}.{matrix}.weight"] = g[e]
    model.zero_grad(set_to_none=True)
    return loss.item(), gradients


def train(model, compute, batches, args):
    """AdamW on the FP32 `model`; `compute` is the model itself or its BF16 copy."""
    masters, copies = list(model.parameters()), list(compute.parameters())
    groups = [
        dict(params=[p for p in masters if p.ndim > 1], weight_decay=0.1),
        dict(params=[p for p in masters if p.ndim == 1], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for batch in batches:
        compute.zero_grad(set_to_none=True)
        loss = loss_of(compute, batch)
        loss.backward()
        losses.append(loss.item())
        for master, c in zip(masters, copies):
            master.grad = c.grad.float()
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for master, c in zip(masters, copies):
                c.copy_(master)
    return losses


def run_orrery(args, folder, steps, *more):
    """The loss of each step."""
    out = folder / f"run_{steps}"
    command = [args.orrery, "run", folder / "experiment", "--device", args.device, "--quiet"]
    command += ["--steps", steps, "--load", folder / "weights", "--out", out, *more]
    command = [str(part) for part in command]
    print("+", *command, flush=True)
    subprocess.run(command, check=True)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    if len(losses) != steps:
        raise SystemExit(f"{out}/metrics.jsonl: found {len(losses)} steps, expected {steps}")
    return losses


def errors(found, reference):
    """(L2 norm of the difference over the reference's, largest difference over its largest)."""
    difference = (found - reference).double()
    l2 = difference.norm() / reference.double().norm().clamp(min=1e-30)
    largest = difference.abs().max() / reference.abs().max().clamp(min=1e-30)
    return l2.item(), largest.item()


def compare_gradients(orrery, half, full, args):
    """Prints the worst tensor of each kind and layer; returns all."""
    if set(orrery) != set(full):
        only = sorted(set(orrery) ^ set(full))
        raise SystemExit(f"gradients that only one side has: {only[:10]} ({len(only)} in all)")
    table, worst = {}, {}
    for name in sorted(full):
        l2, largest = errors(orrery[name].to(full[name].device), full[name])
        own_l2, own_largest = errors(half[name], full[name])
        ok = l2 <= max(args.factor * own_l2, args.l2) and largest <= max(
            args.factor * own_largest, args.largest
        )
        table[name] = dict(l2=l2, largest=largest, transformers_l2=own_l2,
                           transformers_largest=own_largest, ok=ok)
        kind = ".".join("*" if "experts" in name and i == 5 and part.isdigit() else part
                        for i, part in enumerate(name.split(".")))
        if kind not in worst or (not ok, l2) > (not worst[kind]["ok"], worst[kind]["l2"]):
            worst[kind] = table[name]
    print(f"{'error against FP32':58}{'L2':>10}{'(HF BF16)':>11}{'largest':>10}{'(HF BF16)':>11}")
    for kind, r in worst.items():
        print(f"{kind:58}{r['l2']:10.2e}{r['transformers_l2']:11.2e}{r['largest']:10.2e}"
              f"{r['transformers_largest']:11.2e}{'' if r['ok'] else '  FAILED'}")
    return table


def relative(a, b):
    return abs(a - b) / abs(b)


def compare_family(family, args):
    folder = args.out / family
    config = CONFIGS[family]
    tokens, windows = random_windows(config["vocab_size"], args.steps * args.batch, args.length)
    ordered = torch.tensor(training_order(windows), device=args.device)
    batches = ordered.split(args.batch)

    model = build_model(family, args)
    half_model = to_bf16(model)
    half_model.save_pretrained(folder / "weights")
    model_config = json.loads((folder / "weights" / "config.json").read_text())
    if family == "deepseek_v3":
        model_config["num_nextn_predict_layers"] = 0  # else Orrery expects an MTP module
    write_experiment(folder / "experiment", model_config, args)
    write_tokens(folder / "experiment" / "tokens.bin", tokens, config["vocab_size"])

    print(f"\n== {family}: gradients of {args.batch} sequences of {args.length} tokens")
    full_loss, full = gradients_of(model, batches[0])
    half_loss, half = gradients_of(half_model, batches[0])
    dump = folder / "gradients"
    (loss,) = run_orrery(args, folder, 1, "--dump-gradients", dump)
    table = compare_gradients(load_file(dump / "model.safetensors"), half, full, args)
    del half, full
    loss_ok = relative(loss, full_loss) <= args.loss
    print(f"loss {loss:.6f}; transformers {full_loss:.6f} in FP32, {half_loss:.6f} in BF16; "
          f"relative difference {relative(loss, full_loss):.1e}{'' if loss_ok else '  FAILED'}")

    print(f"\n== {family}: {args.steps} steps of AdamW")
    losses = run_orrery(args, folder, args.steps)
    half_losses = train(copy.deepcopy(model), half_model, batches, args)
    full_losses = train(model, model, batches, args)
    print(f"{'step':>6}{'Orrery':>10}{'HF BF16':>10}{'HF FP32':>10}{'difference to HF BF16':>24}")
    for i, (a, b, c) in enumerate(zip(losses, half_losses, full_losses), 1):
        print(f"{i:6}{a:10.4f}{b:10.4f}{c:10.4f}{relative(a, b):24.1e}")
    differences = [relative(a, b) for a, b in zip(losses, half_losses)]
    curve_ok = all(d <= args.curve for d in differences)  # not a number is not
    print(f"largest relative difference {max(differences):.1e}{'' if curve_ok else '  FAILED'}")
    return dict(
        ok=loss_ok and curve_ok and all(r["ok"] for r in table.values()),
        loss=dict(orrery=loss, transformers_fp32=full_loss, transformers_bf16=half_loss),
        curve=dict(orrery=losses, transformers_bf16=half_losses, transformers_fp32=full_losses,
                   relative_difference=differences),
        gradients=table,
    )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("orrery", help="the program, built with CUDA")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and results")
    parser.add_argument("--family", choices=CONFIGS, action="append", help="default: all")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--batch", type=int, default=8, help="sequences of a step")
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=512, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--factor", type=float, default=3.0,
                        help="a gradient may be off by so many times transformers' BF16 error,")
    parser.add_argument("--l2", type=float, default=0.02, help="or by this in relative L2 norm")
    parser.add_argument("--largest", type=float, default=0.1, help="and this in any element")
    parser.add_argument("--loss", type=float, default=1e-3, help="of the first step, relative")
    parser.add_argument("--curve", type=float, default=5e-3, help="of any step, relative")
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.family = args.family or list(CONFIGS)
    for family in args.family:
        if (args.out / family).exists():
            parser.error(f"{args.out / family} exists; choose a new --out")
    return args


def main():
    args = arguments()
    torch.set_float32_matmul_precision("highest")
    results = dict(torch=torch.__version__, transformers=transformers.__version__)
    for family in args.family:
        results[family] = compare_family(family, args)
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    failed = [family for family in args.family if not results[family]["ok"]]
    print("\nFAILED: " + ", ".join(failed) if failed else "\nall within the tolerances")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
