# find_package(bge) gives the target bge::bge: bge.h, bge.hpp, and libbge.so.

get_filename_component(_bge_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET bge::bge)
  add_library(bge::bge SHARED IMPORTED)
  set_target_properties(bge::bge PROPERTIES
    IMPORTED_LOCATION "${_bge_prefix}/lib/libbge.so"
    IMPORTED_SONAME "@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${_bge_prefix}/include")
endif()

if(NOT EXISTS "${_bge_prefix}/lib/libbge.so")
  set(bge_FOUND FALSE)
  set(bge_NOT_FOUND_MESSAGE "${_bge_prefix}/lib/libbge.so does not exist")
endif()
unset(_bge_prefix)
