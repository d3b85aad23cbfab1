# Sets ORRERY_HAS_CUDA and enables CUDA when a toolkit that knows C++20 and sm_90a is there.

set(ORRERY_HAS_CUDA OFF)
if(NOT ORRERY_CUDA)
  return()
endif()

find_program(ORRERY_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" "$ENV{CUDA_PATH}/bin" /usr/local/cuda/bin)
mark_as_advanced(ORRERY_NVCC)
set(nvcc_problem "nvcc was not found (set CUDA_HOME or PATH)")
if(ORRERY_NVCC)
  execute_process(COMMAND "${ORRERY_NVCC}" --version OUTPUT_VARIABLE nvcc_version ERROR_QUIET)
  string(REGEX MATCH "release ([0-9.]+)" ignored "${nvcc_version}")
  set(nvcc_version "${CMAKE_MATCH_1}")
  if(nvcc_version VERSION_GREATER_EQUAL 12.9)
    set(ORRERY_HAS_CUDA ON)
  else()
    set(nvcc_problem "${ORRERY_NVCC} is version ${nvcc_version}; 12.9 or newer is needed")
  endif()
endif()

if(NOT ORRERY_HAS_CUDA)
  if(ORRERY_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA: ${nvcc_problem}; building the simulator only")
    return()
  endif()
  message(FATAL_ERROR "ORRERY_CUDA is ON, but ${nvcc_problem}.")
endif()

# wgmma and setmaxnreg exist in sm_90a only; its code does not run on later GPUs, so no PTX is kept.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a-real)
endif()
if(NOT DEFINED CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER "${ORRERY_NVCC}")
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# -std by hand: CMake 3.25 does not know that nvcc has C++20.
# -Wpedantic and -Wconversion stay out: code that nvcc generates for the host breaks both.
set(cuda_options
  -std=c++20
  -Xcompiler=-Wall,-Wextra,-Wshadow,-ffp-contract=off,-fstack-protector-strong,-fPIE
  --expt-relaxed-constexpr -lineinfo)
if(ORRERY_WERROR)
  list(APPEND cuda_options --Werror=all-warnings)
endif()
target_compile_options(orrery_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_options}>")
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER} ${nvcc_version}")
