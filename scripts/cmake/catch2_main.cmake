# orrery_catch2: Catch2 with a main(), for tests that include "tests/catch.h".
# Debian 12 has Catch2 v2 (one header), Ubuntu 24.04 has v3 (a library).

add_library(orrery_catch2 INTERFACE)
set(ORRERY_CATCH2_ARGUMENTS "")
if(Catch2_VERSION VERSION_LESS 3)
  set(main_source "${CMAKE_BINARY_DIR}/generated/catch2_main.cpp")
  file(CONFIGURE OUTPUT "${main_source}"
    CONTENT "#define CATCH_CONFIG_MAIN\n#include <catch2/catch.hpp>\n")
  add_library(orrery_catch2_main STATIC "${main_source}")
  target_link_libraries(orrery_catch2_main PUBLIC Catch2::Catch2)
  # Not our code, and the slowest file to compile (34 s with sanitizers, 9 s like this): so it gets
  # neither our warnings nor sanitizers.
  target_compile_features(orrery_catch2_main PRIVATE cxx_std_20)
  target_compile_options(orrery_catch2_main PRIVATE -O1 -fPIE -w)
  target_link_libraries(orrery_catch2 INTERFACE orrery_catch2_main)
  # Else v2 calls it a success when a name that ctest passes on matches no test; v3 never does.
  set(ORRERY_CATCH2_ARGUMENTS --warn NoTests)
else()
  target_link_libraries(orrery_catch2 INTERFACE Catch2::Catch2WithMain)
endif()

list(APPEND CMAKE_MODULE_PATH "${Catch2_DIR}")
include(Catch)
