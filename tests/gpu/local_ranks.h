// All ranks of a plan as threads that share the GPU. A collective waits for its members' streams
// and is then done by the last of them, sums in double on the host: what NCCL does, without NCCL,
// which wants a GPU for every rank of a process.
#pragma once

#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/cpu/communicator.h"
#include "runtime/cuda/cuda_rank.h"

namespace orrery {

// Transfers between stages are not there: a stage that waits for another holds up its whole thread.
class LocalGroup : public Collectives {
 public:
  LocalGroup(ThreadCommunicator& threads, const OpGroup& g)
      : threads_(threads),
        group_(threads.group(g.name, static_cast<int64_t>(g.ranks.size()))),
        size_(static_cast<int64_t>(g.ranks.size())),
        position_(g.position) {}

  int64_t size() const override { return size_; }
  int64_t position() const override { return position_; }

  void all_reduce(float* data, int64_t n, cudaStream_t stream) override {
    meet({.in = data, .out = data, .stream = stream}, [n](const Members& all) {
      const std::vector<float> sum = sum_of<float>(all, n);
      for (const Brought* m : all) m->write(m->out, sum.data(), n);
    });
  }
  void all_reduce(const kernels::bf16* x, kernels::bf16* sum, int64_t n,
                  cudaStream_t stream) override {
    meet({.in = x, .out = sum, .stream = stream}, [n](const Members& all) {
      const std::vector<kernels::bf16> total = sum_of<kernels::bf16>(all, n);
      for (const Brought* m : all) m->write(m->out, total.data(), n);
    });
  }
  void reduce_scatter(float* data, const std::vector<ShardRange>& parts,
                      cudaStream_t stream) override {
    meet({.in = data, .out = data, .stream = stream}, [&parts](const Members& all) {
      const ShardRange& last = parts.back();
      const std::vector<float> sum = sum_of<float>(all, last.begin + last.elements);
      for (std::size_t r = 0; r < all.size(); ++r)
        all[r]->write(static_cast<float*>(all[r]->out) + parts[r].begin,
                      sum.data() + parts[r].begin, parts[r].elements);
    });
  }
  void reduce_scatter(const std::vector<Summed>& arrays, const std::vector<int64_t>& begin,
                      cudaStream_t stream) override {
    for (const Summed& a : arrays)
      if (a.fp32)
        sum_rows<float>(a, begin, stream);
      else
        sum_rows<kernels::bf16>(a, begin, stream);
  }
  void all_gather(kernels::bf16* data, const std::vector<ShardRange>& parts,
                  cudaStream_t stream) override {
    meet({.in = data, .out = data, .stream = stream}, [&parts](const Members& all) {
      for (std::size_t from = 0; from < all.size(); ++from)
        for (const Brought* to : all)
          if (to != all[from])
            to->copy(static_cast<kernels::bf16*>(to->out) + parts[from].begin,
                     static_cast<const kernels::bf16*>(all[from]->in) + parts[from].begin,
                     2 * parts[from].elements);
    });
  }
  void all_gather(const std::vector<Gathered>& arrays, const std::vector<int64_t>& begin,
                  cudaStream_t stream) override {
    meet({.gathered = &arrays, .stream = stream}, [&begin](const Members& all) {
      for (std::size_t from = 0; from < all.size(); ++from)
        for (std::size_t i = 0; i < all[from]->gathered->size(); ++i) {
          const Gathered& a = (*all[from]->gathered)[i];
          const int64_t first = begin[from], rows = begin[from + 1] - first;
          for (const Brought* to : all)
            to->copy(static_cast<char*>((*to->gathered)[i].all) + first * a.row_bytes, a.own,
                     rows * a.row_bytes);
        }
    });
  }
  void exchange(const std::vector<Rows>& arrays, const std::vector<int64_t>& to,
                const std::vector<int64_t>& from, cudaStream_t stream) override {
    meet({.rows = &arrays, .to = &to, .from = &from, .stream = stream}, [](const Members& all) {
      for (std::size_t s = 0; s < all.size(); ++s)
        for (std::size_t d = 0; d < all.size(); ++d)
          for (std::size_t i = 0; i < all[s]->rows->size(); ++i) {
            const Rows &out = (*all[s]->rows)[i], &in = (*all[d]->rows)[i];
            const int64_t begin = (*all[s]->to)[d], end = (*all[s]->to)[d + 1];
            all[d]->copy(static_cast<char*>(in.receive) + (*all[d]->from)[s] * in.row_bytes,
                         static_cast<const char*>(out.send) + begin * out.row_bytes,
                         (end - begin) * out.row_bytes);
          }
    });
  }
  void shift(const std::vector<Shifted>& arrays, int64_t, int64_t from,
             cudaStream_t stream) override {
    meet({.shifted = &arrays, .peer = from, .stream = stream}, [](const Members& all) {
      for (const Brought* to : all)
        for (std::size_t i = 0; i < to->shifted->size(); ++i) {
          const Brought& of = *all[static_cast<std::size_t>(to->peer)];
          to->copy((*to->shifted)[i].receive, (*of.shifted)[i].send, (*to->shifted)[i].bytes);
        }
    });
  }
  void send(const void*, int64_t, int64_t, cudaStream_t) override { no_transfers(); }
  void receive(void*, int64_t, int64_t, cudaStream_t) override { no_transfers(); }

 private:
  struct Brought {
    const void* in = nullptr;
    void* out = nullptr;
    const std::vector<Gathered>* gathered = nullptr;
    const std::vector<Shifted>* shifted = nullptr;
    int64_t peer = 0;
    const std::vector<Rows>* rows = nullptr;
    const std::vector<int64_t>*to = nullptr, *from = nullptr;
    cudaStream_t stream = nullptr;

    void copy(void* target, const void* source, int64_t bytes) const {
      cuda_check(cudaMemcpyAsync(target, source, static_cast<std::size_t>(bytes), cudaMemcpyDefault,
                                 stream),
                 "copying for a local group");
      cuda_check(cudaStreamSynchronize(stream), "copying for a local group");
    }
    template <class T>
    void write(void* target, const T* source, int64_t n) const {
      copy(target, source, n * static_cast<int64_t>(sizeof(T)));
    }
  };
  using Members = std::vector<const Brought*>;

  template <class T>
  static std::vector<T> sum_of(const Members& all, int64_t n) {
    std::vector<double> sum(static_cast<std::size_t>(n), 0);
    std::vector<T> of_one(sum.size());
    for (const Brought* m : all) {
      m->write(of_one.data(), static_cast<const T*>(m->in), n);
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += static_cast<double>(static_cast<float>(of_one[i]));
    }
    for (std::size_t i = 0; i < sum.size(); ++i) of_one[i] = T(static_cast<float>(sum[i]));
    return of_one;
  }

  template <class T>
  void sum_rows(const Summed& a, const std::vector<int64_t>& begin, cudaStream_t stream) {
    const int64_t cols = a.row_elements;
    meet({.in = a.all, .out = a.own, .stream = stream}, [&begin, cols](const Members& all) {
      const std::vector<T> sum = sum_of<T>(all, begin.back() * cols);
      for (std::size_t r = 0; r < all.size(); ++r)
        all[r]->write(all[r]->out, sum.data() + begin[r] * cols, (begin[r + 1] - begin[r]) * cols);
    });
  }

  template <class Work>
  void meet(Brought mine, Work work) {
    cuda_check(cudaStreamSynchronize(mine.stream), "waiting for a local group");
    ThreadCommunicator::Ticket ticket;
    threads_.arrive(group_, position_, &mine, &ticket, [&work](std::span<void* const> arguments) {
      Members all;
      for (void* a : arguments) all.push_back(static_cast<const Brought*>(a));
      work(all);
    });
    while (!threads_.is_done(ticket)) seen_ = threads_.wait_for_change(seen_);
  }
  [[noreturn]] static void no_transfers() {
    throw Error(ExitCode::kInternal, "a local group has no transfers");
  }

  ThreadCommunicator& threads_;
  ThreadCommunicator::Group* group_;
  int64_t size_, position_;
  uint64_t seen_ = 0;
};

class LocalRanks {
 public:
  LocalRanks(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
             const ExecutorOptions& options) {
    for (int64_t r = 0; r < plan.ranks(); ++r) {
      const std::size_t n = plan.classes[plan.place(r).rank_class].communicators.size();
      std::vector<Collectives*> of_rank;
      for (std::size_t k = 0; k < n; ++k) {
        const OpGroup g = op_group(plan, r, static_cast<int>(k));
        if (g.ranks.size() > 1) groups_.push_back(std::make_unique<LocalGroup>(threads_, g));
        of_rank.push_back(g.ranks.size() > 1 ? groups_.back().get() : nullptr);
      }
      ranks_.push_back(std::make_unique<CudaRank>(plan, config, numerics, r, options, of_rank));
    }
  }

  CudaRank& rank(int64_t r) { return *ranks_[static_cast<std::size_t>(r)]; }

  // Result of the first rank.
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer) {
    std::vector<StepResult> results(ranks_.size());
    std::vector<std::exception_ptr> errors(ranks_.size());
    threads_.begin(static_cast<int64_t>(ranks_.size()));
    {
      std::vector<std::jthread> all;
      for (std::size_t r = 0; r < ranks_.size(); ++r)
        all.emplace_back([&, r] {
          try {
            results[r] = ranks_[r]->run_step(tokens, optimizer);
            threads_.leave();
          } catch (const std::exception& e) {
            errors[r] = std::current_exception();
            threads_.fail(e.what());
          }
        });
    }
    for (const std::exception_ptr& e : errors)
      if (e) std::rethrow_exception(e);
    return results[0];
  }

 private:
  ThreadCommunicator threads_;
  CollectiveGroups groups_;
  std::vector<std::unique_ptr<CudaRank>> ranks_;
};

}  // namespace orrery
