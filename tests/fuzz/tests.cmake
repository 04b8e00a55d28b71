# lk_fuzz(NAME ROOM): fuzz/fuzz_NAME.c over the room's library, run as an ordinary test on fuzz/corpus/NAME and on mutations of it.
# With a compiler that has -fsanitize=fuzzer the same file builds as a fuzzer: it defines LLVMFuzzerTestOneInput and nothing else.
function(lk_fuzz name room)
  add_executable(fuzz_${name} fuzz/fuzz_${name}.c fuzz/driver.c)
  target_link_libraries(fuzz_${name} PRIVATE lk_${room} lk_base lk_options)
  add_test(NAME fuzz.${name} COMMAND fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  set_tests_properties(fuzz.${name} PROPERTIES LABELS "fuzz;${room}" TIMEOUT 600 ENVIRONMENT "${LK_TEST_ENV}")
endfunction()

lk_fuzz(yaml base)
lk_fuzz(config model)
lk_fuzz(csv data)
lk_fuzz(idx data)
lk_fuzz(cifar data)
lk_fuzz(image data)
lk_fuzz(text data)
lk_fuzz(wav data)
