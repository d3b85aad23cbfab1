$ orrery sweep experiments/tiny_moe_4_ranks --vary /plan/schedule=1f1b,dualpipe --vary /plan/layers_per_stage=[2,2],[3,1],[4,1]
> /plan/schedule  /plan/layers_per_stage  step s            90 %  tokens/s/GPU  MFU %  peak GiB
> 1f1b                             [2,2]   0.551  0.511 to 0.723        1856.8   0.00       1.5
> 1f1b                             [3,1]   0.441  0.409 to 0.578        2319.7   0.00       1.5
> 1f1b                             [4,1]       -               -             -      -         -  infeasible
> dualpipe                         [2,2]   0.388  0.359 to 0.509        2636.8   0.00       1.5
> dualpipe                         [3,1]   0.390  0.361 to 0.512        2622.7   0.00       1.5
> dualpipe                         [4,1]       -               -             -      -         -  infeasible
> /plan/schedule=1f1b /plan/layers_per_stage=[4,1]: experiments/tiny_moe_4_ranks/experiment.json: the plan cannot run:
>   layers_per_stage sums to 5, but the model has 4 layers (num_hidden_layers)
> /plan/schedule=dualpipe /plan/layers_per_stage=[4,1]: experiments/tiny_moe_4_ranks/experiment.json: the plan cannot run:
>   layers_per_stage sums to 5, but the model has 4 layers (num_hidden_layers)

$ orrery sweep experiments/tiny_moe_4_ranks --vary /plan/global_batch=8,16 --fidelity analytic --csv --threads 1
> /plan/global_batch,outcome,step_time_s,tokens_per_s_per_gpu,mfu,peak_memory_GiB,cost_usd,step_time_low_s,step_time_high_s,peak_memory_low_GiB,peak_memory_high_GiB,note
> 8,fits,0.5135721596196966,1993.8775512252814,2.583852411070058e-05,0,0,,,,,
> 16,fits,0.9812121069116966,2087.2143602528013,2.7048069495767684e-05,0,0,,,,,

$ orrery sweep experiments/tiny_moe_4_ranks --vary plan/global_batch=8
? 64
! orrery: --vary plan/global_batch=8: expected /json/pointer=value,value,... for example --vary /plan/micro_batch=1,2,4

$ orrery predict experiments/deepseek_v3 --fidelity analytic
> DeepSeek-V3: analytic bound of plan deepseek_v3 on 2048 x H800, 256 nodes, 400G InfiniBand
>
>   step time, at least                 15.669 s
>   tokens per second per GPU, at most    1960.6
>   TFLOPS per GPU, at most                491.0
>   MFU (causal), at most                49.65 %
>
>   of which, on pipeline rank 7       s
>   work                          14.955
>     of which compute            14.379
>   bubble                         0.711
>   optimizer                      0.003
