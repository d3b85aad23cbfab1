// Pipeline schedules: the order of (forward | backward | weight, chunk, micro-batch) on each rank.
//
// Below, p is the number of ranks, v of chunks per rank, m of micro-batches; F, B and W are the
// times of a forward, an input-only backward and the weight gradients of all chunks of a rank for
// one micro-batch, B+W of a whole backward. The bubble is a rank's idle time in a step when stages
// are equal and transfers are free; memory is the most micro-batches that a rank has activations
// of, each counted as the share of the rank's layers, from its forward to the backward that frees
// them (with a backward in two parts: to the W).
#pragma once

#include <cstdint>
#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/spec/plan.h"

namespace orrery {

// One step of a rank. Micro-batches are numbered per chunk, from 0.
struct ScheduleStep {
  BlockKind kind;
  int forward_chunk = -1, forward_batch = -1;
  int backward_chunk = -1, backward_batch = -1;  // also of kWeight
};

struct RankSchedule {
  std::vector<int> stage_of_chunk;        // pipeline stage of each model chunk that the rank holds
  std::vector<int> first_batch_of_chunk;  // RankClass::first_batch_of_chunk
  int batches_per_chunk = 0;
  std::vector<ScheduleStep> steps;
};

// GPipe (Huang et al., arXiv 1811.06965): all forwards, then all backwards.
// Bubble (p-1)(F+B+W); memory m.
RankSchedule schedule_gpipe(int rank, int ranks, int micro_batches);

// 1F1B (PipeDream-Flush, Narayanan et al., arXiv 2006.09503; Megatron-LM): rank r warms up with
// p-1-r forwards, alternates, drains. Bubble (p-1)(F+B+W); memory p-r.
// `pairs`: from the warm-up on, the forward of a micro-batch overlaps the backward of another
// (Megatron-Core's batch-level overlap of all-to-alls). Neither may then wait for the other's
// result, so neighbouring ranks are two forwards apart and each has one more: warm-up 2(p-1-r)+1.
RankSchedule schedule_1f1b(int rank, int ranks, int micro_batches, bool pairs = false);

// Interleaved 1F1B (Narayanan et al., arXiv 2104.04473, section 2.2; Megatron-LM): rank r holds
// stages r, r+p, ...; groups of p micro-batches pass through all chunks one after the other. Needs
// m to be a multiple of p. Bubble (p-1)(F+B+W)/v; memory 1 + (v-1)p/v + (2(p-1-r))/v + ... that is
// (2(p-1-r) + (v-1)p + 1)/v, at rank 0 p(1 + (p-1)/(pv)). `pairs` as above: one chunk more.
RankSchedule schedule_interleaved(int rank, int ranks, int chunks, int micro_batches,
                                  bool pairs = false);

// ZB-H1 (Qi et al., arXiv 2401.10241, section 2.1): 1F1B with the weight gradients of the backward
// put off by r micro-batches, so that they fill the drain. Bubble (p-1)(F+B-W), with F >= W and
// B >= W; memory p on every rank. DeepSeek's name is ZB1P, with B the whole backward.
RankSchedule schedule_zb_h1(int rank, int ranks, int micro_batches);

// What one chunk costs, in any unit: what ZB-V plans with.
struct ChunkTimes {
  int64_t forward = 1, backward = 1, weight = 1;
};

// ZB-V (Qi et al., arXiv 2401.10241, section 6; arXiv 2405.15362): rank r holds stages r and
// 2p-1-r, so that the first rank also ends the forward. Memory p on every rank, as the first rank
// of 1F1B. For F = B = W and m >= 2p the bubble is (p-1)F/2, the least that a pipeline of p ranks
// with two chunks can have: the last rank starts after p-1 forwards of a chunk. (The papers call it
// zero, counting each rank from its own first op to its own last.) The order is found by
// simulating the ranks: each in turn starts what can start first, of that a backward before a
// forward before weight gradients, within the memory; of four such rules the one with the shortest
// step. All ranks at once; O(p · ops).
std::vector<RankSchedule> schedule_zb_v(int ranks, int micro_batches, const ChunkTimes& times);

// DualPipe (DeepSeek-V3, arXiv 2412.19437, section 3.2.1): half of the micro-batches enter at each
// end; rank r holds stage r of the one direction (chunk 0) and stage p-1-r of the other (chunk 1).
// With F, B, W of one stage and F&B of an overlapped pair (whole backward): bubble
// (p/2-1)(F&B + B - 2W), published as (p/2-1)(F&B + B - 3W) with B the whole backward, for
// F = B = W and at most that otherwise; memory p+1 stages. Needs an even number of ranks and an
// even number of micro-batches, at least 2p.
RankSchedule schedule_dualpipe(int rank, int ranks, int micro_batches);

// DualPipeV (github.com/deepseek-ai/DualPipe, "cut in half"): the orders of DualPipe's first p of
// 2p ranks with the other half folded onto them: rank r holds stages r and 2p-1-r of one pipeline.
// Same bubble, (p-1)(F&B + B - 2W) of one of the 2p stages, and the same memory, 2p+1 stages. Needs
// at least 2p micro-batches.
RankSchedule schedule_dualpipe_v(int rank, int ranks, int micro_batches);

// Of every rank, as the plan says.
std::vector<RankSchedule> make_schedules(const PlanSpec& plan, const ChunkTimes& times);

// Where a stage is, and in which lane (StreamKind) its transfers go: the odd chunks of DualPipe and
// of the V shapes send their activations down the ranks. DualPipe has every stage in both lanes.
struct StagePlace {
  int rank, lane;
};
StagePlace place_of_stage(const PlanSpec& plan, int stage, int lane);
int lane_of_chunk(ScheduleKind kind, int chunk);

}  // namespace orrery
