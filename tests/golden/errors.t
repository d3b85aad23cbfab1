$ orrery
? 64
! A subcommand is required
! Run with --help for more information.

$ orrery predikt
? 64
! orrery: unknown verb "predikt"; did you mean "predict"?; orrery --help lists them

$ orrery predict nowhere
? 66
! orrery: nowhere: cannot read the file: No such file or directory

$ orrery predict experiments/deepseek_v3 --set /plan/schedul=1f1b
? 65
! orrery: --set /plan/schedul: unknown key "schedul"; did you mean "schedule"?

$ orrery predict experiments/deepseek_v3 --set /plan/schedule=1f1
? 65
! orrery: --set /plan/schedule: found "1f1", expected one of "gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe" and "dualpipe_v"; did you mean "1f1b"?

$ orrery predict experiments/deepseek_v3 --set plan
? 64
! orrery: --set plan: expected /json/pointer=value, for example --set /plan/schedule=1f1b

$ orrery predict experiments/deepseek_v3 --set /cluster/node/nic_GBps=400
? 65
! orrery: hardware_profiles/node/hgx_h800.json:42:15 /cluster/node/nic_GBps: found 400, implausible per adapter and direction (expected 10 to 105 GB/s); it looks like the node's total: did you mean 50?

$ orrery predict experiments/deepseek_v3 --set /plan/expert_parallel=48
? 3
! orrery: experiments/deepseek_v3/experiment.json: the plan cannot run:
!   expert_parallel 48 does not divide data_parallel 128
!   expert_parallel 48 does not divide the model's 256 routed experts

$ orrery predict experiments/deepseek_v3 --set /cluster/node/gpu/hbm_capacity_GiB=40
? 3
! orrery: out of memory: pipeline rank 7 peaks at 62.0 GiB of 40 GiB, at layer 35 mlp(B) experts gate_up dgrad; the largest part is activations with 40.0 GiB; simulated changes that help:
!   --set /plan/pipeline_parallel=32 --set /plan/data_parallel=64 --set /plan/layers_per_stage=[2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,1,1,1]: 53.2 GiB (-8.8), step 25.519 s
!   --set /plan/recompute/attention=true: 57.3 GiB (-4.7), step 17.516 s
!   --set /plan/offload_activations={}: 57.3 GiB (-4.7), step 17.133 s
!   --set /plan/recompute={"full":"uniform"}: 57.7 GiB (-4.3), step 24.353 s
!   --set /plan/expert_parallel=128: 59.5 GiB (-2.5), step 17.127 s

$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/config.json
? 65
! orrery: experiments/deepseek_v3/config.json: found neither a trace of `orrery run` ("kind": "orrery_trace") nor a PyTorch/Kineto one ("traceEvents")

$ orrery predict experiments/deepseek_v3 --set /plan/optimizer=muo
? 65
! orrery: --set /plan/optimizer: found "muo", expected one of "adamw", "sgd" and "muon"; did you mean "muon"?

$ orrery predict experiments/deepseek_v3 --set /plan/optimizer=muon --set /plan/overlap_grad_reduce=true --set /plan/tensor_parallel=2 --set /plan/data_parallel=64 --set /plan/sequence_parallel=true
? 3
! orrery: experiments/deepseek_v3/experiment.json: the plan cannot run:
!   optimizer muon needs whole matrices: tensor_parallel 1 and expert_tensor_parallel 1; found 2 and 1
!   optimizer muon needs zero_stage 0 or 1 without overlap_grad_reduce and overlap_param_gather; found zero_stage 1, true and false

$ orrery predict experiments/tiny_llama --set '/plan/offload_activations={"layers":5,"modules":["core_attention"]}'
? 65
! orrery: --set /plan/offload_activations/modules/0: found "core_attention", expected one of "attn_norm", "qkv_linear", "core_attn", "attn_proj", "mlp_norm", "mlp_fc1", "mlp_act", "expert_fc1" and "moe_act"

$ orrery predict experiments/tiny_llama --set '/plan/offload_activations={"layers":5}'
? 3
! orrery: experiments/tiny_llama/experiment.json: the plan cannot run:
!   offload_activations.layers 5 exceeds the 4 layers of the fullest stage; leave it out to offload all

$ orrery predict experiments/tiny_llama --set /plan/offload_optimizer=true --set /plan/optimizer=sgd
? 3
! orrery: experiments/tiny_llama/experiment.json: the plan cannot run:
!   offload_optimizer needs optimizer adamw or muon, found sgd, which has no moments
