# orrery_catch2: Catch2 with a main(), for tests that include "tests/catch.h".
# Debian 12 has Catch2 v2 (one header), Ubuntu 24.04 has v3 (a library).

add_library(orrery_catch2 INTERFACE)
set(ORRERY_CATCH2_ARGUMENTS "")
if(Catch2_VERSION VERSION_LESS 3)
  set(main_source "${CMAKE_BINARY_DIR}/generated/catch2_main.cpp")
  file(CONFIGURE OUTPUT "${main_source}"
    CONTENT "#define CATCH_CONFIG_MAIN\n#include <catch2/catch.hpp>\n")
  add_library(orrery_catch2_main STATIC "${main_source}")
  target_link_libraries(orrery_catch2_main PUBLIC orrery_options Catch2::Catch2)
  # It is not our code, and it is the slowest file to compile.
  target_compile_options(orrery_catch2_main PRIVATE
    -O1 -w $<$<BOOL:${ORRERY_SANITIZE}>:-fno-sanitize=all>)
  target_link_libraries(orrery_catch2 INTERFACE orrery_catch2_main)
  # Else v2 calls it a success when a name that ctest passes on matches no test; v3 never does.
  set(ORRERY_CATCH2_ARGUMENTS --warn NoTests)
else()
  target_link_libraries(orrery_catch2 INTERFACE Catch2::Catch2WithMain)
endif()

list(APPEND CMAKE_MODULE_PATH "${Catch2_DIR}")
include(Catch)
