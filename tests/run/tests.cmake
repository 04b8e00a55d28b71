# Whole-program tests: Python's standard library over the built program. lk_run_test(NAME) registers run/test_NAME.py as run.NAME.
find_program(LK_PYTHON python3 REQUIRED)

add_executable(test_run_make_h5 run/make_h5.c)
target_link_libraries(test_run_make_h5 PRIVATE lk_data lk_base lk_options)
add_executable(test_run_api run/api.c)
target_link_libraries(test_run_api PRIVATE lockstep lk_options)
target_compile_options(test_run_api PRIVATE -Wno-missing-prototypes)

set(LK_RUN_ENV ${LK_TEST_ENV} "LOCKSTEP_BIN=$<TARGET_FILE:lockstep_main>" "LOCKSTEP_MAKE_H5=$<TARGET_FILE:test_run_make_h5>"
  "LOCKSTEP_API=$<TARGET_FILE:test_run_api>" "LOCKSTEP_SOURCE=${PROJECT_SOURCE_DIR}" "LOCKSTEP_SANITIZED=${LK_SANITIZE}" "PYTHONDONTWRITEBYTECODE=1")

function(lk_run_test name)
  add_test(NAME run.${name} COMMAND ${LK_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/run/test_${name}.py)
  set_tests_properties(run.${name} PROPERTIES LABELS "run" TIMEOUT 900 PROCESSORS 2 ENVIRONMENT "${LK_RUN_ENV}")
endfunction()

lk_run_test(cli)
lk_run_test(bad_input)
lk_run_test(launch)
lk_run_test(api)
lk_run_test(digest)
lk_run_test(resume)
lk_run_test(memory)
lk_run_test(learning)
lk_run_test(sequences)
lk_run_test(vision)
lk_run_test(transfer)
lk_run_test(predict)
lk_run_test(generative)
lk_run_test(carry)
if(LK_CUDA_TEST_MODULE)
  add_dependencies(lockstep_main ${LK_CUDA_TEST_MODULE})
  set(LK_GPU_ENV ${LK_RUN_ENV} "LOCKSTEP_CUDA_MODULE=$<TARGET_FILE:${LK_CUDA_TEST_MODULE}>" "LOCKSTEP_TEST_GPU=$<BOOL:${LK_TEST_GPU}>")
  if(TARGET standin_mpi AND NOT LK_TEST_GPU)
    list(APPEND LK_GPU_ENV "LOCKSTEP_STANDIN_MPI=$<TARGET_FILE:standin_mpi>")
  endif()
  # A test a class, so that a machine with cores for it takes them side by side.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/run/test_gpu.py)
  file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/run/test_gpu.py classes REGEX "^class [A-Za-z]+\\(Gpu\\)")
  foreach(line ${classes})
    string(REGEX REPLACE "^class ([A-Za-z]+).*" "\\1" class "${line}")
    string(TOLOWER ${class} name)
    add_test(NAME run.gpu.${name} COMMAND ${LK_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/run/test_gpu.py ${class})
    set_tests_properties(run.gpu.${name} PROPERTIES LABELS "run" TIMEOUT 900 PROCESSORS 2 ENVIRONMENT "${LK_GPU_ENV}")
  endforeach()
  # What scripts/gpu-check would run there.
  lk_run_test(gpu_check)
  set_property(TEST run.gpu_check APPEND PROPERTY ENVIRONMENT "LOCKSTEP_BUILD=${PROJECT_BINARY_DIR}" "LOCKSTEP_KERNEL_TEST=$<TARGET_FILE:test_cuda_cuda_vs_ref>")
endif()

add_test(NAME run.house COMMAND ${LK_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/run/house.py ${PROJECT_SOURCE_DIR} $<TARGET_FILE:lockstep>)
set_tests_properties(run.house PROPERTIES LABELS "run" TIMEOUT 120 ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1")

# The launcher's ear for mpirun: over launch alone.
add_executable(test_run_speech run/speech.c)
target_link_libraries(test_run_speech PRIVATE lk_launch lk_base lk_options PkgConfig::criterion)
add_test(NAME run.speech COMMAND test_run_speech --jobs 1)
set_tests_properties(run.speech PROPERTIES LABELS "unit;launch" TIMEOUT 60 ENVIRONMENT "${LK_TEST_ENV}")
