/* What lstm, gru and rnn share in ref: a walk over the steps of each row, with the two affine maps
 *   gx = W_ih x[t] + b_ih,  gh = W_hh h + b_hh                    [gates units] each
 * and a cell that makes the next state of them. A state is h [units], for lstm with c [units] behind it.
 *
 * Step number k of a row is t = k, or t = length - 1 - k in reverse. */
#ifndef LK_KERN_REF_RECURRENT_H
#define LK_KERN_REF_RECURRENT_H

#include "kern/ref/ref_int.h"

typedef struct ref_cell {
    int gates;
    int states; /* 2: h and c */
    void (*forward)(const lk_opspec *s, const double *gx, const double *gh, const double *before, double *after);
    /* dstate comes as the gradient by `after` and leaves as the part of that by `before` which does not go through gh. */
    void (*backward)(const lk_opspec *s, const double *gx, const double *gh, const double *before, const double *after,
        double *dstate, double *dgx, double *dgh);
} ref_cell;

lk_status ref_recurrent_plan(const lk_opspec *s, const ref_cell *cell, lk_kern_plan *out);
lk_status ref_recurrent_forward(const lk_call *c, const ref_cell *cell);
lk_status ref_recurrent_backward(const lk_call *c, const ref_cell *cell);

double ref_sigmoid(double x);

#endif
