"""The cases of this folder: name, base experiment, ranks and what is changed."""

DENSE_LARGE = ["/model/hidden_size=4096", "/model/intermediate_size=14336",
               "/model/num_attention_heads=32", "/model/num_hidden_layers=4",
               "/plan/layers_per_stage=[4]"]
MOE_LARGE = ["/model/hidden_size=4096", "/model/intermediate_size=8192",
             "/model/moe_intermediate_size=1536", "/model/num_attention_heads=32",
             "/model/num_key_value_heads=32", "/model/q_lora_rank=1536",
             "/model/n_routed_experts=32", "/model/num_hidden_layers=4",
             "/plan/layers_per_stage=[4]"]
RECOMPUTE = ["/plan/recompute/norms=true", "/plan/recompute/swiglu=true"]
SHARED = ["/plan/sequence_length=1024"]
TP2 = ["/plan/tensor_parallel=2", "/plan/sequence_parallel=true"]
CP2_RING = ["/plan/context_parallel=2", "/plan/context_parallel_kind=ring"]
CP2_ALL_TO_ALL = ["/plan/context_parallel=2", "/plan/context_parallel_kind=all_to_all"]
ETP2 = ["/plan/expert_tensor_parallel=2", "/plan/data_parallel=2"]
PP2 = ["/plan/pipeline_parallel=2", "/plan/layers_per_stage=[3,3]"]


def single():
    for base, large in (("dense", DENSE_LARGE), ("moe", MOE_LARGE)):
        for size, changes in (("small", []), ("large", large)):
            for precision in ("bf16", "fp8"):
                for recompute in (False, True):
                    sets = changes + [f"/plan/precision={precision}"]
                    if recompute:
                        sets += RECOMPUTE + (["/plan/recompute/mla_up=true"] if base == "moe" else [])
                    name = f"{base}_{size}_{precision}" + ("_recompute" if recompute else "")
                    yield name, base, 1, sets


def shared():
    def case(name, base, ranks, *sets):
        return name, f"{base}_shared_{ranks}", ranks, SHARED + [s for part in sets for s in part]

    dp2 = ["/plan/data_parallel=2"]
    dp4 = ["/plan/data_parallel=4"]
    ep2 = ["/plan/expert_parallel=2", "/plan/data_parallel=2"]
    ep4 = ["/plan/expert_parallel=4", "/plan/data_parallel=4"]
    dualpipe = ["/plan/schedule=dualpipe", "/plan/global_batch=8"]
    yield case("dense_dp2", "dense", 2, dp2)
    yield case("dense_dp4", "dense", 4, dp4)
    yield case("dense_tp2", "dense", 2, TP2)
    yield case("dense_cp2_ring", "dense", 2, CP2_RING)
    yield case("dense_cp2_all_to_all", "dense", 2, CP2_ALL_TO_ALL)
    yield case("dense_pp2_1f1b", "dense", 2, PP2)
    yield case("dense_pp2_dp2_1f1b", "dense", 4, PP2, dp2, ["/plan/global_batch=8"])
    yield case("moe_ep2", "moe", 2, ep2)
    yield case("moe_etp2", "moe", 2, ETP2)
    yield case("moe_ep4", "moe", 4, ep4)
    yield case("moe_pp2_1f1b", "moe", 2, PP2)
    yield case("moe_pp2_dualpipe", "moe", 2, PP2, dualpipe)
    yield case("moe_pp2_ep2_1f1b", "moe", 4, PP2, ep2, ["/plan/global_batch=8"])
    yield case("moe_pp2_ep2_dualpipe", "moe", 4, PP2, ep2, ["/plan/schedule=dualpipe", "/plan/global_batch=16"])


def nvlink():
    """Two ranks with a GPU each, over NVLink; whole sequences, as the cases of one rank."""
    def case(name, base, *sets):
        return name, base + "_nvlink", 2, ["/plan/global_batch=8"] + [s for part in sets for s in part]

    dp2 = ["/plan/data_parallel=2"]
    ep2 = ["/plan/expert_parallel=2", "/plan/data_parallel=2"]
    dualpipe = ["/plan/schedule=dualpipe"]
    fp8 = ["/plan/precision=fp8"]
    yield case("nvlink_dense_dp2", "dense", dp2)
    yield case("nvlink_dense_dp2_fp8", "dense", dp2, fp8)
    yield case("nvlink_dense_tp2", "dense", TP2)
    yield case("nvlink_dense_tp2_overlap", "dense", TP2, ["/plan/overlap_tensor_parallel=true"])
    yield case("nvlink_dense_tp2_fp8", "dense", TP2, ["/plan/precision=fp8"])
    yield case("nvlink_dense_cp2_ring", "dense", CP2_RING)
    yield case("nvlink_dense_cp2_all_to_all", "dense", CP2_ALL_TO_ALL)
    yield case("nvlink_dense_pp2_1f1b", "dense", PP2)
    yield case("nvlink_moe_ep2", "moe", ep2)
    yield case("nvlink_moe_ep2_fp8", "moe", ep2, fp8)
    yield case("nvlink_moe_etp2", "moe", ETP2)
    yield case("nvlink_moe_dp2", "moe", dp2)
    yield case("nvlink_moe_pp2_1f1b", "moe", PP2)
    yield case("nvlink_moe_pp2_dualpipe", "moe", PP2, dualpipe)


CASES = [*single(), *shared(), *nvlink()]
