lk_test(plan engine)
lk_test(whole_graph engine)
lk_test(optim engine)
lk_test(device engine CUDA)
