lk_test(shapes kern)
lk_test(values kern)
lk_test(gradients kern)
lk_test(cpu_vs_ref kern)
