# Flags for all of our code, and lk_room(): one static library a room of the house.
add_library(lk_options INTERFACE)
target_include_directories(lk_options INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(lk_options INTERFACE _GNU_SOURCE LK_VERSION="${PROJECT_VERSION}")
# -ffp-contract=off and no -ffast-math: a formula means the same sums on every build. -fno-math-errno and
# -fno-trapping-math change no result, and let loops vectorize.
set(lk_host "$<COMPILE_LANGUAGE:C,CXX>") # nvcc has options of its own: cmake/cuda.cmake
target_compile_options(lk_options INTERFACE "$<${lk_host}:-Wall;-Wextra;-Wshadow;-Wvla;-Wwrite-strings>"
  "$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>" "$<${lk_host}:-fno-math-errno;-fno-trapping-math;-ffp-contract=off>")
if(LK_WERROR)
  target_compile_options(lk_options INTERFACE "$<${lk_host}:-Werror>")
endif()
if(LK_SANITIZE)
  target_compile_options(lk_options INTERFACE "$<${lk_host}:-fsanitize=${LK_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=undefined>")
  target_link_options(lk_options INTERFACE -fsanitize=${LK_SANITIZE})
endif()

# lk_room(NAME [SOURCE_DIR dir] [DIRS more...] [DEPENDS rooms...] [LINK libraries...])
function(lk_room name)
  cmake_parse_arguments(A "" "SOURCE_DIR" "DIRS;DEPENDS;LINK" ${ARGN})
  if(NOT A_SOURCE_DIR)
    set(A_SOURCE_DIR src/${name})
  endif()
  set(patterns ${A_SOURCE_DIR}/*.c)
  foreach(dir ${A_DIRS})
    list(APPEND patterns src/${dir}/*.c)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  list(FILTER sources EXCLUDE REGEX "src/(cli/(main|api)|comm/comm_nccl)\\.c$")
  add_library(lk_${name} STATIC ${sources})
  target_link_libraries(lk_${name} PRIVATE lk_options)
  list(TRANSFORM A_DEPENDS PREPEND lk_)
  target_link_libraries(lk_${name} PUBLIC ${A_DEPENDS} ${A_LINK})
endfunction()
