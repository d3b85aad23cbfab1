# orrery_options: what every target of ours is compiled with.

set(CMAKE_CXX_EXTENSIONS OFF)

add_library(orrery_options INTERFACE)
target_compile_features(orrery_options INTERFACE cxx_std_20)
target_include_directories(orrery_options INTERFACE "${CMAKE_SOURCE_DIR}")

# -ffp-contract=off: with it, results are equal bit for bit on GCC and Clang and for any -march;
# a fused multiply-add rounds once where the source says twice.
# -fPIE for libraries too, rather than CMake's -fPIC, which keeps GCC from inlining public functions.
set(cxx_options
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wdouble-promotion
  -ffp-contract=off
  -fstack-protector-strong -fPIE)
if(ORRERY_WERROR)
  list(APPEND cxx_options -Werror)
endif()
target_compile_options(orrery_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxx_options}>")
target_compile_options(orrery_options INTERFACE $<$<CONFIG:Debug>:-D_GLIBCXX_ASSERTIONS>)
target_link_options(orrery_options INTERFACE -pie LINKER:-z,relro,-z,now)

if(ORRERY_SANITIZE)
  set(sanitize_options -fsanitize=${ORRERY_SANITIZE} -fno-omit-frame-pointer)
  # UBSan's checks of every pointer cost a quarter of the compile time; AddressSanitizer finds a bad
  # pointer when it is followed.
  if(ORRERY_SANITIZE MATCHES "address.*undefined")
    list(APPEND sanitize_options -fno-sanitize=null,alignment,object-size,vptr)
  endif()
  # GCC 12 reports uninitialised members inside <regex> and <functional> once they are instrumented.
  target_compile_options(orrery_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${sanitize_options};-fno-sanitize-recover=all;-Wno-maybe-uninitialized>")
  target_link_options(orrery_options INTERFACE ${sanitize_options})
else()
  # Fortified libc calls need the optimiser, and hide bugs from the sanitizers' interceptors.
  # Ubuntu's GCC predefines the macro, hence -U.
  target_compile_options(orrery_options INTERFACE
    "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<NOT:$<CONFIG:Debug>>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
endif()
