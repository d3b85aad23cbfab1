$ orrery run experiments/tiny_moe --device cpu --steps 2 --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16
> tiny_moe on cpu: 1 rank, 32 tokens a step; entropy of the data 1.3863
>     step      loss  mtp loss  grad norm         lr     tokens/s expert load  memory GiB
>        1    7.0305    7.0147    10.5194  1.500e-04 <*>        2.38 <*>
>        2    7.0435    6.9696     9.8422  3.000e-04 <*>        3.12 <*>

$ orrery run experiments/tiny_moe --device cpu --steps 1 --set /cluster/nodes=4 --set /plan/pipeline_parallel=2 --set /plan/layers_per_stage=[2,2] --set /plan/data_parallel=2 --set /plan/expert_parallel=2 --set /plan/global_batch=4 --set /plan/sequence_length=16 --set /plan/micro_batch=1
> tiny_moe on cpu: 4 ranks, 64 tokens a step; entropy of the data 1.3863
>     step      loss  mtp loss  grad norm         lr     tokens/s expert load  memory GiB
>        1    7.0427    6.9964     7.2384  1.500e-04 <*>        2.12 <*>

$ orrery run experiments/tiny_moe --device cpu --steps 1 --quiet --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16

$ orrery run experiments/tiny_moe
% no-gpu
? 69
! orrery: no GPU: <*>; --device cpu runs small models without one

$ orrery run experiments/tiny_moe --device cpu --ranks 2
? 64
! orrery: the plan has pipeline_parallel 1 x data_parallel 1 = 1 rank, but --ranks asks for 2; start a single process

$ orrery run experiments/tiny_moe --device cpu --ranks 2 --set /cluster/nodes=4 --set /plan/pipeline_parallel=2 --set /plan/layers_per_stage=[2,2] --set /plan/data_parallel=2 --set /plan/expert_parallel=2 --set /plan/global_batch=4 --set /plan/sequence_length=16 --set /plan/micro_batch=1
? 64
! orrery: the plan has pipeline_parallel 2 x data_parallel 2 = 4 ranks, but --ranks asks for 2; start it with `orrery run --ranks 4`, `mpirun -n 4 orrery run` or `torchrun --no-python --nproc-per-node 4 orrery run`, or run all ranks in one process with --device cpu

$ orrery run experiments/tiny_moe --device cpu --comm-timeout 10
? 64
! orrery: --comm-timeout is for --device cuda

$ orrery run experiments/tiny_moe --device cpu --ranks-per-gpu 2
? 64
! orrery: --ranks-per-gpu is for --device cuda

$ orrery run experiments/tiny_moe --device gpu
? 64
! --device: gpu not in {cpu,cuda}
! Run with --help for more information.

$ orrery run experiments/tiny_moe --device cpu --steps 0
? 64
! --steps: found 0, expected more than 0
! Run with --help for more information.

$ orrery run nowhere --device cpu
? 66
! orrery: nowhere: cannot read the file: No such file or directory

$ orrery run experiments/deepseek_v3 --device cpu --steps 1
? 3
! orrery: the CPU backend would hold 89842.7 GiB of weights, gradients and optimizer states for the plan's 2048 ranks, and this machine has <*> GiB of memory

$ orrery run experiments/tiny_moe --device cpu --resume
? 66
! orrery: experiments/tiny_moe/checkpoints: found no whole checkpoint to resume from; without --resume a run starts at its first step

$ orrery run experiments/tiny_moe --device cpu --resume --load x
? 64
! orrery: --resume takes the weights from a checkpoint and --load from a model: give one of them

$ orrery run experiments/tiny_moe --device cpu --dump-gradients x --set /cluster/nodes=4 --set /plan/pipeline_parallel=2 --set /plan/layers_per_stage=[2,2] --set /plan/data_parallel=2 --set /plan/expert_parallel=2 --set /plan/global_batch=4 --set /plan/sequence_length=16 --set /plan/micro_batch=1
? 64
! orrery: --dump-gradients writes whole gradients, which no rank has when the optimizer states are split: add --set /plan/zero_stage=0

$ orrery run experiments/tiny_llama --device cpu --save x --set /cluster/nodes=2 --set /plan/tensor_parallel=2
? 64
! orrery: --save writes whole matrices, which no rank has with tensor_parallel 2 and expert_tensor_parallel 1; checkpoints (/training/checkpoint) keep parts

$ orrery run experiments/tiny_moe --device cpu --set /training/optimizer/lr=1e3
? 65
! orrery: --set /training/optimizer/lr: found 1000, expected more than 0 and at most 10

$ orrery run experiments/tiny_moe --device cpu --set /training/data/branching=100 --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16
? 65
! orrery: /training/data/branching: found 100, expected 2 to 64 for a model of 1024 tokens

$ orrery run experiments/tiny_moe --device cpu --steps 1 --trace nowhere/trace.json --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16
? 73
! orrery: --trace nowhere/trace.json: there is no folder nowhere

$ orrery run experiments/tiny_moe --device cpu --load experiments/tiny_moe
? 66
! orrery: experiments/tiny_moe: found neither model.safetensors nor model.safetensors.index.json in this folder

$ orrery compare experiments/tiny_moe
? 64
! orrery: found no trace: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare experiments/tiny_moe --run experiments/tiny_moe/config.json
? 65
! orrery: experiments/tiny_moe/config.json:1:1: missing key "kind"
! experiments/tiny_moe/config.json:1:1: missing key "schema_version"

$ orrery compare experiments/tiny_moe --run experiments/deepseek_v3/profile/train.json
? 65
! orrery: experiments/deepseek_v3/profile/train.json: found a Chrome/Kineto trace, expected the trace of `orrery run --trace`; compare this one without --run

$ orrery run experiments/tiny_moe_4_ranks --device cpu --steps 1 --fake-process-group --rank 2
> tiny_moe_4_ranks on cpu: 4 ranks, 1,024 tokens a step; entropy of the data 1.3863
> fake process group: only rank 2 runs and nothing is sent; times and memory are those of its compute, losses and gradients mean nothing
>     step      loss  mtp loss  grad norm         lr     tokens/s expert load  memory GiB
>        1    3.4793    3.4994     0.3720  1.500e-04 <*>        1.28 <*>

$ orrery run experiments/tiny_moe_4_ranks --device cpu --fake-process-group --rank 4
? 64
! orrery: --rank 4: the plan has 4 ranks, 0 to 3

$ orrery run experiments/tiny_moe_4_ranks --device cpu --rank 1
? 64
! --rank requires --fake-process-group
! Run with --help for more information.

$ orrery run experiments/tiny_moe_4_ranks --device cpu --fake-process-group --resume
? 64
! --resume excludes --fake-process-group
! Run with --help for more information.

$ orrery run experiments/tiny_moe_4_ranks --device cpu --fake-process-group --set /training/checkpoint/every=5
? 64
! orrery: --fake-process-group trains nothing that is worth a checkpoint: add --set /training/checkpoint/every=0
