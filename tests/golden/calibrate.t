$ orrery calibrate --nccl-tests tests/data/nccl_tests/all_reduce_2_gpus.txt tests/data/nccl_tests/alltoall_2_gpus.json --dry-run
> 22 collectives of up to 2 ranks on 1 node; links of HGX H200, 2 of 8 GPUs
>
>   collectives  points  base's  fitted  median  largest  held out  median  largest
>   -------------------------------------------------------------------------------
>   all_reduce       11  76.6 %       9   8.0 %   51.5 %         2   3.7 %    5.5 %
>   all_to_all       11  51.5 %       9   0.9 %   12.5 %         2   5.2 %    8.8 %
>
>   constants                                  base  measured
>   -----------------------------------------------------------------------
>   /cluster/node/nvlink_effective_GBps         370       450  at its bound
>   /stack/collectives/ring_local_steps        0.37    0.6815
>   call_us                                       0     30.09
>   /stack/collectives/p2p_efficiency/hopper  0.877     0.737
>   /stack/collectives/p2p_latency_us          15.8     33.26
> warning: outliers, points far from the fit: 2
>   all_reduce of 262,144 bytes, 2 ranks, 79.1 us, predicted 40.4
>   all_reduce of 4,194,304 bytes, 2 ranks, 38.1 us, predicted 57.8

$ orrery calibrate --from tests/data/nccl_tests/alltoall_2_gpus.json
? 65
! orrery: tests/data/nccl_tests/alltoall_2_gpus.json:1:1 /schema_version: expected schema_version 2: a file that `orrery calibrate` measured

$ orrery calibrate --from nowhere.json
? 66
! orrery: nowhere.json: cannot read the file: No such file or directory

$ orrery calibrate --nccl-tests LICENSE
? 65
! orrery: LICENSE: no row of nccl-tests in it

$ orrery calibrate --nccl-tests tests/data/nccl_tests/all_reduce_2_gpus.txt --cluster cluster/hgx_h201
? 66
! orrery: hardware_profiles/cluster/hgx_h201.json: cannot read the file: No such file or directory

$ orrery calibrate --quiet
% no-gpu
? 69
! orrery: no GPU: <*>

$ orrery calibrate --from hardware_profiles/measured/h200_sxm5/2026-11-28_2.json --dry-run
> NVIDIA H200, 2026-11-28: 354 points; CUDA 13.0, driver 580.159.04; what is not measured is gpu/h200_sxm5's
>
>   errors by class               base's  largest  fitted  median  largest  held out  median  largest
>   -------------------------------------------------------------------------------------------------
>   memory_bound stream            4.5 %   60.6 %      17   1.0 %    4.6 %         4   1.2 %    3.0 %
>   memory_bound row_reduce        9.4 %   25.1 %      16  12.3 %   37.1 %         4  12.0 %   19.8 %
>   memory_bound cast             32.9 %   80.8 %      15  10.4 %   18.9 %         3  12.9 %   15.3 %
>   memory_bound cast_transpose   13.0 %   36.8 %      10  14.5 %   37.7 %         2  16.9 %   30.1 %
>   memory_bound transpose         4.8 %   56.7 %      10   1.6 %    6.3 %         2   9.8 %   19.7 %
>   memory_bound strided         128.5 %  130.9 %       5   1.7 %    7.6 %         1   1.9 %    1.9 %
>   memory_bound gather           26.3 %   68.5 %       8  16.8 %   62.6 %         2  32.6 %   51.7 %
>   memory_bound gated_map        18.6 %   39.8 %      10   1.6 %    6.7 %         2   6.0 %    6.2 %
>   gemm_bf16                      4.3 %   61.0 %      39   2.0 %   51.2 %         9   2.1 %   18.4 %
>   gemm_bf16_grouped             10.4 %   11.4 %       7   1.1 %    3.2 %         1   4.2 %    4.2 %
>   gemm_fp8                      16.5 %   33.6 %      39   3.4 %   29.4 %         9   2.6 %   24.9 %
>   gemm_fp8_wgrad                10.1 %   31.6 %      26   1.5 %   15.2 %         6   6.2 %   15.6 %
>   gemm_fp8_tensor                9.2 %   62.4 %      32   3.3 %   58.3 %         8   7.0 %   34.6 %
>   attention_forward              4.8 %   15.5 %      12   1.0 %    4.6 %         2   1.6 %    3.2 %
>   attention_backward             6.7 %   38.4 %      12   2.7 %   12.9 %         2   1.5 %    2.2 %
>   attention, narrow heads       48.6 %   58.0 %       0                          8  38.2 %   46.4 %
>   beside another kernel          5.4 %   22.9 %       0                         24   7.8 %   21.0 %
>
>   errors by kernel                                     points  median  largest     mean
>   -------------------------------------------------------------------------------------
>   memory_bound stream: adamw                                3   3.0 %    4.6 %   -3.5 %
>   memory_bound stream: add                                  6   2.4 %    3.1 %   +1.5 %
>   memory_bound stream: copy                                 6   0.6 %    1.9 %   -0.1 %
>   memory_bound stream: scale                                6   0.6 %    1.3 %   -0.2 %
>   memory_bound row_reduce: cross_entropy                    2  23.2 %   26.4 %  -23.2 %
>   memory_bound row_reduce: rms_norm                         6  10.9 %   28.4 %  -12.5 %
>   memory_bound row_reduce: rms_norm of a sum                6  14.5 %   19.8 %  +10.3 %
>   memory_bound row_reduce: rms_norm_backward                6   9.5 %   37.1 %   -3.7 %
>   memory_bound cast: cast_back                              6  14.5 %   15.3 %  +13.2 %
>   memory_bound cast: cast_rows                              6  10.9 %   18.3 %   +3.1 %
>   memory_bound cast: swiglu_cast                            6   6.4 %   18.9 %   -8.6 %
>   memory_bound cast_transpose: cast_transpose of BF16       6  28.0 %   37.7 %  +21.7 %
>   memory_bound cast_transpose: cast_transpose of FP8        6   7.1 %   29.6 %  -10.7 %
>   memory_bound transpose: transpose_bf16                    6   2.0 %    6.3 %   +1.4 %
>   memory_bound transpose: transpose_block                   6   1.6 %   19.7 %   -3.9 %
>   memory_bound gather: permute                              5  10.0 %   13.4 %   +4.1 %
>   memory_bound gather: unpermute                            5  51.7 %   62.6 %   +9.9 %
>   memory_bound gated_map: swiglu                            6   6.2 %    6.7 %   +1.9 %
>   memory_bound gated_map: swiglu_backward                   6   0.5 %    5.8 %   -1.6 %
>   gemm_bf16: cuBLASLt                                      40   2.2 %   51.2 %   +2.7 %
>   gemm_bf16: cuBLASLt, weight gradient                      8   1.5 %    4.4 %   -0.6 %
>   gemm_fp8: cuBLASLt                                       35   2.6 %   29.4 %   +0.1 %
>   gemm_fp8: own                                             5   0.9 %    8.3 %   +2.6 %
>   gemm_fp8: own, grouped                                    8  11.5 %   17.0 %  -10.6 %
>   gemm_fp8_wgrad: cuBLASLt                                 24   1.4 %   15.6 %   +1.9 %
>   gemm_fp8_wgrad: own, grouped                              8   6.8 %   15.2 %   -8.3 %
>   beside another kernel: add                                6   1.8 %    4.7 %   +0.4 %
>   beside another kernel: cuBLASLt                           6  13.3 %   21.0 %  -14.7 %
>   beside another kernel: own                                6   5.4 %   19.2 %   +6.1 %
>   beside another kernel: rms_norm                           6   8.5 %   16.3 %   -9.0 %
>
>   constants                                gpu/h200_sxm5  measured
>   --------------------------------------------------------------------------------------
>   /launch_gap_us                                       2     1.016
>   /stream_launch_gap_us                                2     1.881
>   /l2_bandwidth_GBps                                   0      7326
>   /hbm_efficiency/stream                            0.89    0.8906
>   /kernel_fixed_us                                     2    0.8936
>   /hbm_efficiency/row_reduce                        0.72    0.7134
>   /hbm_efficiency/cast                             0.593    0.6958
>   /hbm_efficiency/cast_transpose                   0.632     0.402
>   /hbm_efficiency/transpose                        0.811    0.7891
>   /hbm_efficiency/strided                          0.321    0.7281
>   /hbm_efficiency/gather                           0.816     0.524
>   /hbm_efficiency/gated_map                        0.769    0.8635
>   /gemm_bf16/mainloop_efficiency                     0.9    0.8623
>   /gemm_bf16/tile_overhead_us                       1.75     1.668
>   /gemm_bf16/hbm_efficiency                         0.82    0.7809
>   /gemm_bf16/accumulate_exposed                        0    0.5113
>   /gemm_bf16/pJ_per_FLOP                            1.05         -  not determined, kept
>   /gemm_bf16_grouped/mainloop_efficiency             0.9    0.8156
>   /gemm_bf16_grouped/tile_overhead_us               1.75     3.733
>   /gemm_bf16_grouped/hbm_efficiency                 0.82         -  not determined, kept
>   /gemm_bf16_grouped/accumulate_exposed                0         -  not determined, kept
>   /gemm_bf16_grouped/pJ_per_FLOP                    1.05         -  not determined, kept
>   /gemm_fp8/mainloop_efficiency                    0.694    0.5826
>   /gemm_fp8/tile_overhead_us                        0.65     1.241
>   /gemm_fp8/hbm_efficiency                          0.82     0.609
>   /gemm_fp8/accumulate_exposed                         0         -  not determined, kept
>   /gemm_fp8/pJ_per_FLOP                                0         -  not determined, kept
>   /gemm_fp8_wgrad/mainloop_efficiency              0.522    0.4485
>   /gemm_fp8_wgrad/tile_overhead_us                  3.45         0          at its bound
>   /gemm_fp8_wgrad/hbm_efficiency                    0.82    0.4812
>   /gemm_fp8_wgrad/accumulate_exposed                   0    0.3107
>   /gemm_fp8_wgrad/pJ_per_FLOP                          0         -  not determined, kept
>   /gemm_fp8_tensor/mainloop_efficiency              0.78    0.7037
>   /gemm_fp8_tensor/tile_overhead_us                 1.75     2.348
>   /gemm_fp8_tensor/hbm_efficiency                   0.82    0.7067
>   /gemm_fp8_tensor/accumulate_exposed                  0         -  not determined, kept
>   /gemm_fp8_tensor/pJ_per_FLOP                       0.5         -  not determined, kept
>   /attention_forward/mainloop_efficiency            0.65    0.6649
>   /attention_forward/softmax_us                      0.6    0.8226
>   /attention_forward/tile_overhead_us                1.5     4.264
>   /attention_forward/tail                            0.5         0          at its bound
>   /attention_forward/pJ_per_FLOP                    0.63         -  not determined, kept
>   /attention_backward/mainloop_efficiency           0.54    0.6685
>   /attention_backward/softmax_us                     0.6     4.264
>   /attention_backward/tile_overhead_us                13     4.896
>   /attention_backward/tail                           0.5    0.1535
>   /attention_backward/pJ_per_FLOP                   0.63         -  not determined, kept
>
> measured, and no constant of a profile
>   launch, graph: 0.69 us
>   launch, stream: 1.55 us
>   launch, host: 4.31 us
>   launch, idle: 1.02 us
>   copy of 8.4 MB within L2: 3712 GB/s read and written
>   copy of 16.8 MB within L2: 5064 GB/s read and written
>   copy of 33.6 MB within L2: 5892 GB/s read and written
>   copy of 939.5 MB in HBM: 4230 GB/s read and written
>
> drift: the reference kernel took +0.7 % at the end, SM clock 1500 MHz at first, 1470 at last, 66 C
> repeats: 3186 of 354 points, 0 of them far from the others of their point
> warning: unsteady points: 1
>   host , 4.3 us, repeats spread by 12.8 %
> warning: outliers, points far from the fit of their class: 15
>   transpose_block 3.7 MB, 3.6 us, predicted 2.9, held out
>   cuBLASLt 128 x 2112 x 7168, 14.4 us, predicted 21.8
>   cuBLASLt 512 x 2112 x 7168, 27.4 us, predicted 33.0
>   cuBLASLt 128 x 7168 x 2048, 10.3 us, predicted 12.2, held out
>   cuBLASLt 128 x 6144 x 4096, 17.3 us, predicted 20.1, held out
>   cuBLASLt 512 x 2112 x 7168, 23.5 us, predicted 16.6
>   cuBLASLt 128 x 6144 x 4096, 15.0 us, predicted 11.2, held out
>   cuBLASLt 32768 x 512 x 1024, 64.7 us, predicted 74.8, held out
>   own, grouped 4096 x 7168 x 32768, 4 groups, 2704.0 us, predicted 2292.4
>   own, grouped 4096 x 7168 x 32768, 8 groups, 2788.0 us, predicted 2367.2
>   cuBLASLt 128 x 2112 x 7168, 9.7 us, predicted 15.4
>   cuBLASLt 512 x 2112 x 7168, 17.6 us, predicted 21.0
>   and 3 more
>
>   kernels of orrery run   of HBM  fixed us  by pattern  fitted  median  largest  held out  median  largest
>   --------------------------------------------------------------------------------------------------------
>   rms_norm                 0.829      2.73      12.0 %      10   3.5 %   18.7 %         2  19.4 %   19.8 %
>   rms_norm_backward        0.790      4.29       9.5 %       5   0.6 %    1.8 %         1   0.2 %    0.2 %
>   cast_rows                0.785      1.93      10.9 %       5   0.7 %    2.3 %         1   0.0 %    0.0 %
>   cast_back                0.800      0.84      14.5 %       5   0.3 %    0.9 %         1   0.3 %    0.3 %
>   cast_transpose of BF16   0.550      2.40      28.0 %       5   0.9 %    2.7 %         1   2.1 %    2.1 %
>   cast_transpose of FP8    0.390      2.44       7.1 %       5   1.1 %    1.3 %         1   0.5 %    0.5 %
>   transpose_block          0.783      0.93       1.6 %       5   0.6 %    2.4 %         1  18.5 %   18.5 %
>   rope                     0.741      1.30       1.8 %       5   0.1 %    0.4 %         1   0.2 %    0.2 %
>   swiglu                   0.910      1.40       6.2 %       5   1.1 %    6.0 %         1   1.5 %    1.5 %
>   swiglu_backward          0.861      1.28       0.5 %       5   0.1 %    0.3 %         1   1.1 %    1.1 %
>   swiglu_cast              0.665      1.91       6.4 %       5   1.0 %    6.9 %         1   1.2 %    1.2 %
>   permute                  0.527      0.00      10.0 %       4   5.2 %   10.6 %         1  11.9 %   11.9 %
>   unpermute                0.936     30.00      51.7 %       4  16.8 %   30.9 %         1   4.4 %    4.4 %
