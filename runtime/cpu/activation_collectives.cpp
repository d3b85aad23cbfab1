#include "runtime/cpu/activation_collectives.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/model/row_block.h"

namespace orrery {
namespace {

// Every operand's rows, one member after the other. Packed operands have integers beside values.
template <class T>
void gather_rows(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  for (Collective<T>* to : all)
    for (std::size_t i = 0; i < to->out.size(); ++i) {
      HostTensor<T>& out = *to->out[i];
      out.rows = 0;
      out.cols = to->in[i]->cols;
      for (const Collective<T>* from : all) {
        const HostTensor<T>& in = *from->in[i];
        out.rows += in.rows;
        out.values.insert(out.values.end(), in.values.begin(), in.values.end());
        out.ints.insert(out.ints.end(), in.ints.begin(), in.ints.end());
      }
    }
}

// Sums in the order of the members, in double.
template <class T>
std::vector<T> sum(const std::vector<Collective<T>*>& all, std::size_t operand) {
  std::vector<T> total(all[0]->in[operand]->values.size());
  for (std::size_t e = 0; e < total.size(); ++e) {
    double x = 0;
    for (const Collective<T>* m : all) x += static_cast<double>(m->in[operand]->values[e]);
    total[e] = static_cast<T>(x);
  }
  return total;
}

template <class T>
void reduce_rows(std::span<void* const> arguments, bool scatter) {
  const auto all = members<T>(arguments);
  for (std::size_t i = 0; i < all[0]->out.size(); ++i) {
    const std::vector<T> total = sum(all, i);
    const int64_t cols = all[0]->in[i]->cols;
    const T* from = total.data();
    for (Collective<T>* to : all) {
      const int64_t rows = scatter ? to->own_rows : all[0]->in[i]->rows;
      std::copy_n(from, rows * cols, to->out[i]->resize(rows, cols));
      if (scatter) from += rows * cols;
    }
  }
}

// Step `index` of gathering rows: the block that the rank before got last; the first step brings
// the rank's own too.
template <class T>
void gather_step(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  const auto n = static_cast<int64_t>(all.size());
  const int64_t index = all[0]->shape.index, rows = all[0]->shape.m;
  for (int64_t r = 0; r < n; ++r) {
    const auto of = [&](int64_t rank) { return all[static_cast<std::size_t>((rank + n) % n)]; };
    HostTensor<T>& whole = *of(r)->out[0];
    const int64_t cols = of(r)->in[0]->cols;
    if (index == 1) {
      const HostTensor<T>& own = *of(r)->in[0];
      std::copy(own.values.begin(), own.values.end(),
                whole.resize(n * rows, cols) + r * rows * cols);
    }
    const int64_t block = row_block(r - 1 + n, n, index);
    const T* from = of(r - 1)->in[0]->values.data() + (index == 1 ? 0 : block * rows * cols);
    std::copy_n(from, rows * cols, whole.values.data() + block * rows * cols);
  }
}

template <class T>
void shift(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  if (all[0]->shape.index > 0) return gather_step<T>(arguments);
  const int64_t places = all[0]->shape.column;
  const std::size_t ahead = places > 0 ? static_cast<std::size_t>(places) : all.size() - 1;
  for (std::size_t to = 0; to < all.size(); ++to) {
    const Collective<T>& from = *all[(to + ahead) % all.size()];
    for (std::size_t i = 0; i < from.in.size(); ++i) {
      const HostTensor<T>& in = *from.in[i];
      std::copy(in.values.begin(), in.values.end(), all[to]->out[i]->resize(in.rows, in.cols));
    }
  }
}

// Between [sequences, L, all heads] on each of n ranks and [sequences, n·L, a rank's heads]: rank
// `whole` holds all heads of its positions, rank `part` its heads of all positions.
template <class T>
void move_heads(std::span<void* const> arguments, bool scatter) {
  const auto all = members<T>(arguments);
  const auto n = static_cast<int64_t>(all.size());
  const HostTensor<T>& like = *all[0]->in[0];
  const int64_t wide = scatter ? like.cols : like.cols * n, narrow = wide / n;
  const int64_t rows = scatter ? like.rows : like.rows / n;  // of a rank's positions
  const int64_t sequences = all[0]->shape.k, length = rows / sequences;
  // The first part's elements in a row of all heads; the op counts them in its input.
  const int64_t first = all[0]->shape.first == 0 ? wide
                        : scatter                ? all[0]->shape.first
                                                 : all[0]->shape.first * n;
  for (Collective<T>* m : all)
    m->out[0]->resize(scatter ? rows * n : rows, scatter ? narrow : wide);
  for (int64_t whole = 0; whole < n; ++whole)
    for (int64_t part = 0; part < n; ++part)
      for (int64_t r = 0; r < rows; ++r) {
        const auto& of_whole = *all[static_cast<std::size_t>(whole)];
        const auto& of_part = *all[static_cast<std::size_t>(part)];
        HostTensor<T>& x = scatter ? *of_whole.in[0] : *of_whole.out[0];
        HostTensor<T>& y = scatter ? *of_part.out[0] : *of_part.in[0];
        const int64_t row = (r / length * n + whole) * length + r % length;  // of all positions
        const auto move = [&](int64_t a, int64_t b, int64_t count) {
          T* wide_row = x.values.data() + r * wide + a;
          T* narrow_row = y.values.data() + row * narrow + b;
          scatter ? std::copy_n(wide_row, count, narrow_row)
                  : std::copy_n(narrow_row, count, wide_row);
        };
        move(part * (first / n), 0, first / n);
        move(first + part * ((wide - first) / n), first / n, (wide - first) / n);
      }
}

}  // namespace

template <class T>
ThreadCommunicator::Work activation_work(OpKind kind) {
  switch (kind) {
    case OpKind::kAllGather:
      return gather_rows<T>;
    case OpKind::kReduceScatter:
      return [](std::span<void* const> a) { reduce_rows<T>(a, true); };
    case OpKind::kAllReduce:
      return [](std::span<void* const> a) { reduce_rows<T>(a, false); };
    case OpKind::kRingExchange:
      return shift<T>;
    case OpKind::kScatterHeads:
      return [](std::span<void* const> a) { move_heads<T>(a, true); };
    case OpKind::kGatherHeads:
      return [](std::span<void* const> a) { move_heads<T>(a, false); };
    default:
      throw Error(ExitCode::kInternal,
                  fmt::format("{} is no collective on activations", op_kind_name(kind)));
  }
}

template ThreadCommunicator::Work activation_work<float>(OpKind);
template ThreadCommunicator::Work activation_work<double>(OpKind);

}  // namespace orrery
