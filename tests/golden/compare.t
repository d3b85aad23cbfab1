$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json
> forward + backward pair: predicted 127.6 ms, measured 129.0 ms, error -1.1 %
>
> Kernel time by segment
>                predicted us  measured us    error  ops / kernels
>   combine(B)          17206        23077  -25.4 %        12 / 12
>   attn(F)             17246        17479   -1.3 %      124 / 276
>   dispatch(F)         20654        26761  -22.8 %        12 / 12
>   mlp(B)              20505        21224   -3.4 %      108 / 116
>   dispatch(B)         26841        29947  -10.4 %          8 / 8
>   mlp(W)              20756        25513  -18.6 %        48 / 48
>   mlp(F)              19053        18415   +3.5 %        68 / 79
>   combine(F)          30619        34736  -11.9 %          9 / 8
>   attn(B)             37473        37363   +0.3 %      248 / 404
>   attn(W)              9494         9554   -0.6 %        20 / 20
>
> Kernel time by class
>                  predicted us  measured us    error  ops / kernels
>   quant_cast            14289        14845   -3.7 %      172 / 176
>   rmsnorm                3235         3448   -6.2 %        64 / 64
>   comm_notify           12855        32578  -60.5 %        16 / 16
>   comm_dispatch         31287        31004   +0.9 %          8 / 8
>   transpose              1486         1818  -18.3 %      100 / 100
>   gemm_dense            17868        18838   -5.1 %        64 / 64
>   elementwise            3729         3479   +7.2 %       57 / 363
>   rope_copy              3518         3087  +13.9 %        36 / 40
>   attn_core_fwd          4864         4948   -1.7 %          4 / 4
>   gemm_bf16               401          537  -25.3 %        12 / 12
>   comm_layout             380          410   -7.3 %          4 / 4
>   swiglu                 1844         1863   -1.0 %        12 / 12
>   moe_permute            5094         5067   +0.5 %        20 / 24
>   gemm_grouped          22970        22926   +0.2 %        16 / 16
>   comm_combine          50304        49448   +1.7 %          8 / 8
>   gemm_wgrad            28423        32756  -13.2 %        60 / 60
>   attn_core_bwd         17302        17017   +1.7 %         4 / 12
>
> Op by op, summed over layers
>                                                predicted us  measured us      error
>   attn(B) o_proj dgrad                                 3438         3708     -7.3 %
>   attn(B) q_up recompute                               1467         1494     -1.8 %
>   attn(B) kv_up recompute                              1081          977    +10.6 %
>   attn(B) q_up dgrad                                   1197         1328     -9.9 %
>   attn(B) kv_up dgrad                                   795          880     -9.7 %
>   attn(B) kv_down dgrad                                 264          259     +1.9 %
>   attn(B) q_down dgrad                                  432          444     -2.6 %
>   attn(B) router dgrad                                  144          162    -11.3 %
>   attn(B) router wgrad                                  103          189    -45.4 %
>   attn(B) attention out from 12 bit                     485          562    -13.7 %
>   attn(B) o_proj grad cast                              187          180     +3.9 %
>   attn(B) o_proj input^T                                392          351    +11.7 %
>   attn(B) o_proj grad^T                                 176          171     +2.9 %
>   attn(B) q_up cast                                      46           48     -3.4 %
>   attn(B) kv_up cast                                     21           28    -25.7 %
>   attn(B) q_up grad cast                                622          642     -3.1 %
>   attn(B) kv_up grad cast                               891          826     +7.9 %
>   attn(B) kv_up input^T                                  20          624    -96.8 %
>   attn(B) kv_up grad^T                                  776           32  +2325.6 %
>   attn(B) q_up input^T                                   44          490    -91.0 %
>   attn(B) q_up grad^T                                   584           52  +1023.4 %
>   attn(B) kv_down grad cast                              22           31    -27.7 %
>   attn(B) kv_down input^T                               176          169     +4.2 %
>   attn(B) kv_down grad^T                                 22           33    -34.8 %
>   attn(B) q_down grad cast                               46           48     -3.4 %
>   attn(B) q_down input^T                                176          165     +6.7 %
>   attn(B) q_down grad^T                                  44           49    -10.2 %
>   attn(B) o_proj weight transpose                       354          333     +6.2 %
>   attn(B) o_proj scales                                  11           40    -73.2 %
>   attn(B) q_up scales                                    26           70    -63.1 %
>   attn(B) kv_up scales                                   29           59    -51.6 %
>   attn(B) q_up weight transpose                         119          131     -9.1 %
>   attn(B) kv_up weight transpose                         57           64    -10.3 %
>   attn(B) kv_down weight transpose                       20           20     +0.8 %
>   attn(B) kv_down scales                                  8           11    -25.1 %
>   attn(B) q_down weight transpose                        40           39     +3.6 %
>   attn(B) q_down scales                                   9           14    -38.7 %
>   attn(B) ffn_norm bwd                                  578          729    -20.8 %
>   attn(B) ffn_norm bwd reduce                            17           13    +31.3 %
>   attn(B) q_norm                                         68           93    -26.8 %
>   attn(B) kv_norm                                        28           25    +12.1 %
>   attn(B) kv_norm bwd                                    39           37     +4.5 %
>   attn(B) kv_norm bwd reduce                              9           17    -49.1 %
>   attn(B) q_norm bwd                                    100           92     +8.7 %
>   attn(B) q_norm bwd reduce                              10           18    -44.8 %
>   attn(B) attn_norm again                               288          398    -27.6 %
>   attn(B) attn_norm bwd                                 578          444    +30.1 %
>   attn(B) attn_norm bwd reduce                           24           13    +83.6 %
>   attn(F) q_down fwd                                    379          414     -8.5 %
>   attn(F) kv_down fwd                                   193          213     -9.2 %
>   attn(F) q_up fwd                                     1467         1486     -1.3 %
>   attn(F) kv_up fwd                                    1081          977    +10.6 %
>   attn(F) o_proj fwd                                   3224         3603    -10.5 %
>   attn(F) router fwd                                    154          186    -17.0 %
>   attn(F) attention core fwd                           4864         4948     -1.7 %
>   attn(F) q_down cast                                   187          188     -0.5 %
>   attn(F) kv_down cast                                  187          192     -2.6 %
>   attn(F) q_up cast                                      46           57    -18.6 %
>   attn(F) kv_up cast                                     21           32    -35.0 %
>   attn(F) attention out to 12 bit                       485          742    -34.7 %
>   attn(F) o_proj cast                                   417          429     -2.7 %
>   attn(F) ffn cast                                      366          214    +71.1 %
>   attn(F) q_down scales                                  11           43    -75.1 %
>   attn(F) kv_down scales                                 11           45    -76.2 %
>   attn(F) q_up scales                                     9           18    -52.3 %
>   attn(F) kv_up scales                                    8           15    -45.4 %
>   attn(F) o_proj scales                                  14           43    -67.0 %
>   attn(F) attn_norm                                     544          469    +16.0 %
>   attn(F) q_norm                                         68           92    -26.0 %
>   attn(F) kv_norm                                        28           30     -6.6 %
>   attn(F) ffn_norm                                      569          486    +17.0 %
>   attn(F) rope k                                         12           18    -33.9 %
>   attn(F) concat k                                      586          413    +41.9 %
>   attn(F) rope q                                        507          492     +3.0 %
>   attn(W) o_proj wgrad                                 5875         5996     -2.0 %
>   attn(W) kv_up wgrad                                   905          886     +2.1 %
>   attn(W) q_up wgrad                                   1891         1848     +2.3 %
>   attn(W) kv_down wgrad                                 277          279     -0.7 %
>   attn(W) q_down wgrad                                  546          545     +0.2 %
>   combine(B) combine grad cast                          366         1081    -66.1 %
>   combine(B) dispatch grads                           13794        13621     +1.3 %
>   combine(B) dispatch grads notify                     3046         8375    -63.6 %
>   combine(F) combine tokens                           25152        23975     +4.9 %
>   combine(F) combine tokens notify                     5339        10761    -50.4 %
>   dispatch(B) combine grads                           25152        25473     -1.3 %
>   dispatch(B) combine grads notify                     1689         4474    -62.2 %
>   dispatch(F) dispatch tokens                         17493        17383     +0.6 %
>   dispatch(F) dispatch tokens notify                   2781         8968    -69.0 %
>   dispatch(F) dispatch layout                           380          410     -7.3 %
>   mlp(B) shared down dgrad                              472          505     -6.6 %
>   mlp(B) shared gate_up dgrad                           914          962     -5.0 %
>   mlp(B) experts down dgrad                            3541         3458     +2.4 %
>   mlp(B) experts gate_up dgrad                         7389         7877     -6.2 %
>   mlp(B) shared down weight transpose                    51           62    -17.4 %
>   mlp(B) shared down scales                              11           41    -73.9 %
>   mlp(B) shared gate_up weight transpose                 94          112    -15.7 %
>   mlp(B) shared gate_up scales                           10           30    -68.2 %
>   mlp(B) ffn_norm again                                 288          492    -41.4 %
>   mlp(B) shared gate_up swiglu bwd                      138          114    +21.2 %
>   mlp(B) experts swiglu fwd+bwd                        1273         1327     -4.1 %
>   mlp(B) experts routing weight grad                    432          422     +2.5 %
>   mlp(B) permute grads                                  695          691     +0.5 %
>   mlp(B) unpermute grads                               1338         1370     -2.3 %
>   mlp(F) shared gate_up fwd                             935         1036     -9.7 %
>   mlp(F) shared down fwd                                529          552     -4.2 %
>   mlp(F) experts gate_up fwd                           7483         7450     +0.4 %
>   mlp(F) experts down fwd                              4557         4141    +10.0 %
>   mlp(F) experts swiglu+cast                            745          557    +33.8 %
>   mlp(F) shared down swiglu+cast                         93           84    +10.6 %
>   mlp(F) shared gate_up keep cast                       110          720    -84.7 %
>   mlp(F) experts gate_up keep cast                      896          108   +729.7 %
>   mlp(F) shared gate_up scales                           11           58    -81.6 %
>   mlp(F) experts gate_up fwd weight transpose           381          378     +0.7 %
>   mlp(F) experts down fwd weight transpose              195          178     +9.5 %
>   mlp(F) shared down scales                               9           14    -37.3 %
>   mlp(W) shared down wgrad                              725          724     +0.2 %
>   mlp(W) shared gate_up wgrad                          1443         1379     +4.6 %
>   mlp(W) experts down wgrad                            5598         8631    -35.1 %
>   mlp(W) experts gate_up wgrad                        11163        12468    -10.5 %
>   mlp(W) experts down grad^T                            933         1133    -17.7 %
>   mlp(W) experts gate_up input^T                        895         1178    -24.1 %
>
> 516 of 657 simulated ops joined one to one with the 983 measured kernels (same segment, layer, class and position); the others are compared by class.

$ orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json --max-error 0.1
? 4
> ...
! orrery: the pair is -1.1 % off, more than --max-error 0.1 %
