// Who does what in a block of the GEMM kernels that bulk copies feed, and what each gets.
#pragma once

namespace orrery::kernels {

constexpr int kProducerThreads = 128;  // of which one or two warps work
constexpr int kConsumers = 2;          // warpgroups
constexpr int kThreads = kProducerThreads + kConsumers * 128;
// Of a thread, 65536 / 384 at first; the producers give most of their own away.
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
constexpr int kMaxSharedBytes = 227 * 1024;

}  // namespace orrery::kernels
