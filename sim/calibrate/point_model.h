// What the models of sim/cost say of a measured point. There is no formula of its own here.
#pragma once

#include "sim/calibrate/measured.h"

namespace orrery {

// The simulator's time of one launch in a stream of them: the kernel (attention's backward: its
// three) and launch_gap_us, on the SMs and the HBM bandwidth that what runs beside it leaves. Only
// families of kernels: not l2_copy, launch or collective, for which it is 0.
double point_seconds(const GpuSpec& gpu, const MeasuredPoint& point);

}  // namespace orrery
