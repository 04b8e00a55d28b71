lk_test(config model)
lk_test(layers model)
lk_test(configs model)
lk_test(config_doc model)
