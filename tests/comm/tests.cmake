lk_test(tree comm)
lk_test(collectives comm NP 1 2 3 4)
lk_test(reduction comm NP 1 2 3 4 5 8)
lk_test(fault comm NP 2 3)
