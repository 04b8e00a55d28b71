/* The walk over steps that lstm, gru and rnn share. Kept from forward to backward, for each row: the states, from the
 * initial one on, and gx and gh of each step. */
#include "kern/ref/recurrent.h"
#include <math.h>
#include <string.h>

double ref_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

typedef struct room {
    int64_t rows, steps, channels, units, gates, states; /* gates and states in numbers, not in units */
    int64_t *length; /* [B] */
    double *gx, *gh; /* [B,T,gates] */
    double *state; /* [B,T+1,states] */
    double *dgx, *dgh, *dstate; /* backward, of one step */
} room;

static size_t kept_count(const lk_opspec *s, const ref_cell *cell)
{
    const int64_t rows = s->in[0].dim[0], steps = s->in[0].dim[1], units = s->attr.recurrent.units;
    return (size_t)(rows * (2 * steps * cell->gates + (steps + 1) * cell->states) * units);
}

static room room_make(const lk_call *c, const ref_cell *cell)
{
    const lk_opspec *const s = c->spec;
    const int64_t units = s->attr.recurrent.units;
    room r = {.rows = s->in[0].dim[0],
        .steps = s->in[0].dim[1],
        .channels = s->in[0].dim[2],
        .units = units,
        .gates = cell->gates * units,
        .states = cell->states * units};
    r.length = c->scratch;
    double *const work = (double *)(r.length + r.rows);
    r.gx = c->saved ? c->saved : work;
    r.gh = r.gx + r.rows * r.steps * r.gates;
    r.state = r.gh + r.rows * r.steps * r.gates;
    r.dgx = work;
    r.dgh = r.dgx + r.gates;
    r.dstate = r.dgh + r.gates;
    return r;
}

lk_status ref_recurrent_plan(const lk_opspec *s, const ref_cell *cell, lk_kern_plan *out)
{
    const int64_t rows = s->in[0].dim[0], units = s->attr.recurrent.units;
    const size_t kept = kept_count(s, cell) * sizeof(double), lengths = (size_t)rows * sizeof(int64_t);
    *out = (lk_kern_plan){.saved_bytes = s->training ? kept : 0,
        .scratch_forward = lengths + (s->training ? 0 : kept),
        .scratch_backward = lengths + (size_t)((2 * cell->gates + cell->states) * units) * sizeof(double),
        .carry_bytes = s->attr.recurrent.carry ? (size_t)(rows * cell->states * units) * sizeof(double) : 0};
    return LK_OK;
}

/* out = W v + bias */
static void affine(int64_t n_out, int64_t n_in, const double *w, const double *bias, const double *v, double *out)
{
    for (int64_t o = 0; o < n_out; o++) {
        out[o] = bias[o];
        for (int64_t i = 0; i < n_in; i++)
            out[o] += w[o * n_in + i] * v[i];
    }
}

/* Place of step k of row b among all steps. */
static int64_t place(const lk_call *c, const room *r, int64_t b, int64_t k)
{
    return b * r->steps + (c->spec->attr.recurrent.reverse ? r->length[b] - 1 - k : k);
}

lk_status ref_recurrent_forward(const lk_call *c, const ref_cell *cell)
{
    const room r = room_make(c, cell);
    const double *const x = c->x[0];
    double *const y = c->y, *const carry = c->carry;
    int64_t longest;
    LK_TRY(lki_lengths(c, 1, r.steps, r.length, &longest));

    memset(y, 0, (size_t)(r.rows * r.steps * r.units) * sizeof *y);
    for (int64_t b = 0; b < r.rows; b++) {
        double *state = r.state + b * (r.steps + 1) * r.states;
        for (int64_t i = 0; i < r.states; i++)
            state[i] = carry ? carry[b * r.states + i] : 0;
        for (int64_t k = 0; k < r.length[b]; k++, state += r.states) {
            const int64_t at = place(c, &r, b, k);
            double *const gx = r.gx + at * r.gates, *const gh = r.gh + at * r.gates;
            affine(r.gates, r.channels, c->param[0], c->param[2], x + at * r.channels, gx);
            affine(r.gates, r.units, c->param[1], c->param[3], state, gh);
            cell->forward(c->spec, gx, gh, state, state + r.states);
            ref_copy(r.units, state + r.states, y + at * r.units);
        }
        if (carry)
            ref_copy(r.states, state, carry + b * r.states);
    }
    return LK_OK;
}

/* dw += dout v^T, dbias += dout, dv += W^T dout, as far as they are asked for */
static void affine_back(int64_t n_out, int64_t n_in, const double *w, const double *v, const double *dout, double *dw,
    double *dbias, double *dv)
{
    for (int64_t o = 0; o < n_out; o++) {
        if (dbias)
            dbias[o] += dout[o];
        for (int64_t i = 0; i < n_in; i++) {
            if (dw)
                dw[o * n_in + i] += dout[o] * v[i];
            if (dv)
                dv[i] += dout[o] * w[o * n_in + i];
        }
    }
}

lk_status ref_recurrent_backward(const lk_call *c, const ref_cell *cell)
{
    const room r = room_make(c, cell);
    const double *const x = c->x[0], *const dy = c->dy;
    double *const dx = c->dx[0];
    int64_t longest;
    LK_TRY(lki_lengths(c, 1, r.steps, r.length, &longest));

    for (int i = 0; i < c->spec->n_params; i++)
        if (c->dparam[i])
            memset(c->dparam[i], 0, (size_t)lk_shape_count(&c->spec->param[i].shape) * sizeof(double));
    if (dx)
        memset(dx, 0, (size_t)(r.rows * r.steps * r.channels) * sizeof *dx);
    for (int64_t b = 0; b < r.rows; b++) {
        memset(r.dstate, 0, (size_t)r.states * sizeof *r.dstate);
        for (int64_t k = r.length[b] - 1; k >= 0; k--) {
            const int64_t at = place(c, &r, b, k);
            const double *const before = r.state + (b * (r.steps + 1) + k) * r.states;
            for (int64_t i = 0; i < r.units; i++)
                r.dstate[i] += dy[at * r.units + i];
            cell->backward(c->spec, r.gx + at * r.gates, r.gh + at * r.gates, before, before + r.states, r.dstate,
                r.dgx, r.dgh);
            affine_back(r.gates, r.channels, c->param[0], x + at * r.channels, r.dgx, c->dparam[0], c->dparam[2],
                dx ? dx + at * r.channels : NULL);
            affine_back(r.gates, r.units, c->param[1], before, r.dgh, c->dparam[1], c->dparam[3], r.dstate);
        }
    }
    return LK_OK;
}
