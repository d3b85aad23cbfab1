// The ExecPlan: what every backend interprets. Per rank class an ordered list of calls to blocks; a
// block is a fixed list of stream instructions (a captured CUDA graph, in the runtime's terms) and
// a call runs it for one forward and/or one backward micro-batch.
//
// Semantics are CUDA's. Streams are FIFO. Record marks a point of a stream; Wait holds a stream
// until the recorded point is reached. Alloc and Free are stream-ordered; a tensor used by several
// streams is freed when each of them has freed it. Collectives and P2P rendezvous on
// (communicator, sequence number): the n-th op of a communicator on each member belongs together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/graph/optimizer.h"
#include "sim/graph/training_graph.h"
#include "sim/spec/plan.h"

namespace orrery {

// Whose micro-batch an instruction's operand belongs to.
enum class Role : uint8_t { kBlock, kForward, kBackward };

struct Instr {
  enum class Kind : uint8_t { kLaunch, kRecord, kWait, kAlloc, kFree };
  Kind kind;
  StreamKind stream;
  Role role;  // kRecord, kWait: kBlock is an event of this call, otherwise one of the slot
  uint8_t unused = 0;
  uint32_t
      arg;  // kLaunch: PlanOp; kRecord, kWait: event; kAlloc, kFree: tensor of the role's stage
};
static_assert(sizeof(Instr) == 8);

// Events that outlive a call, one set per (chunk, micro-batch) slot.
enum class SlotEvent : uint32_t {
  kActIn,
  kGradIn,
  kForwardDone,
  kBackwardDone,
  kOffloaded,  // activations are in host memory
  kReloaded,   // those of the last unit are back
};
constexpr int kSlotEvents = 6;

enum class BlockKind : uint8_t {
  kForward,
  kBackward,       // input and weight gradients
  kBackwardInput,  // input gradients only (zero bubble)
  kWeight,         // the weight gradients left by kBackwardInput
  kPair,           // a forward and a backward overlapped
  kRecv,
  kOptimizer,
  kReload,  // of the unit whose backward comes first, its activations from host memory
};
constexpr int kBlockKinds = 8;
extern const std::string_view kBlockKindNames[kBlockKinds];

struct PlanOp {
  uint16_t stage;  // whose StageGraph the op is in
  Role role;
  StreamKind stream;  // the op's, for the chunk that runs it
  uint32_t graph_op;
  int16_t chunk = 0;
  int16_t communicator = -1;  // of the class, for collectives and P2P
};

struct Block {
  BlockKind kind;
  int16_t forward_stage = -1, backward_stage = -1;
  std::vector<Instr> instrs;
  uint32_t events = 0;  // events of one call
};

struct Call {
  uint32_t block;
  int32_t forward_slot = -1, backward_slot = -1;
};

// A communicator as one class sees it. Members are the ranks of all classes that list the same
// (kind, key), split into groups of equal positions (Position) in all other dimensions; P2P and
// kEmbedding: one per replica; kWorld and kStage: one group.
// P2P connects two ranks in one direction, for every stage boundary between them; or a rank with
// itself where it holds both sides of a boundary (size 1): then its send and receive meet. Of HSDP:
// kShard by blocks of consecutive replicas, kReplica by equal position in them; kExpertShard and
// kExpertReplica the same by position in the expert group.
struct Communicator {
  CommKind kind;
  uint32_t key;
  int64_t size;  // ranks of one group
};

struct RankClass {
  std::string name;
  int64_t first_rank;    // rank numbering: pipeline position major, replica minor (Position)
  int64_t multiplicity;  // replicas: ranks that do the same work
  std::vector<int> stage_of_chunk;
  // Number within the pipeline of each chunk's first micro-batch: DualPipe's chunks have different
  // halves of them, others the same.
  std::vector<int> first_batch_of_chunk;
  int slots_per_chunk;  // micro-batches of one chunk
  std::vector<Block> blocks;
  std::vector<Call> calls;
  std::vector<Communicator> communicators;
  std::vector<OptimizerShare> shares;
  Bytes static_bytes[kBufferKinds];  // weights, gradients, optimizer states held all the time
  Bytes host_bytes{0};               // optimizer states in host memory

  int slots() const { return slots_per_chunk * static_cast<int>(stage_of_chunk.size()); }
  int stage_of_slot(int slot) const {
    return stage_of_chunk[static_cast<std::size_t>(slot / slots_per_chunk)];
  }
  int micro_batch_of_slot(int slot) const {
    return first_batch_of_chunk[static_cast<std::size_t>(slot / slots_per_chunk)] +
           slot % slots_per_chunk;
  }
};

struct ExecPlan {
  std::vector<StageGraph> stages;  // after those of the pipeline, the optimizer of each class
  std::vector<PlanOp> ops;         // indexed by the blocks of all classes
  std::vector<RankClass> classes;
  int64_t tensor_parallel = 1, context_parallel = 1;
  int64_t expert_parallel = 1, expert_tensor_parallel = 1;
  int64_t shard_group = 1;  // HSDP: of the ranks that hold the same part of the dense weights

  int64_t experts() const { return expert_parallel * expert_tensor_parallel; }  // ranks of a group
  int64_t expert_shard_group() const {
    return std::max<int64_t>(1, shard_group * tensor_parallel / experts());
  }

  int64_t ranks() const;
  // replica = (data · context_parallel + context) · tensor_parallel + tensor
  //         = (expert_data · expert_parallel + expert) · expert_tensor_parallel + expert_tensor
  struct Position {
    int64_t tensor, context, data;
    int64_t expert_tensor, expert, expert_data;
  };
  Position position(int64_t replica) const;
  // Where a global rank is.
  struct Place {
    std::size_t rank_class;
    int64_t replica;
  };
  Place place(int64_t rank) const;
  // The group of communicator `c` of a class that its replica belongs to, by number.
  int64_t group_of(const Communicator& c, int64_t replica) const;
  // The replicas of that group: `count` of them, or those that there are.
  struct Replicas {
    int64_t first, step, count;
  };
  Replicas group_replicas(CommKind kind, int64_t replica) const;
  // Global ranks of the group of `replica`, in the order of their positions in the communicator.
  std::vector<int64_t> members(const Communicator& c, int64_t replica) const;

  const Op& graph_op(const PlanOp& p) const { return stages[p.stage].ops[p.graph_op]; }
  std::string op_name(uint32_t plan_op) const;  // "layer 12 mlp(B) experts down dgrad"
};

}  // namespace orrery
