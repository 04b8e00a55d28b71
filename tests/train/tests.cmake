lk_test(checkpoint train)
lk_test(step train)
lk_test(parity train)
