lk_test(shapes kern)
lk_test(values kern)
lk_test(formula kern)
lk_test(gradients kern)
lk_test(cpu_vs_ref kern)

# Every set of inner loops that this machine has, not only its best.
foreach(isa avx2 any)
  add_test(NAME kern.cpu_vs_ref.${isa} COMMAND test_kern_cpu_vs_ref --jobs 1)
  set_tests_properties(kern.cpu_vs_ref.${isa} PROPERTIES LABELS "unit;kern" TIMEOUT 900 ENVIRONMENT "${LK_TEST_ENV};LOCKSTEP_ISA=${isa}")
endforeach()
