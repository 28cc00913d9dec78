# find_package(bge) gives the target bge::bge: bge.h, bge.hpp, and libbge.so.

get_filename_component(_bge_lib "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
get_filename_component(_bge_include "${_bge_lib}/@INCLUDE@" ABSOLUTE)

if(NOT TARGET bge::bge)
  add_library(bge::bge SHARED IMPORTED)
  set_target_properties(bge::bge PROPERTIES
    IMPORTED_LOCATION "${_bge_lib}/libbge.so"
    IMPORTED_SONAME "@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${_bge_include}")
endif()

if(NOT EXISTS "${_bge_lib}/libbge.so")
  set(bge_FOUND FALSE)
  set(bge_NOT_FOUND_MESSAGE "${_bge_lib}/libbge.so does not exist")
endif()
unset(_bge_lib)
unset(_bge_include)
