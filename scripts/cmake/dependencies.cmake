# Finds the third-party packages. scripts/setup installs them; a failure here names the package.

function(fail_not_found apt_package name)
  message(FATAL_ERROR
    "${name} was not found. Install it with\n"
    "  apt-get install ${apt_package}\n"
    "or run scripts/setup, which installs everything that is missing.")
endfunction()

# require_package(<apt package> <find_package arguments>...)
macro(require_package apt_package name)
  find_package(${name} ${ARGN} QUIET)
  if(NOT ${name}_FOUND)
    fail_not_found(${apt_package} ${name})
  endif()
endmacro()

set(Boost_NO_WARN_NEW_VERSIONS ON)
require_package(libboost-graph-dev Boost 1.74)
require_package(libfmt-dev fmt 9)
require_package(libcli11-dev CLI11 2.1)
require_package(nlohmann-json3-dev nlohmann_json 3.11)
require_package(g++ Threads)
if(NOT ORRERY_FMT_HEADER_ONLY)
  require_package(libtbb-dev TBB 2021)
endif()

# Used as a header alone (XXH_INLINE_ALL), so that no library is needed at run time; the Debian
# package has no CMake file.
find_path(ORRERY_XXHASH_INCLUDE_DIR xxhash.h)
mark_as_advanced(ORRERY_XXHASH_INCLUDE_DIR)
if(NOT ORRERY_XXHASH_INCLUDE_DIR)
  fail_not_found(libxxhash-dev xxHash)
endif()
add_library(orrery_xxhash INTERFACE)
target_include_directories(orrery_xxhash SYSTEM INTERFACE "${ORRERY_XXHASH_INCLUDE_DIR}")
# Its forced inlining is an error at -Og.
target_compile_definitions(orrery_xxhash INTERFACE $<$<CONFIG:Debug>:XXH_NO_INLINE_HINTS=1>)

if(ORRERY_TESTS)
  require_package(catch2 Catch2)
  require_package(python3 Python3 3.11 COMPONENTS Interpreter)
endif()

set(ORRERY_FMT_TARGET fmt::fmt)
if(ORRERY_FMT_HEADER_ONLY)
  set(ORRERY_FMT_TARGET fmt::fmt-header-only)
endif()

# ccache is used when it is there; nothing depends on it.
find_program(ORRERY_CCACHE ccache)
mark_as_advanced(ORRERY_CCACHE)
if(ORRERY_CCACHE)
  foreach(language IN ITEMS CXX CUDA)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER "${ORRERY_CCACHE}")
    endif()
  endforeach()
endif()
