# With ORRERY_UNITY, files are compiled some at a time, as one: headers and the templates that they
# instantiate are most of the time of a build.

# bundle_sources(TARGET): the target's C++ files of a folder, kBundle at a time; never those of two folders.
# In such a bundle the anonymous namespaces are one, so their names are to differ within a folder.
function(bundle_sources target)
  if(NOT ORRERY_UNITY)
    return()
  endif()
  set(bundle_size 10)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  list(SORT sources)
  set(folder)
  foreach(source IN LISTS sources)
    cmake_path(GET source PARENT_PATH parent)
    if(NOT parent STREQUAL folder)
      set(folder "${parent}")
      set(count 0)
      cmake_path(RELATIVE_PATH folder BASE_DIRECTORY "${CMAKE_SOURCE_DIR}" OUTPUT_VARIABLE name)
      string(REPLACE "/" "_" name "${name}")
    endif()
    math(EXPR bundle "${count} / ${bundle_size}")
    math(EXPR count "${count} + 1")
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP "${name}_${bundle}")
  endforeach()
endfunction()
