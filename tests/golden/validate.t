$ orrery validate experiments/validation/korthikanti --quiet
> ...
>   90 % intervals                               cases  covered
>   used for a fit                                   2        2  100.0 %
>   never used for a fit                             2        2  100.0 %
>   never used, of a stack with runs on the GPU      2        2  100.0 %
> ...

$ orrery validate experiments/validation/korthikanti --residuals x.json --markdown
? 64
! --residuals excludes --markdown
! Run with --help for more information.
