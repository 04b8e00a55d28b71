/* Inside the room: what ops.h makes every operation and optimizer define, and the few rules that all backends must share to the
 * bit. */
#ifndef LK_KERN_KERN_INT_H
#define LK_KERN_KERN_INT_H

#include "base/rng.h"
#include "kern/kern.h"

#define X(NAME, name) \
    extern const lk_opinfo lk_op_##name; /* op/NAME.c */ \
    extern const lk_kernel lk_kern_ref_##name; /* ref/NAME.c */ \
    extern const lk_kernel lk_kern_cpu_##name; /* cpu/NAME.c */
LK_OP_LIST(X)
#undef X

#define X(NAME, name) \
    void lk_opt_ref_##name(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a); \
    void lk_opt_cpu_##name(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a);
LK_OPT_LIST(X)
#undef X

/* ---- dropout's draw: word e of row micro->sample[b] of this stream decides on element e (C H W order) of sample b ---- */
lk_rng lki_dropout_stream(const lk_opspec *s, const lk_micro *m);
/* Drops iff (uint64_t)word < limit. The comparison word < rate * 2^32 in whole numbers. */
uint64_t lki_dropout_limit(double rate);

/* ---- for op/NAME.c and kernels ---- */
/* The error of a class id outside [0, classes): LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lki_class_fail(const lk_micro *m, int64_t row, int64_t id, int64_t classes);
/* Axes H and W of a window that slides over `size` with padding: number of places, or 0 if the window does not fit once. */
int64_t lki_window_count(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after);
/* The last dimension, and the product of all before it. */
int64_t lki_shape_last(const lk_shape *s);
int64_t lki_shape_lead(const lk_shape *s);
/* No bits, for operations whose backward pass reads nothing but dy; or LK_NEEDS_X; or Y for a fused relu else nothing. */
unsigned lki_needs_none(const lk_opspec *s);
unsigned lki_needs_x(const lk_opspec *s);
/* One weight or statistic more in s->param. */
void lki_param_add(lk_opspec *s, lk_param_info p);
/* Wrong number of dimensions, integers where numbers are wanted, dimensions out of range: input `i` of the operation `name` must be
 * real, with at least `low` and at most `high` dimensions. */
LK_MUST_USE lk_status lki_input_check(const lk_opspec *s, const char *name, int i, int low, int high);

#endif
