// Where the weights of one rank are: flat arrays per optimizer share, and the buffers that ops
// update outside the optimizer. Both backends lay out their memory by it.
#pragma once

#include <string>
#include <vector>

#include "sim/graph/exec_plan.h"

namespace orrery {

struct ParamPlace {
  int share = -1;      // index into RankClass::shares; -1: a buffer
  int64_t offset = 0;  // elements from the start of the share, or of the buffers
};

class RankLayout {
 public:
  RankLayout(const ExecPlan& plan, int64_t rank);

  int64_t rank() const { return rank_; }
  const RankClass& rank_class() const { return plan_.classes[place_.rank_class]; }
  const ExecPlan::Place& place() const { return place_; }
  const StageGraph* stage_graph(int stage) const {
    return &plan_.stages[static_cast<std::size_t>(stage)];
  }

  // O(1). The embedding of a stage whose rank also holds the first stage is the first stage's.
  const ParamPlace& find(int stage, ParamId param) const {
    return places_[static_cast<std::size_t>(stage)][param.v];
  }
  // Floats of all buffers. The loads of a chunk's routers follow each other in layer order, so that
  // one collective can reduce them.
  int64_t buffer_elements() const { return buffer_elements_; }
  struct Range {
    int64_t offset = 0, elements = 0;
  };
  Range router_loads(int chunk) const { return loads_[static_cast<std::size_t>(chunk)]; }
  // The loss of each head, trunk first, zero where the rank has no such head.
  struct Loss {
    int depth;
    int64_t offset;
  };
  const std::vector<Loss>& losses() const { return losses_; }

  // Of a group of weights of a stage that the rank holds.
  int share_of(int stage, int64_t group) const;
  // Position of this rank among the owners that split the share, which is also its shard.
  int64_t owner(int share) const { return owners_[static_cast<std::size_t>(share)]; }
  // Of the share's elements those that this rank owns.
  ShardRange owned(int share) const {
    const OptimizerShare& s = rank_class().shares[static_cast<std::size_t>(share)];
    return s.shard(s.shards == 1 ? 0 : owner(share));
  }
  int64_t shard_begin(int share) const { return owned(share).begin; }
  // First routed expert of a MoE layer that the rank holds.
  int64_t first_expert(int64_t local_experts) const { return position_.expert * local_experts; }
  const ExecPlan::Position& position() const { return position_; }
  // Which shard of a weight that is split the rank has.
  int64_t shard(const Param& p) const {
    return p.expert ? position_.expert_tensor : position_.tensor;
  }

 private:
  void place_shares();
  void place_buffers();
  int64_t buffer(int64_t elements);

  const ExecPlan& plan_;
  int64_t rank_;
  ExecPlan::Place place_;
  ExecPlan::Position position_;
  std::vector<std::vector<ParamPlace>> places_;  // [stage][param]
  std::vector<int64_t> owners_;
  std::vector<Range> loads_;  // per chunk
  std::vector<Loss> losses_;
  int64_t buffer_elements_ = 0;
};

// Of the m parameters from the `first` on that the share's fullest shard has, those that this
// rank's has; counted from its start.
ShardRange owned_part(const OpShape& op, const RankLayout& layout);

// Members of the communicator that an op of the rank uses.
struct OpGroup {
  std::string name;            // "expert 3", the same on every member
  std::vector<int64_t> ranks;  // global, in order of position
  int64_t position = 0;        // of this rank
};
OpGroup op_group(const ExecPlan& plan, int64_t rank, int communicator);

}  // namespace orrery
