// DeepSeek-V3 as tests need it: the experiment of the repository, with changes.
#pragma once

#include <string>
#include <vector>

#include "sim/study/predict.h"
#include "tests/source_dir.h"

namespace orrery {

inline StudySpec deepseek(const std::vector<std::string>& overrides = {}) {
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/deepseek_v3", overrides, root);
}

// 4 pipeline ranks of 4 GPUs each, small enough to simulate every rank.
inline StudySpec small_cluster(const std::vector<std::string>& more = {}) {
  std::vector<std::string> o = {"/model/num_hidden_layers=6",
                                "/model/first_k_dense_replace=1",
                                "/cluster/nodes=2",
                                "/plan/pipeline_parallel=4",
                                "/plan/data_parallel=4",
                                "/plan/expert_parallel=4",
                                "/plan/global_batch=64",
                                "/plan/layers_per_stage=[2,2,1,1]",
                                "/plan/max_nodes_per_token=0",
                                "/plan/sequence_length=1024",
                                "/phases=[]",
                                "/published=[]"};
  o.insert(o.end(), more.begin(), more.end());
  return deepseek(o);
}

// The message of the Error that `f` throws; "" when it throws none.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace orrery
