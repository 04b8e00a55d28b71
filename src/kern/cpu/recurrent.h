/* What lstm, gru and rnn share in cpu. Inside, everything lies step after step: step k holds the k-th valid step of every
 * row (in reverse: the k-th from its end), so that one step is a matrix of B rows and all steps together are one of T B.
 *
 *   gates [T,B,ld]  forward: the gates' sums, then their values; backward: their gradients. A row holds `cols` times
 *                   units: those of W_ih are the first `gates` of them, those of W_hh the last `gates`
 *   h, c [T+1,B,.]  states before step 0, after it, ...; c only with two states
 *   kept [T,B,units] what else a cell wants to see again (two states)
 *
 * The weights are packed in panels, for x W_ih^T and h W_hh^T and, the other way round, for the gradients. */
#ifndef LK_KERN_CPU_RECURRENT_H
#define LK_KERN_CPU_RECURRENT_H

#include "kern/cpu/cpu_int.h"

/* One row of one step. */
typedef struct lki_cell_row {
    int64_t units;
    float *gates; /* [cols units] */
    const float *h_before, *c_before;
    float *h, *c, *kept, *y; /* forward: written; backward: of these h and kept are read */
    const float *dy;
    float *dh; /* backward: gradient by h, without dy; leaves as the part of that by h_before that skips the gates (with `around`) */
    float *dc; /* backward: gradient by c, leaves as that by c_before */
} lki_cell_row;

typedef struct lki_cell {
    int gates, cols, states;
    int block[4]; /* column block i < gates of W_ih holds gate block[i] of the parameter; those of W_hh are in order */
    bool around; /* part of dh goes around the gates */
    void (*forward)(const lki_cell_row *r, bool relu);
    void (*backward)(const lki_cell_row *r, bool relu);
} lki_cell;

lk_status lki_recurrent_plan(const lk_opspec *s, const lki_cell *cell, lk_kern_plan *out);
lk_status lki_recurrent_pack(const lk_call *c, const lki_cell *cell);
lk_status lki_recurrent_forward(const lk_call *c, const lki_cell *cell);
lk_status lki_recurrent_backward(const lk_call *c, const lki_cell *cell);

/* The kernel lk_kern_cpu_NAME of a cell that is called `cell` in its file. */
#define LKI_RECURRENT_KERNEL(name_) \
    static lk_status plan(const lk_opspec *s, lk_kern_plan *out) \
    { \
        return lki_recurrent_plan(s, &cell, out); \
    } \
    static lk_status pack(const lk_call *c) \
    { \
        return lki_recurrent_pack(c, &cell); \
    } \
    static lk_status forward(const lk_call *c) \
    { \
        return lki_recurrent_forward(c, &cell); \
    } \
    static lk_status backward(const lk_call *c) \
    { \
        return lki_recurrent_backward(c, &cell); \
    } \
    const lk_kernel lk_kern_cpu_##name_ = {.in_rule = LK_LAYOUTS_PLAIN, \
        .out_rule = LK_LAYOUTS_PLAIN, \
        .plan = plan, \
        .pack = pack, \
        .forward = forward, \
        .backward = backward};

#endif
