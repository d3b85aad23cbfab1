#include "runtime/train/data.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/io/synthetic.h"
#include "runtime/io/token_file.h"
#include "runtime/model/step.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr int64_t kMaxBranching = 64;

// Equally likely successors: Zipf's law with exponent 0.
SyntheticLanguageSpec language(const DataSpec& data, int64_t vocab) {
  const int64_t most = std::min(kMaxBranching, vocab);
  if (data.branching < 2 || data.branching > most)
    throw InputError({{"/training/data/branching",
                       fmt::format("found {}, expected 2 to {} for a model of {} tokens",
                                   data.branching, most, vocab)}});
  SyntheticLanguageSpec s;
  s.vocab_size = vocab;
  s.successors = data.branching;
  s.min_exponent = s.max_exponent = 0;
  s.seed = static_cast<uint64_t>(data.seed);
  return s;
}

}  // namespace

TrainingData::TrainingData(const TrainingSpec& training, const GraphConfig& config) {
  const DataSpec& data = training.data;
  if (data.kind == DataKind::kSynthetic) {
    auto source = std::make_unique<SyntheticLanguage>(language(data, config.model.vocab));
    entropy_nats_ = source->entropy_nats();
    source_ = std::move(source);
    return;
  }
  file_ = std::make_unique<TokenFile>(data.path);
  if (file_->vocab_size() > config.model.vocab)
    throw InputError({{data.path, fmt::format("found a vocabulary of {} tokens, but the model has "
                                              "embeddings for {}",
                                              file_->vocab_size(), config.model.vocab)}});
  const int64_t length = config.plan.sequence_length;
  source_ = std::make_unique<TokenFileSource>(*file_, length, tokens_per_sequence(config) - length,
                                              static_cast<uint64_t>(data.seed));
}

TrainingData::~TrainingData() = default;

}  // namespace orrery
