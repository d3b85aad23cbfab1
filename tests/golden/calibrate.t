$ orrery calibrate --nccl-tests tests/data/nccl_tests/all_reduce_2_gpus.txt tests/data/nccl_tests/alltoall_2_gpus.json --dry-run
> 22 collectives of up to 2 ranks on 1 node; links of HGX H200, 8 GPUs
>
>   collectives  points  base's  fitted  median  largest  held out  median  largest
>   -------------------------------------------------------------------------------
>   all_reduce       11  76.6 %       9   8.0 %   51.5 %         2   3.7 %    5.5 %
>   all_to_all       11  39.6 %       9   0.9 %   12.5 %         2   5.2 %    8.8 %
>
>   constants                                   base  measured
>   --------------------------------------------------------------------------------
>   /cluster/node/nvlink_effective_GBps          370       450          at its bound
>   /stack/collectives/ring_local_steps         0.37    0.6815
>   call_us                                        0     30.09
>   /stack/collectives/nvls_efficiency/hopper   0.85         -  not determined, kept
>   /stack/collectives/p2p_efficiency/hopper   0.877     0.737
>   /stack/collectives/p2p_latency_us             20     33.26
> warning: outliers, points far from the fit: 2
>   all_reduce of 262,144 bytes, 2 ranks, 79.1 us, predicted 40.4
>   all_reduce of 4,194,304 bytes, 2 ranks, 38.1 us, predicted 57.8

$ orrery calibrate --from tests/data/nccl_tests/alltoall_2_gpus.json
? 65
! orrery: tests/data/nccl_tests/alltoall_2_gpus.json:1:1 /schema_version: expected schema_version 2: a file that `orrery calibrate` measured

$ orrery calibrate --from nowhere.json
? 66
! orrery: nowhere.json: cannot read the file: No such file or directory

$ orrery calibrate --nccl-tests README.md
? 65
! orrery: README.md: no row of nccl-tests in it

$ orrery calibrate --nccl-tests tests/data/nccl_tests/all_reduce_2_gpus.txt --cluster cluster/hgx_h201
? 66
! orrery: hardware_profiles/cluster/hgx_h201.json: cannot read the file: No such file or directory

$ orrery calibrate --quiet
% no-gpu
? 69
! orrery: no GPU: this orrery was built without CUDA; --from FILE and --nccl-tests FILE need none
