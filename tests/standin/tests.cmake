# The CUDA module for the host: the same sources, compiled as C++ and C, over tests/standin in place of CUDA's runtime and libraries. Needs CUDA's
# headers and a C++ compiler.
#
# LK_CUDA_TEST_MODULE is the target that tests of the module load: this one, or, with -DLK_TEST_GPU=ON on a machine with a GPU, the module itself; empty where
# neither can be had.
option(LK_TEST_GPU "run the CUDA tests on a GPU" OFF)
option(LK_CUDA_TESTS "test the CUDA module on the host (with sanitizers its sources take minutes each to compile: OFF in those presets)" ON)
set(LK_CUDA_TEST_MODULE "")
if(LK_TEST_GPU)
  set(LK_CUDA_TEST_MODULE lockstep_cuda)
elseif(LK_CUDA_INCLUDE AND CMAKE_CXX_COMPILER AND LK_CUDA_TESTS)
  set(LK_CUDA_TEST_MODULE lockstep_cuda_standin)
endif()
if(NOT LK_CUDA_TESTS)
  return()
endif()
if(NOT LK_CUDA_INCLUDE OR NOT CMAKE_CXX_COMPILER)
  message(STATUS "No tests of the CUDA module: they need CUDA's headers (cublasLt.h; LK_CUDA_INCLUDE) and a C++ compiler")
  return()
endif()

file(GLOB standin_parts CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/standin/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/standin/*.c)
list(FILTER standin_parts EXCLUDE REGEX "/(selftest[a-z_]*\\.cpp|mpi\\.c)$")
# For these files in this folder; where nvcc compiles them they stay CUDA.
set_source_files_properties(${LK_CUDA_CU} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")

# -fno-gnu-unique, so that it can be unloaded; -Bsymbolic, so that it finds its own functions and not a real CUDA runtime's.
function(lk_standin_options target)
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_include_directories(${target} SYSTEM PRIVATE ${LK_CUDA_INCLUDE})
  target_compile_definitions(${target} PRIVATE LK_STANDIN)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers;-fno-gnu-unique>")
  target_link_libraries(${target} PRIVATE lk_options Threads::Threads ${CMAKE_DL_LIBS})
endfunction()

# NCCL's part needs NCCL's header.
find_path(LK_NCCL_INCLUDE nccl.h HINTS ${LK_CUDA_INCLUDE})
if(LK_NCCL_INCLUDE)
  set(LK_STANDIN_NCCL ${LK_CUDA_NCCL_C})
else()
  list(FILTER standin_parts EXCLUDE REGEX "/nccl\\.cpp$")
  message(STATUS "No tests of exchanges through NCCL: nccl.h is missing")
endif()
# cuDNN's likewise.
if(NOT LK_CUDNN_INCLUDE)
  list(FILTER standin_parts EXCLUDE REGEX "/cudnn\\.cpp$")
  message(STATUS "No tests of convolutions and attention by cuDNN: cudnn_graph.h is missing")
endif()

add_library(lockstep_cuda_standin MODULE ${LK_CUDA_C} ${LK_STANDIN_NCCL} ${LK_CUDA_CU} ${standin_parts})
lk_standin_options(lockstep_cuda_standin)
if(LK_STANDIN_NCCL)
  target_include_directories(lockstep_cuda_standin SYSTEM PRIVATE ${LK_NCCL_INCLUDE})
  target_compile_definitions(lockstep_cuda_standin PRIVATE LK_HAVE_NCCL)
  target_link_libraries(lockstep_cuda_standin PRIVATE MPI::MPI_C)
endif()
if(LK_CUDNN_INCLUDE)
  target_include_directories(lockstep_cuda_standin SYSTEM PRIVATE ${LK_CUDNN_INCLUDE})
  target_compile_definitions(lockstep_cuda_standin PRIVATE LK_HAVE_CUDNN)
endif()
target_link_options(lockstep_cuda_standin PRIVATE -Wl,-Bsymbolic)

# An MPI that takes memory of the stand-in's devices, to be loaded in front of MPI.
add_library(standin_mpi SHARED standin/mpi.c)
target_compile_options(standin_mpi PRIVATE -Wno-missing-prototypes)
target_link_libraries(standin_mpi PRIVATE lk_options MPI::MPI_C ${CMAKE_DL_LIBS})

add_executable(test_standin_selftest standin/selftest.cpp standin/selftest_cublaslt.cpp standin/runtime.cpp standin/fiber.cpp standin/cublaslt.cpp)
lk_standin_options(test_standin_selftest)
target_link_libraries(test_standin_selftest PRIVATE PkgConfig::criterion)
add_test(NAME standin.selftest COMMAND test_standin_selftest --jobs 1)
set_tests_properties(standin.selftest PROPERTIES LABELS "unit;standin" TIMEOUT 120 ENVIRONMENT "${LK_TEST_ENV}")
if(LK_STANDIN_NCCL)
  add_executable(test_standin_selftest_nccl standin/selftest_nccl.cpp standin/nccl.cpp standin/runtime.cpp standin/fiber.cpp)
  lk_standin_options(test_standin_selftest_nccl)
  target_include_directories(test_standin_selftest_nccl SYSTEM PRIVATE ${LK_NCCL_INCLUDE})
  target_link_libraries(test_standin_selftest_nccl PRIVATE MPI::MPI_C)
  foreach(np 1 2 4)
    add_test(NAME standin.selftest_nccl.np${np} COMMAND mpirun --allow-run-as-root --oversubscribe --bind-to none
      --mca mpi_yield_when_idle 1 -n ${np} $<TARGET_FILE:test_standin_selftest_nccl>)
    set_tests_properties(standin.selftest_nccl.np${np} PROPERTIES LABELS "unit;standin" TIMEOUT 120 PROCESSORS 2 ENVIRONMENT "${LK_TEST_ENV}")
  endforeach()
endif()
