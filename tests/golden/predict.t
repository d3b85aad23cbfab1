$ orrery predict experiments/deepseek_v3
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.123 s  (90 %: 15.946 to 22.302)
>   tokens per second per GPU                       1794.0  (90 %: 1377.4 to 1926.5)
>   tokens per day                                 317.4 B    (90 %: 243.7 to 340.9)
>   TFLOPS per GPU, causal / non-causal      449.3 / 504.4
>   MFU, causal / non-causal             45.43 % / 51.00 %
>   expert compute, for uneven loads               x 1.050
>   90 % interval: errors of 82 runs of 13 stacks, none of its stack, whose step_speed is assumed to be 1
>     standard deviations: stack 1.7 %, run 9.9 %; centre +10.1 % of the prediction
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.072    6.3 %
>   backward (input and weight)     0.781    4.6 %
>   backward, input only            1.228    7.2 %
>   weight gradients                0.321    1.9 %
>   overlapped forward + backward  12.733   74.4 %
>   bubble                          0.775    4.5 %
>   optimizer                       0.215    1.3 %
>   ----------------------------------------------
>   step                           17.123  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.009    0.1 %
>     waiting for comm_dispatch  0.326    1.9 %
>     waiting for comm_combine   0.403    2.4 %
>     waiting for comm_gradient  0.203    1.2 %
>
> Peak memory per GPU, GiB (capacity 79.1)
>   PP rank (stages)  peak  weights  gradients  optimizer  activations  communication  workspace
>   0 (0, 15)         59.6      6.3       18.4        1.1         30.7            0.1        3.0
>   1 (1, 14)         61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   2 (2, 13)         61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   3 (3, 12)         61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   4 (4, 11)         61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   5 (5, 10)         61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   6 (6, 9)          61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   7 (7, 8)          62.0      3.1       12.2        2.7         40.0            1.1        3.0
>   8 (8, 7)          62.0      3.1       12.2        2.7         40.0            1.1        3.0
>   9 (9, 6)          61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   10 (10, 5)        61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   11 (11, 4)        61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   12 (12, 3)        61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   13 (13, 2)        61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   14 (14, 1)        61.4      3.1       12.2        2.7         39.6            0.9        3.0
>   15 (15, 0)        59.6      6.3       18.4        1.1         30.7            0.1        3.0
>   fits: rank 7 has 17.1 GiB to spare (21.6 %)
>   90 %: highest peak 61.4 to 66.3
>   90 % interval of the peak: errors of 10 runs of 3 stacks, none of its stack
>     standard deviations: stack 0.7 %, run 1.9 %; centre +2.9 % of the prediction
>   with PyTorch's allocator 75.5 GiB reserved (66.8 % unused at that peak), with expandable segments 68.3; 3.0 of them outside the allocator
>
> Training cost at $2 per GPU-hour
>   phase                      tokens  GPU-hours                    90 %  days     cost                90 %    confidence
>   pre-training               14.8 T  2,291,553  2,134,026 to 2,984,593  46.6  $4.583M  $4.268M to $5.969M     simulated
>   context extension 32K   0.06291 T     18,101             over 16,856   0.4  $0.036M        over $0.034M  extrapolated
>   context extension 128K  0.06291 T     46,761             over 43,546   1.0  $0.094M        over $0.087M  extrapolated
>   ---------------------------------------------------------------------------------------------------------------------
>   total                              2,356,414          over 2,194,429  47.9  $4.713M        over $4.389M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.12      19.93  -14.1 %
>   breakdown_s/forward                1.072      1.130   -5.2 %
>   breakdown_s/bubble                 0.775      2.060  -62.4 %
>   breakdown_s/backward_alone         2.008      1.990   +0.9 %
>   breakdown_s/weight                 0.321      0.480  -33.2 %
>   breakdown_s/overlapped_pairs       12.73      13.95   -8.7 %
>   breakdown_s/optimizer              0.215      0.290  -25.8 %
>   tokens_per_day_B                   317.4      272.8  +16.4 %
>   tflops_per_gpu/causal              449.3      385.0  +16.7 %
>   tflops_per_gpu/non_causal          504.4      432.0  +16.8 %
>   mfu/causal                         0.454      0.389  +16.7 %
>   mfu/non_causal                     0.510      0.437  +16.6 %
>   phases/pre-training/gpu_hours  2,291,553  2,664,000  -14.0 %
>   phases/pre-training/cost_usd   4,583,106  5,328,000  -14.0 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound

$ orrery predict experiments/deepseek_v3 --set /plan/optimizer=muon
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, Muon, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.296 s  (90 %: 16.107 to 22.527)
>   tokens per second per GPU                       1776.2  (90 %: 1363.7 to 1907.3)
>   tokens per day                                 314.3 B    (90 %: 241.3 to 337.5)
>   TFLOPS per GPU, causal / non-causal      444.8 / 499.4
>   MFU, causal / non-causal             44.98 % / 50.49 %
>   expert compute, for uneven loads               x 1.050
>   90 % interval: errors of 82 runs of 13 stacks, none of its stack, whose step_speed is assumed to be 1
>     standard deviations: stack 1.7 %, run 9.9 %; centre +10.1 % of the prediction
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.072    6.2 %
>   backward (input and weight)     0.781    4.5 %
>   backward, input only            1.228    7.1 %
>   weight gradients                0.321    1.9 %
>   overlapped forward + backward  12.733   73.6 %
>   bubble                          0.847    4.9 %
>   optimizer                       0.315    1.8 %
>   ----------------------------------------------
>   step                           17.296  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.009    0.1 %
>     waiting for comm_dispatch  0.326    1.9 %
>     waiting for comm_combine   0.403    2.3 %
>     waiting for comm_gradient  0.161    0.9 %
>
> Peak memory per GPU, GiB (capacity 79.1)
>   PP rank (stages)  peak  weights  gradients  optimizer  activations  communication  workspace
>   0 (0, 15)         64.7      6.3       18.4        6.2         30.7            0.1        3.0
>   1 (1, 14)         63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   2 (2, 13)         63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   3 (3, 12)         63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   4 (4, 11)         63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   5 (5, 10)         63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   6 (6, 9)          63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   7 (7, 8)          63.9      3.1       12.2        4.6         40.0            1.1        3.0
>   8 (8, 7)          63.9      3.1       12.2        4.6         40.0            1.1        3.0
>   9 (9, 6)          63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   10 (10, 5)        63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   11 (11, 4)        63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   12 (12, 3)        63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   13 (13, 2)        63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   14 (14, 1)        63.3      3.1       12.2        4.6         39.6            0.9        3.0
>   15 (15, 0)        64.7      6.3       18.4        6.2         30.7            0.1        3.0
>   fits: rank 0 has 14.4 GiB to spare (18.2 %)
>   90 %: highest peak 64.1 to 69.2
>   90 % interval of the peak: errors of 10 runs of 3 stacks, none of its stack
>     standard deviations: stack 0.7 %, run 1.9 %; centre +2.9 % of the prediction
>   with PyTorch's allocator 73.3 GiB reserved (42.9 % unused at that peak), with expandable segments 65.8; 3.0 of them outside the allocator
>
> Training cost at $2 per GPU-hour
>   phase                      tokens  GPU-hours                    90 %  days     cost                90 %    confidence
>   pre-training               14.8 T  2,314,612  2,155,501 to 3,014,626  47.1  $4.629M  $4.311M to $6.029M     simulated
>   context extension 32K   0.06291 T     18,283             over 17,026   0.4  $0.037M        over $0.034M  extrapolated
>   context extension 128K  0.06291 T     47,231             over 43,985   1.0  $0.094M        over $0.088M  extrapolated
>   ---------------------------------------------------------------------------------------------------------------------
>   total                              2,380,126          over 2,216,511  48.4  $4.760M        over $4.433M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.30      19.93  -13.2 %
>   breakdown_s/forward                1.072      1.130   -5.2 %
>   breakdown_s/bubble                 0.847      2.060  -58.9 %
>   breakdown_s/backward_alone         2.008      1.990   +0.9 %
>   breakdown_s/weight                 0.321      0.480  -33.2 %
>   breakdown_s/overlapped_pairs       12.73      13.95   -8.7 %
>   breakdown_s/optimizer              0.315      0.290   +8.7 %
>   tokens_per_day_B                   314.3      272.8  +15.2 %
>   tflops_per_gpu/causal              444.8      385.0  +15.5 %
>   tflops_per_gpu/non_causal          499.4      432.0  +15.6 %
>   mfu/causal                         0.450      0.389  +15.5 %
>   mfu/non_causal                     0.505      0.437  +15.5 %
>   phases/pre-training/gpu_hours  2,314,612  2,664,000  -13.1 %
>   phases/pre-training/cost_usd   4,629,224  5,328,000  -13.1 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound

$ orrery predict experiments/deepseek_v3 --set /plan/offload_optimizer=true
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, optimizer states in host memory, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.145 s  (90 %: 15.967 to 22.330)
>   tokens per second per GPU                       1791.8  (90 %: 1375.7 to 1924.0)
>   tokens per day                                 317.0 B    (90 %: 243.4 to 340.4)
>   TFLOPS per GPU, causal / non-causal      448.7 / 503.8
>   MFU, causal / non-causal             45.37 % / 50.94 %
>   expert compute, for uneven loads               x 1.050
>   90 % interval: errors of 82 runs of 13 stacks, none of its stack, whose step_speed is assumed to be 1
>     standard deviations: stack 1.7 %, run 9.9 %; centre +10.1 % of the prediction
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.072    6.3 %
>   backward (input and weight)     0.781    4.6 %
>   backward, input only            1.228    7.2 %
>   weight gradients                0.321    1.9 %
>   overlapped forward + backward  12.733   74.3 %
>   bubble                          0.773    4.5 %
>   optimizer                       0.239    1.4 %
>   ----------------------------------------------
>   step                           17.145  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.009    0.1 %
>     waiting for comm_dispatch  0.326    1.9 %
>     waiting for comm_combine   0.403    2.4 %
>     waiting for comm_gradient  0.160    0.9 %
>     waiting for host_copy      0.067    0.4 %
>
> Peak memory per GPU, GiB (capacity 79.1)
>   PP rank (stages)  peak  weights  gradients  optimizer  activations  communication  workspace
>   0 (0, 15)         58.5      6.3       18.4        0.0         30.7            0.1        3.0
>   1 (1, 14)         58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   2 (2, 13)         58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   3 (3, 12)         58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   4 (4, 11)         58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   5 (5, 10)         58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   6 (6, 9)          58.7      3.1       12.2        0.0         39.6            0.9        3.0
>   7 (7, 8)          59.3      3.1       12.2        0.0         40.0            1.1        3.0
>   8 (8, 7)          59.3      3.1       12.2        0.0         40.0            1.1        3.0
>   9 (9, 6)          58.7      3.1       12.2        0.0         39.6            0.9        3.0
>   10 (10, 5)        58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   11 (11, 4)        58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   12 (12, 3)        58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   13 (13, 2)        58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   14 (14, 1)        58.8      3.1       12.2        0.0         39.6            0.9        3.0
>   15 (15, 0)        58.5      6.3       18.4        0.0         30.7            0.1        3.0
>   in host memory: 2.7 GiB of optimizer states per GPU
>   fits: rank 7 has 19.8 GiB to spare (25.0 %)
>   90 %: highest peak 58.7 to 63.4
>   90 % interval of the peak: errors of 10 runs of 3 stacks, none of its stack
>     standard deviations: stack 0.7 %, run 1.9 %; centre +2.9 % of the prediction
>   with PyTorch's allocator 73.3 GiB reserved (68.9 % unused at that peak), with expandable segments 66.2; 3.0 of them outside the allocator
>
> Training cost at $2 per GPU-hour
>   phase                      tokens  GPU-hours                    90 %  days     cost                90 %    confidence
>   pre-training               14.8 T  2,294,458  2,136,731 to 2,988,376  46.7  $4.589M  $4.273M to $5.977M     simulated
>   context extension 32K   0.06291 T     18,124             over 16,878   0.4  $0.036M        over $0.034M  extrapolated
>   context extension 128K  0.06291 T     46,820             over 43,602   1.0  $0.094M        over $0.087M  extrapolated
>   ---------------------------------------------------------------------------------------------------------------------
>   total                              2,359,401          over 2,197,211  48.0  $4.719M        over $4.394M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.15      19.93  -14.0 %
>   breakdown_s/forward                1.072      1.130   -5.2 %
>   breakdown_s/bubble                 0.773      2.060  -62.5 %
>   breakdown_s/backward_alone         2.008      1.990   +0.9 %
>   breakdown_s/weight                 0.321      0.480  -33.2 %
>   breakdown_s/overlapped_pairs       12.73      13.95   -8.7 %
>   breakdown_s/optimizer              0.239      0.290  -17.6 %
>   tokens_per_day_B                   317.0      272.8  +16.2 %
>   tflops_per_gpu/causal              448.7      385.0  +16.6 %
>   tflops_per_gpu/non_causal          503.8      432.0  +16.6 %
>   mfu/causal                         0.454      0.389  +16.5 %
>   mfu/non_causal                     0.509      0.437  +16.5 %
>   phases/pre-training/gpu_hours  2,294,458  2,664,000  -13.9 %
>   phases/pre-training/cost_usd   4,588,915  5,328,000  -13.9 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound

$ orrery predict experiments/validation_h200/dense --set '/plan/offload_activations={}'
> validation_h200/dense: 0.5B parameters (+ 0.0B in MTP), 1 GPUs of 1 x H200
> plan validation_h200/dense: PP1 EP1 DP1, schedule 1f1b, ZeRO-1, activations in host memory, 4 sequences of 4096 a step in 4 micro-batches per pipeline; stack orrery, measured on NVIDIA H200
> layers per stage: 6 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                      0.241 s      (90 %: 0.221 to 0.320)
>   tokens per second per GPU                      67958.1  (90 %: 51248.0 to 74298.6)
>   tokens per day                                   5.9 B          (90 %: 4.4 to 6.4)
>   TFLOPS per GPU, causal / non-causal      201.8 / 222.3
>   MFU, causal / non-causal             20.41 % / 22.48 %
>   90 % interval: errors of 82 runs of 13 stacks, none of its stack, whose step_speed is assumed to be 1; its GPU was calibrated
>     standard deviations: stack 1.7 %, GPU 4.8 %, run 9.9 %; centre +10.1 % of the prediction
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 3.0 / 3.3 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                    s    share
>   forward                      0.101   41.9 %
>   backward (input and weight)  0.136   56.2 %
>   optimizer                    0.005    1.9 %
>   -------------------------------------------
>   step                         0.241  100.0 %
>   of which exposed communication
>     waiting for comm_gradient  0.000    0.0 %
>     waiting for host_copy      0.148   61.4 %
>
> Peak memory per GPU, GiB (capacity 139.8)
>   PP rank (stages)  peak  weights  gradients  optimizer  activations  communication  workspace
>   0 (0)             10.9      1.0        1.9        5.7          0.8            0.0        1.5
>   in host memory: 1.5 GiB of activations per GPU
>   fits: rank 0 has 128.9 GiB to spare (92.2 %)
>   90 %: highest peak 10.8 to 11.7
>   90 % interval of the peak: errors of 10 runs of 3 stacks, none of its stack
>     standard deviations: stack 0.7 %, run 1.9 %; centre +2.9 % of the prediction
>   with PyTorch's allocator 11.3 GiB reserved (12.4 % unused at that peak), with expandable segments 11.3; 1.5 of them outside the allocator
>
> Training cost at $3 per GPU-hour
>   phase          tokens  GPU-hours    90 %  days     cost                90 %  confidence
>   training  1.311e-07 T          0  0 to 0   0.0  $0.000M  $0.000M to $0.000M   simulated
>   ---------------------------------------------------------------------------------------
>   total                          0  0 to 0   0.0  $0.000M  $0.000M to $0.000M
