$ orrery predict experiments/deepseek_v3
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.239 s
>   tokens per second per GPU                       1782.0
>   tokens per day                                 315.3 B
>   TFLOPS per GPU, causal / non-causal      446.3 / 501.0
>   MFU, causal / non-causal             45.13 % / 50.66 %
>   expert compute, for uneven loads               x 1.050
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.072    6.2 %
>   backward (input and weight)     0.781    4.5 %
>   backward, input only            1.223    7.1 %
>   weight gradients                0.320    1.9 %
>   overlapped forward + backward  12.704   73.7 %
>   bubble                          0.920    5.3 %
>   optimizer                       0.218    1.3 %
>   ----------------------------------------------
>   step                           17.239  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.009    0.1 %
>     waiting for comm_dispatch  0.295    1.7 %
>     waiting for comm_combine   0.404    2.3 %
>     waiting for comm_gradient  0.206    1.2 %
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
>
> Training cost at $2 per GPU-hour
>   phase                      tokens  GPU-hours  days     cost    confidence
>   pre-training               14.8 T  2,306,987  46.9  $4.614M     simulated
>   context extension 32K   0.06291 T     18,223   0.4  $0.036M  extrapolated
>   context extension 128K  0.06291 T     47,076   1.0  $0.094M  extrapolated
>   -------------------------------------------------------------------------
>   total                              2,372,285  48.3  $4.745M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.24      19.93  -13.5 %
>   breakdown_s/forward                1.072      1.130   -5.1 %
>   breakdown_s/bubble                 0.920      2.060  -55.3 %
>   breakdown_s/backward_alone         2.004      1.990   +0.7 %
>   breakdown_s/weight                 0.320      0.480  -33.2 %
>   breakdown_s/overlapped_pairs       12.70      13.95   -8.9 %
>   breakdown_s/optimizer              0.218      0.290  -25.0 %
>   tokens_per_day_B                   315.3      272.8  +15.6 %
>   tflops_per_gpu/causal              446.3      385.0  +15.9 %
>   tflops_per_gpu/non_causal          501.0      432.0  +16.0 %
>   mfu/causal                         0.451      0.389  +15.9 %
>   mfu/non_causal                     0.507      0.437  +15.8 %
>   phases/pre-training/gpu_hours  2,306,987  2,664,000  -13.4 %
>   phases/pre-training/cost_usd   4,613,974  5,328,000  -13.4 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
