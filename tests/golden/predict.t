$ orrery predict experiments/deepseek_v3
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.211 s
>   tokens per second per GPU                       1784.9
>   tokens per day                                 315.8 B
>   TFLOPS per GPU, causal / non-causal      447.0 / 501.8
>   MFU, causal / non-causal             45.20 % / 50.74 %
>   expert compute, for uneven loads               x 1.050
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.071    6.2 %
>   backward (input and weight)     0.771    4.5 %
>   backward, input only            1.217    7.1 %
>   weight gradients                0.320    1.9 %
>   overlapped forward + backward  12.690   73.7 %
>   bubble                          0.920    5.3 %
>   optimizer                       0.222    1.3 %
>   ----------------------------------------------
>   step                           17.211  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.009    0.1 %
>     waiting for comm_dispatch  0.295    1.7 %
>     waiting for comm_combine   0.392    2.3 %
>     waiting for comm_gradient  0.209    1.2 %
>
> Peak memory per GPU, GiB (capacity 79.1)
>   PP rank (stages)  peak  weights  gradients  optimizer  activations  communication  workspace
>   0 (0, 15)         59.6      6.3       18.4        1.1         30.6            0.1        3.0
>   1 (1, 14)         61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   2 (2, 13)         61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   3 (3, 12)         61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   4 (4, 11)         61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   5 (5, 10)         61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   6 (6, 9)          61.1      3.1       12.2        2.7         39.3            0.9        3.0
>   7 (7, 8)          61.7      3.1       12.2        2.7         39.7            1.1        3.0
>   8 (8, 7)          61.7      3.1       12.2        2.7         39.7            1.1        3.0
>   9 (9, 6)          61.1      3.1       12.2        2.7         39.3            0.9        3.0
>   10 (10, 5)        61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   11 (11, 4)        61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   12 (12, 3)        61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   13 (13, 2)        61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   14 (14, 1)        61.2      3.1       12.2        2.7         39.3            0.9        3.0
>   15 (15, 0)        59.6      6.3       18.4        1.1         30.6            0.1        3.0
>
> Training cost at $2 per GPU-hour
>   phase                      tokens  GPU-hours  days     cost    confidence
>   pre-training               14.8 T  2,303,233  46.9  $4.606M     simulated
>   context extension 32K   0.06291 T     18,193   0.4  $0.036M  extrapolated
>   context extension 128K  0.06291 T     46,999   1.0  $0.094M  extrapolated
>   -------------------------------------------------------------------------
>   total                              2,368,425  48.2  $4.737M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.21      19.93  -13.6 %
>   breakdown_s/forward                1.071      1.130   -5.3 %
>   breakdown_s/bubble                 0.920      2.060  -55.3 %
>   breakdown_s/backward_alone         1.988      1.990   -0.1 %
>   breakdown_s/weight                 0.320      0.480  -33.2 %
>   breakdown_s/overlapped_pairs       12.69      13.95   -9.0 %
>   breakdown_s/optimizer              0.222      0.290  -23.5 %
>   tokens_per_day_B                   315.8      272.8  +15.8 %
>   tflops_per_gpu/causal              447.0      385.0  +16.1 %
>   tflops_per_gpu/non_causal          501.8      432.0  +16.2 %
>   mfu/causal                         0.452      0.389  +16.1 %
>   mfu/non_causal                     0.507      0.437  +16.0 %
>   phases/pre-training/gpu_hours  2,303,233  2,664,000  -13.5 %
>   phases/pre-training/cost_usd   4,606,466  5,328,000  -13.5 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
