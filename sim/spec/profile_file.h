// How the files of hardware_profiles/ and of experiments refer to each other.
//
// A member whose value is a string names a file, beside the file that says so or in
// hardware_profiles/, without ".json": the file's object takes the string's place. An object with
// "extends": "gpu/h100_sxm5" is that file's object with the object's own members in the place of
// the file's; objects are merged member by member. A number with a source ({"value": ...}) is
// replaced whole, so that a value never keeps another one's reference, and so is a member that
// names a file of its own. "drop": ["gemm_fp8"] removes members of the file that do not hold. Keys
// that no reader knows are errors wherever they come from, and every value keeps the position of
// the file that it was read from.
#pragma once

#include <filesystem>
#include <string_view>

#include "sim/base/json_reader.h"

namespace orrery {

// Resolves member `key` of `object`, which was read from a file in folder `beside`: loads and
// merges until it is one object. In a cluster the members "node" and, of that, "gpu" are resolved
// too, and in a stack "collectives". Throws InputError: a file that does not exist
// (ExitCode::kNoInput, with the nearest name), an object that extends itself, a "drop" of something
// that is not there.
void resolve_profile(json::Node& object, std::string_view key, const std::filesystem::path& beside,
                     const std::filesystem::path& profiles);

// Reads one file and resolves what it extends and, in a cluster or node, its node and GPU.
json::Node load_profile(const std::filesystem::path& file, const std::filesystem::path& profiles);

}  // namespace orrery
