$ orrery predict experiments/deepseek_v3
> DeepSeek-V3: 671.0B parameters (+ 11.6B in MTP), 2048 GPUs of 2048 x H800, 256 nodes, 400G InfiniBand
> plan deepseek_v3: PP16 EP64 DP128, schedule dualpipe, ZeRO-1, 15,360 sequences of 4096 a step in 120 micro-batches per pipeline; stack deepseek
> layers per stage: 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 1 (embedding on the first, head and MTP on the last)
>
> Step
>   step time                                     17.156 s
>   tokens per second per GPU                       1790.6
>   tokens per day                                 316.8 B
>   TFLOPS per GPU, causal / non-causal      448.5 / 503.4
>   MFU, causal / non-causal             45.34 % / 50.90 %
>   MFU: model FLOPs (forward + backward, no recompute, no MTP: 250.4 / 281.2 GFLOP per token) over 989 TFLOPS BF16 dense
>
> Where the step goes (mean over pipeline ranks)
>                                       s    share
>   forward                         1.095    6.4 %
>   backward (input and weight)     0.790    4.6 %
>   backward, input only            1.233    7.2 %
>   weight gradients                0.312    1.8 %
>   overlapped forward + backward  12.488   72.8 %
>   bubble                          0.838    4.9 %
>   optimizer                       0.401    2.3 %
>   ----------------------------------------------
>   step                           17.156  100.0 %
>   of which exposed communication
>     waiting for elementwise    0.010    0.1 %
>     waiting for comm_dispatch  0.305    1.8 %
>     waiting for comm_combine   0.471    2.7 %
>     waiting for comm_notify    0.005    0.0 %
>     waiting for comm_gradient  0.387    2.3 %
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
>   pre-training               14.8 T  2,295,951  46.7  $4.592M     simulated
>   context extension 32K   0.06291 T     18,135   0.4  $0.036M  extrapolated
>   context extension 128K  0.06291 T     46,851   1.0  $0.094M  extrapolated
>   -------------------------------------------------------------------------
>   total                              2,360,937  48.0  $4.722M
>
> Beside the published record
>                                  predicted  published    error
>   step_time_s                        17.16      19.93  -13.9 %
>   breakdown_s/forward                1.095      1.130   -3.1 %
>   breakdown_s/bubble                 0.838      2.060  -59.3 %
>   breakdown_s/backward               0.790      1.990  -60.3 %
>   breakdown_s/weight                 0.312      0.480  -35.0 %
>   breakdown_s/overlapped_pairs       12.49      13.95  -10.5 %
>   breakdown_s/optimizer              0.401      0.290  +38.2 %
>   tokens_per_day_B                   316.8      272.8  +16.1 %
>   tflops_per_gpu/causal              448.5      385.0  +16.5 %
>   tflops_per_gpu/non_causal          503.4      432.0  +16.5 %
>   mfu/causal                         0.453      0.389  +16.4 %
>   mfu/non_causal                     0.509      0.437  +16.4 %
>   phases/pre-training/gpu_hours  2,295,951  2,664,000  -13.8 %
>   phases/pre-training/cost_usd   4,591,902  5,328,000  -13.8 %
>
> warning: phase "context extension 32K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
> warning: phase "context extension 128K": layout unknown; cost from model FLOPs at the simulated step's rate, a lower bound
