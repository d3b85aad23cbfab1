$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json
> forward + backward pair: predicted 127.595 ms, measured 129.012 ms, error -1.1 %
>
> Where the time of a rank goes, ms
>                                predicted  measured    error
>   compute                        124.542   124.366   +0.1 %
>   exposed communication            0.805     4.149  -80.6 %
>   idle                             0.411     0.497  -17.3 %
>   ---------------------------------------------------------
>   first op to last               125.758   129.012   -2.5 %
>   communication, all              94.510   113.030  -16.4 %
>   of it hidden behind compute     99.1 %    96.3 %
>
> Kernel time by segment, ms, largest differences first
>                predicted  measured  difference    error  ops / kernels
>   dispatch(F)     20.654    26.761      -6.107  -22.8 %             12
>   combine(B)      17.206    23.077      -5.871  -25.4 %             12
>   mlp(W)          20.756    25.513      -4.757  -18.6 %             48
>   combine(F)      30.619    34.736      -4.117  -11.9 %          9 / 8
>   dispatch(B)     26.841    29.947      -3.106  -10.4 %              8
>   mlp(B)          20.505    21.224      -0.719   -3.4 %      108 / 116
>   mlp(F)          19.053    18.415      +0.638   +3.5 %        68 / 79
>   attn(F)         17.246    17.479      -0.233   -1.3 %      124 / 276
>   attn(B)         37.473    37.363      +0.110   +0.3 %      248 / 404
>   attn(W)          9.494     9.554      -0.060   -0.6 %             20
>
> Kernel time by class, ms, largest differences first
>                  predicted  measured  difference    error  ops / kernels
>   comm_notify       12.855    32.578     -19.723  -60.5 %             16
>   gemm_wgrad        28.423    32.756      -4.333  -13.2 %             60
>   gemm_dense        17.868    18.838      -0.970   -5.1 %             64
>   comm_combine      50.304    49.448      +0.856   +1.7 %              8
>   quant_cast        14.289    14.845      -0.556   -3.7 %      172 / 176
>   rope_copy          3.518     3.087      +0.431  +13.9 %        36 / 40
>   transpose          1.486     1.818      -0.332  -18.3 %            100
>   attn_core_bwd     17.302    17.017      +0.285   +1.7 %         4 / 12
>   comm_dispatch     31.287    31.004      +0.283   +0.9 %              8
>   elementwise        3.729     3.479      +0.250   +7.2 %       57 / 363
>   and 7 more (--top 0 shows all, --json too)
>
> Op by op, summed over layers, ms, largest differences first
>                                       predicted  measured  difference      error
>   dispatch(F) dispatch tokens notify      2.781     8.968      -6.187    -69.0 %
>   combine(F) combine tokens notify        5.339    10.761      -5.422    -50.4 %
>   combine(B) dispatch grads notify        3.046     8.375      -5.329    -63.6 %
>   mlp(W) experts down wgrad               5.598     8.631      -3.033    -35.1 %
>   dispatch(B) combine grads notify        1.689     4.474      -2.785    -62.2 %
>   mlp(W) experts gate_up wgrad           11.163    12.468      -1.305    -10.5 %
>   combine(F) combine tokens              25.152    23.975      +1.177     +4.9 %
>   mlp(F) experts gate_up keep cast        0.896     0.108      +0.788   +729.7 %
>   attn(B) kv_up grad^T                    0.776     0.032      +0.744  +2325.6 %
>   combine(B) combine grad cast            0.366     1.081      -0.715    -66.1 %
>   and 111 more (--top 0 shows all, --json too)
>   516 of 657 simulated ops joined one to one with the 983 measured kernels (same segment, layer, class and position); the others are compared by class
>
> Streams, ms: with ops, idle between them, longest gap
>                  predicted busy  measured    error  predicted idle  measured  predicted gap  measured
>   communication          95.385   114.521  -16.7 %          26.658    11.994          4.167     1.945
>   compute               124.528   124.286   +0.2 %           1.230     4.251          0.002     1.761
>
> Gaps in the computation of a rank, ms, largest differences first
>                                                                                                                                gaps  measured  longest
>   cuda::per_token_cast_to_fp8_with_channels -> at::native::vectorized_elementwise_kernel, during dpsk::ep::internode::combine     4     1.772    1.761
>   cuda::per_token_cast_to_fp8_with_channels -> layer_norm::ln_fwd_kernel, during dpsk::ep::internode::cached_notify               1     0.423    0.423
>   cuda::per_token_cast_to_fp8_with_channels -> cuda::cast_back_impl, during dpsk::ep::internode::dispatch                         2     0.276    0.274
>   cutlass::device_kernel -> (anonymous namespace)::elementwise_kernel_with_index, during dpsk::ep::internode::cached_notify       4     0.135    0.129
>   dpsk::grouped_gemm::cuda::utils::transpose -> cutlass::device_kernel, during dpsk::ep::internode::dispatch                     60     0.126    0.004
>   and 107 more (--top 0 shows all, --json too)
>
> Memory: the trace says nothing of it; the predicted peak is 2.003 GiB
>
> Kernels of unknown names: 0.042 ms of 129.012 ms that is measured; they count as element-wise
>                                                                  ms  kernels
>   cuda::aux_fi_impl(long const*, float*, int, int, int, int)  0.028        4
>   cuda::unique_group_indices_impl(long*, int, int, int)       0.014        4

$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json --max-error 0.1
? 4
> ...
! orrery: the pair is -1.1 % off, more than --max-error 0.1 %

$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json --stage 16
? 64
! orrery: --stage 16: the plan has pipeline_parallel 16 stages, 0 to 15

$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json --rank 3
? 64
! orrery: --rank and --step are for traces of whole steps, not of a pair of passes

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json
> a: tests/data/compare/run_a.json, "hand-made" on "GPU A"
> b: tests/data/compare/run_b.json, "hand-made" on "GPU B"
> step: a 0.260 ms, b 0.360 ms, change +38.5 %
> all 4 ops matched one to one
>
> Where the time of a rank goes, ms
>                                     a       b    change
>   compute                       0.240   0.260    +8.3 %
>   exposed communication         0.020   0.090  +350.0 %
>   idle                          0.000   0.010         -
>   -----------------------------------------------------
>   first op to last              0.260   0.360   +38.5 %
>   communication, all            0.100   0.140   +40.0 %
>   of it hidden behind compute  80.0 %  35.7 %
>
> By op kind, ms, largest differences first
>                  a      b  difference   change  ops
>   dispatch   0.100  0.140      +0.040  +40.0 %    1
>   gemm_bf16  0.200  0.220      +0.020  +10.0 %    2
>   adamw      0.040  0.040      +0.000   +0.0 %    1
>
> By op, summed over layers, ms, largest differences first
>                                    a      b  difference   change  ops
>   dispatch(F) dispatch tokens  0.100  0.140      +0.040  +40.0 %    1
>   attn(F) q_proj fwd           0.100  0.110      +0.010  +10.0 %    1
>   mlp(F) experts up fwd        0.100  0.110      +0.010  +10.0 %    1
>   optimizer adamw              0.040  0.040      +0.000   +0.0 %    1
>
> Streams, ms: with ops, idle between them, longest gap
>                      a busy      b   change  a idle      b  a gap      b
>   expert all-to-all   0.100  0.140  +40.0 %   0.000  0.000  0.000  0.000
>   compute             0.240  0.260   +8.3 %   0.020  0.100  0.020  0.090
>
> Gaps in the computation of a rank, ms, largest differences first
>                                                                                    gaps      a      b  difference  longest
>   attn(F) q_proj fwd -> mlp(F) experts up fwd, during dispatch(F) dispatch tokens     1  0.020  0.090      +0.070    0.090
>   mlp(F) experts up fwd -> optimizer adamw                                            1  0.000  0.010      +0.010    0.010
>
> Memory, GiB, without what the stack reserves
>                       a      b   change
>   peak of rank 0  1.953  2.441  +25.0 %
>   a peak of rank 0 at layer 0 mlp(F) experts up fwd
>   b peak of rank 0 at layer 0 mlp(F) experts up fwd
>   at the same 4 ops 6.6 % off on average; largest at layer 0 mlp(F) experts up fwd: 1.953 and 2.441

$ orrery compare --run tests/data/compare/run_a.json --run tests/data/compare/run_b.json --json
> {
>   "schema_version": 1,
>   "experiment": "hand-made",
>   "device": "GPU A",
>   "b_experiment": "hand-made",
>   "b_device": "GPU B",
>   "step": {
>     "name": "step",
>     "a_us": 260.0,
>     "b_us": 360.0,
>     "change_fraction": 0.3846153846153846
>   },
>   "matched": 4,
>   "op_kinds": [
>     {
>       "name": "gemm_bf16",
>       "a_us": 200.0,
>       "b_us": 220.0,
>       "change_fraction": 0.10000000000000009,
>       "ops": 2
>     },
>     {
>       "name": "dispatch",
>       "a_us": 100.0,
>       "b_us": 140.0,
>       "change_fraction": 0.3999999999999999,
>       "ops": 1
>     },
>     {
>       "name": "adamw",
>       "a_us": 40.0,
>       "b_us": 40.0,
>       "change_fraction": 0.0,
>       "ops": 1
>     }
>   ],
>   "ops": [
>     {
>       "name": "layer 0 dispatch(F) dispatch tokens",
>       "a_us": 100.0,
>       "b_us": 140.0,
>       "change_fraction": 0.3999999999999999,
>       "ops": 1,
>       "kind": "dispatch"
>     },
>     {
>       "name": "layer 0 attn(F) q_proj fwd",
>       "a_us": 100.0,
>       "b_us": 110.0,
>       "change_fraction": 0.10000000000000009,
>       "ops": 1,
>       "kind": "gemm_bf16"
>     },
>     {
>       "name": "layer 0 mlp(F) experts up fwd",
>       "a_us": 100.0,
>       "b_us": 110.0,
>       "change_fraction": 0.10000000000000009,
>       "ops": 1,
>       "kind": "gemm_bf16"
>     },
>     {
>       "name": "optimizer adamw",
>       "a_us": 40.0,
>       "b_us": 40.0,
>       "change_fraction": 0.0,
>       "ops": 1,
>       "kind": "adamw"
>     }
>   ],
>   "overlap": {
>     "a": {
>       "span_us": 260.0,
>       "compute_us": 240.0,
>       "communication_us": 100.0,
>       "hidden_us": 80.0,
>       "hidden_fraction": 0.8,
>       "exposed_us": 20.0,
>       "idle_us": 0.0
>     },
>     "b": {
>       "span_us": 360.0,
>       "compute_us": 260.0,
>       "communication_us": 140.0,
>       "hidden_us": 50.0,
>       "hidden_fraction": 0.35714285714285715,
>       "exposed_us": 90.0,
>       "idle_us": 10.0
>     }
>   },
>   "streams": [
>     {
>       "rank_class": 0,
>       "stream": "compute",
>       "a": {
>         "busy_us": 240.0,
>         "idle_us": 20.0,
>         "gaps": 1.0,
>         "longest_gap": {
>           "us": 20.0,
>           "after": "layer 0 attn(F) q_proj fwd",
>           "before": "layer 0 mlp(F) experts up fwd"
>         }
>       },
>       "b": {
>         "busy_us": 260.0,
>         "idle_us": 100.0,
>         "gaps": 2.0,
>         "longest_gap": {
>           "us": 90.0,
>           "after": "layer 0 attn(F) q_proj fwd",
>           "before": "layer 0 mlp(F) experts up fwd"
>         }
>       }
>     },
>     {
>       "rank_class": 0,
>       "stream": "expert all-to-all",
>       "a": {
>         "busy_us": 100.0,
>         "idle_us": 0.0,
>         "gaps": 0.0
>       },
>       "b": {
>         "busy_us": 140.0,
>         "idle_us": 0.0,
>         "gaps": 0.0
>       }
>     }
>   ],
>   "gaps": [
>     {
>       "after": "attn(F) q_proj fwd",
>       "before": "mlp(F) experts up fwd",
>       "beside": "dispatch(F) dispatch tokens",
>       "gaps": 1.0,
>       "a_us": 20.0,
>       "b_us": 90.0,
>       "longest": {
>         "us": 90.0,
>         "start_us": 110.0,
>         "rank": 0
>       }
>     },
>     {
>       "after": "mlp(F) experts up fwd",
>       "before": "optimizer adamw",
>       "beside": "",
>       "gaps": 1.0,
>       "a_us": 0.0,
>       "b_us": 10.0,
>       "longest": {
>         "us": 10.0,
>         "start_us": 310.0,
>         "rank": 0
>       }
>     }
>   ],
>   "memory": [
>     {
>       "rank_class": 0,
>       "rank": 0,
>       "a_peak_bytes": 2097152000,
>       "b_peak_bytes": 2621440000,
>       "a_peak_at": "layer 0 mlp(F) experts up fwd",
>       "b_peak_at": "layer 0 mlp(F) experts up fwd",
>       "ops": 4,
>       "mean_change_fraction": 0.06562499999999999,
>       "largest_difference": {
>         "at": "layer 0 mlp(F) experts up fwd",
>         "a_bytes": 2097152000,
>         "b_bytes": 2621440000
>       },
>       "calls": [
>         {
>           "call": 0,
>           "a_bytes": 2097152000,
>           "b_bytes": 2621440000
>         },
>         {
>           "call": 1,
>           "a_bytes": 1258291200,
>           "b_bytes": 1258291200
>         }
>       ]
>     }
>   ]
> }

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json --top 1 --max-error 30
? 4
> a: tests/data/compare/run_a.json, "hand-made" on "GPU A"
> b: tests/data/compare/run_b.json, "hand-made" on "GPU B"
> step: a 0.260 ms, b 0.360 ms, change +38.5 %
> all 4 ops matched one to one
> ...
! orrery: the step changed by +38.5 %, more than --max-error 30 %

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_c.json
? 65
! orrery: tests/data/compare/run_c.json: is of another plan or model than tests/data/compare/run_a.json
! tests/data/compare/run_c.json: has 2 pipeline ranks, the other 1
! tests/data/compare/run_c.json: holds 2 ranks, 0 to 1, the other rank 0
! tests/data/compare/run_c.json: lacks 1 op of tests/data/compare/run_a.json, first class 0 call 0 op 2 "layer 0 mlp(F) experts up fwd"
! tests/data/compare/run_c.json: has 2 ops that tests/data/compare/run_a.json lacks, first class 0 call 0 op 2 "layer 0 mlp(F) gate_up fwd"

$ orrery compare experiments/tiny_llama tests/data/compare/kineto.json
> step (rank 0 on NVIDIA H100 80GB HBM3, profiled step 2 of 2 to 4; 1 kernel outside of steps left out): predicted 3.015 ms, measured 1.000 ms, error +201.5 %
>
> Where the time of a rank goes, ms
>                                predicted  measured     error
>   compute                          1.955     0.650  +200.7 %
>   exposed communication            0.004     0.150   -97.3 %
>   idle                             1.054     0.100  +954.0 %
>   ----------------------------------------------------------
>   first op to last                 3.013     0.900  +234.7 %
>   communication, all               0.004     0.300   -98.7 %
>   of it hidden behind compute      0.0 %    50.0 %
>
> Kernel time by family, ms, largest differences first
>                       predicted  measured  difference     error  ops / kernels
>   gemm                    1.174     0.400      +0.774  +193.5 %        252 / 1
>   all-reduce              0.004     0.300      -0.296   -98.7 %          2 / 1
>   norm                    0.229     0.000      +0.229         -        108 / 0
>   element-wise            0.263     0.050      +0.213  +426.2 %        120 / 1
>   attention backward      0.174     0.000      +0.174         -         16 / 0
>   optimizer               0.034     0.160      -0.126   -79.0 %          3 / 1
>   attention forward       0.050     0.000      +0.050         -         16 / 0
>   unknown                 0.000     0.040      -0.040         -          0 / 1
>   copy and fill           0.021     0.000      +0.021         -          9 / 0
>   cross entropy           0.009     0.000      +0.009         -          4 / 0
>
> Streams, ms: with ops, idle between them, longest gap
>                  predicted busy  measured     error  predicted idle  measured  predicted gap  measured
>   compute                 1.955     0.650  +200.7 %           1.058     0.250          0.004     0.250
>   communication           0.004     0.300   -98.7 %           0.007     0.000          0.007     0.000
>
> Gaps in the computation of a rank, ms, largest differences first
>                                                                                                                 gaps  measured  longest
>   at::native::vectorized_elementwise_kernel -> my_fused_thing, during ncclDevKernel_AllReduce_Sum_bf16_RING_LL     1     0.250    0.250
>
> Memory, MiB, without what the stack reserves
>                   predicted  measured    error
>   peak of rank 0      68.48    900.00  -92.4 %
>   predicted peak of rank 0 at layer 3 mlp(B) mlp down dgrad
>   measured peak of rank 0 at at::native::vectorized_elementwise_kernel
>
> Kernels of unknown names: 0.040 ms of 0.900 ms that is measured
>                                   ms  kernels
>   my_fused_thing(float*, int)  0.040        1

$ orrery compare experiments/tiny_llama tests/data/compare/kineto.json --step 3 --json
> {
>   "schema_version": 1,
>   "step": {
>     "name": "step",
>     "predicted_us": 3014.510066,
>     "measured_us": 1020.0,
>     "error_fraction": 1.955402025490196,
>     "predicted_count": 0,
>     "measured_count": 0
>   },
>   "families": [
>     {
>       "name": "copy and fill",
>       "predicted_us": 21.258243999999465,
>       "measured_us": 0.0,
>       "predicted_count": 9,
>       "measured_count": 0
> ...

$ orrery compare experiments/tiny_llama tests/data/compare/kineto.json --step 9
? 65
! orrery: tests/data/compare/kineto.json: has no step 9; its steps are 2 to 4

$ orrery compare experiments/tiny_llama tests/data/compare/kineto.json --rank 5
? 64
! orrery: --rank 5: the plan has 1 ranks, 0 to 0

$ orrery compare experiments/tiny_llama tests/data/compare/run_a.json
? 65
> step of "hand-made" on "GPU A": predicted 3.015 ms, measured 0.260 ms, error +1059.4 %
> 0 ops matched one to one, 530 predicted and 4 measured ones did not
>
> 530 ops are simulated but not in the trace, or not on all of its ranks:
>   class 0 call 0 op 0 "layer 0 attn(F) load token ids"
>   class 0 call 0 op 1 "layer 0 attn(F) embedding"
>   class 0 call 0 op 2 "layer 0 attn(F) attn_norm"
>   class 0 call 0 op 3 "layer 0 attn(F) q_proj fwd"
>   class 0 call 0 op 4 "layer 0 attn(F) kv_proj fwd"
>   class 0 call 0 op 5 "layer 0 attn(F) rope q"
>   class 0 call 0 op 6 "layer 0 attn(F) rope k"
>   class 0 call 0 op 7 "layer 0 attn(F) attention core fwd"
>   class 0 call 0 op 8 "layer 0 attn(F) o_proj fwd"
>   class 0 call 0 op 9 "layer 0 mlp(F) ffn_norm"
>   class 0 call 0 op 10 "layer 0 mlp(F) mlp gate_up fwd"
>   class 0 call 0 op 11 "layer 0 mlp(F) mlp down swiglu"
>   class 0 call 0 op 12 "layer 0 mlp(F) mlp down fwd"
>   class 0 call 0 op 13 "layer 1 attn(F) attn_norm"
>   class 0 call 0 op 14 "layer 1 attn(F) q_proj fwd"
>   class 0 call 0 op 15 "layer 1 attn(F) kv_proj fwd"
>   class 0 call 0 op 16 "layer 1 attn(F) rope q"
>   class 0 call 0 op 17 "layer 1 attn(F) rope k"
>   class 0 call 0 op 18 "layer 1 attn(F) attention core fwd"
>   class 0 call 0 op 19 "layer 1 attn(F) o_proj fwd"
>   and 510 more
>
> 4 ops are in the trace but not simulated:
>   class 0 call 0 op 0 "layer 0 attn(F) q_proj fwd"
>   class 0 call 0 op 1 "layer 0 dispatch(F) dispatch tokens"
>   class 0 call 0 op 2 "layer 0 mlp(F) experts up fwd"
>   class 0 call 1 op 3 "optimizer adamw"
! orrery: tests/data/compare/run_a.json: the trace is of experiment "hand-made", the prediction of "tiny_llama"

$ orrery compare
? 64
! orrery: found no experiment: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare experiments/tiny_llama
? 64
! orrery: found no trace: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare tests/data/compare/run_a.json
? 64
! orrery: found one trace alone: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare tests/data/compare/kineto.json
? 64
! orrery: found a PyTorch trace without the experiment that it is of: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare experiments/tiny_llama tests/data/compare/run_a.json tests/data/compare/run_b.json
? 64
! orrery: found an experiment and 2 traces: compare takes an experiment and one trace, of `orrery run --trace` or of PyTorch's profiler, or two traces of `orrery run`

$ orrery compare experiments/tiny_llama nowhere.json
? 66
! orrery: nowhere.json: cannot read the file: No such file or directory

$ orrery compare experiments/tiny_llama experiments/validation_h200/measured/dense_small_bf16.trace.json.gz
? 65
! orrery: experiments/validation_h200/measured/dense_small_bf16.trace.json.gz: is compressed; unpack it first: gunzip -k experiments/validation_h200/measured/dense_small_bf16.trace.json.gz

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json --set /plan/schedule=1f1b
? 64
! orrery: --set is for an experiment; two traces have none

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json --rank 1
? 64
! orrery: --stage, --rank and --step are for PyTorch traces

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json --metrics metrics.jsonl
? 64
! orrery: --metrics is for an experiment beside a trace of `orrery run`

$ orrery compare tests/data/compare/run_a.json tests/data/compare/run_b.json --top 1 --perfetto nowhere/both.json
? 73
! orrery: nowhere/both.json: cannot create the file: No such file or directory

$ orrery run experiments/tiny_llama --device cpu --steps 3 --quiet --out @TMP/run --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16

$ orrery compare experiments/tiny_llama @TMP/run --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16 --perfetto @TMP/both.json
> step of "tiny_llama" on "cpu": predicted <*> ms, measured <*> ms, error <*> %
> 1 step without a trace: measured <*> ms (median), error <*> %
> all 268 ops matched one to one
>
> Where the time of a rank goes, ms
> ...

$ orrery compare experiments/tiny_llama @TMP/run
? 65
> step of "tiny_llama" on "cpu": predicted <*> ms, measured <*> ms, error <*> %
> ...
! orrery: @TMP/run/trace.json: not every op has its counterpart; the trace is of another plan or model (give the --set that the run had), or of another version

$ orrery compare experiments/tiny_llama @TMP/run/trace.json --metrics @TMP/run/metrics.jsonl --max-error 5 --set /plan/global_batch=2 --set /plan/micro_batch=1 --set /plan/sequence_length=16
? 4
> ...
! orrery: the step is <*> % off, more than --max-error 5 %

$ orrery compare @TMP/run @TMP/run/trace.json --max-error 0
> a: @TMP/run/trace.json, "tiny_llama" on "cpu"
> b: @TMP/run/trace.json, "tiny_llama" on "cpu"
> step: a <*> ms, b <*> ms, change +0.0 %
> all 268 ops matched one to one
> ...
