// What uneven expert loads cost: the ranks of an expert-parallel group draw different numbers of
// rows and wait for each other in every all-to-all.
#pragma once

#include "sim/exec/sim_backend.h"
#include "sim/study/experiment.h"

namespace orrery {

// The factor on row-proportional compute with which one representative rank keeps the pace of the
// whole group. Found by simulating the group rank by rank over a few overlapped pairs, with and
// without the spread StackSpec::expert_load_cv: 1 + extra time / row-proportional time. 1 when the
// plan has no overlapped pairs of MoE layers or the spread is zero. What overlap hides is not
// counted.
double effective_row_load(const StudySpec& study);

// The spread itself, for simulations that run every rank of the group.
ExpertLoad expert_load(const StudySpec& study);

}  // namespace orrery
