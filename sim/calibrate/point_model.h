// What the models of sim/cost say of a measured point. There is no formula of its own here.
#pragma once

#include "sim/calibrate/measured.h"

namespace orrery {

struct PointWork {
  Flops flops{0};
  Bytes hbm{0};
};
PointWork point_work(const MeasuredPoint& point);  // products and attention; 0 of others

// The simulator's time of one launch in a stream of them: the kernel (attention's backward: its
// three) and launch_gap_us, on the SMs and the HBM bandwidth that what runs beside it leaves. Only
// families of kernels: not l2_copy, launch or collective, for which it is 0.
// `clock` as GpuShare::clock.
double point_seconds(const GpuSpec& gpu, const MeasuredPoint& point, double clock = 0);

}  // namespace orrery
