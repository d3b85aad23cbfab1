"""Models, tokens and experiment folders of transformers_parity.py: what needs no PyTorch."""

import json
import random
import struct

SEED = 1234

COMMON = dict(
    vocab_size=8192,
    hidden_size=1024,
    num_attention_heads=16,
    max_position_embeddings=2048,
    initializer_range=0.02,
    # transformers gives MLA's latent norms 1e-6 whatever the config says.
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
)
CONFIGS = {
    "deepseek_v3": dict(
        COMMON,
        num_hidden_layers=4,
        first_k_dense_replace=1,
        num_key_value_heads=16,
        q_lora_rank=512,
        kv_lora_rank=256,
        qk_nope_head_dim=64,
        qk_rope_head_dim=32,
        v_head_dim=64,
        intermediate_size=2048,
        moe_intermediate_size=512,
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=4,
        n_group=4,
        topk_group=2,
        routed_scaling_factor=2.5,
        norm_topk_prob=True,
        num_nextn_predict_layers=0,
        rope_parameters=dict(
            rope_type="yarn",
            rope_theta=10000.0,
            factor=4.0,
            original_max_position_embeddings=512,
            beta_fast=32.0,
            beta_slow=1.0,
            mscale=1.0,
            mscale_all_dim=0.8,
        ),
    ),
    "llama": dict(
        COMMON,
        num_hidden_layers=6,
        num_key_value_heads=4,
        intermediate_size=2816,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    ),
}


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def stream_key(key, stream):
    return splitmix64(key ^ splitmix64(stream))


def permuted(key, n, i):
    """Where the permutation of runtime/io/counter_random.h puts i."""
    half = 1 if n <= 1 else ((n - 1).bit_length() + 1) // 2
    mask = 2**half - 1
    while True:
        left, right = i >> half, i & mask
        for r in range(8):
            drawn = splitmix64((stream_key(key, r) + right * 0x9E3779B97F4A7C15) % 2**64)
            left, right = right, left ^ (drawn & mask)
        i = left << half | right
        if i < n:
            return i


def random_windows(vocab, windows, length):
    """Tokens by Zipf's law, so that some steps lower the loss. Windows share their border."""
    rng = random.Random(SEED)
    tokens = rng.choices(
        rng.sample(range(vocab), vocab),
        weights=[1 / (rank + 10) for rank in range(vocab)],
        k=windows * length + 1,
    )
    return tokens, [tokens[w * length : (w + 1) * length + 1] for w in range(windows)]


def training_order(windows):
    """The windows as Orrery's trainer draws them in its first epoch."""
    key = stream_key(SEED, 0)
    return [windows[permuted(key, len(windows), i)] for i in range(len(windows))]


def write_tokens(path, tokens, vocab):
    header = struct.pack("<8sIIQI36x", b"ORRTOKEN", 1, 4, len(tokens), vocab)
    path.write_bytes(header + struct.pack(f"<{len(tokens)}I", *tokens))


def write_experiment(folder, model_config, args):
    folder.mkdir(parents=True)
    plan = dict(
        name=folder.parent.name,
        pipeline_parallel=1,
        expert_parallel=1,
        data_parallel=1,
        micro_batch=args.micro_batch,
        global_batch=args.batch,
        sequence_length=args.length,
        precision="bf16",
        moments="fp32",
        schedule="1f1b",
        layers_per_stage=[model_config["num_hidden_layers"]],
        recompute={},
        zero_stage=0,
    )
    training = dict(
        steps=args.steps,
        seed=SEED,
        data=dict(kind="tokens", path="tokens.bin"),
        optimizer=dict(
            lr=args.lr, min_lr=0, warmup_steps=0, schedule="constant", beta1=0.9, beta2=0.95,
            eps=1e-8, weight_decay=0.1, max_grad_norm=1.0,
        ),
        router_bias_update_rate=0,
        log_every=1,
    )
    experiment = dict(
        name=folder.parent.name, model="config.json", cluster="cluster/one_h200", plan="plan.json",
        stack="stack/orrery", price="price/h200_3usd", training="training.json", phases=[],
    )
    files = dict(config=model_config, plan=plan, training=training, experiment=experiment)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
