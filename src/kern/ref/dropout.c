/* dropout (Srivastava et al. 2014, in the "inverted" form that leaves evaluation alone): y = x keep / (1 - rate), keep
 * = 1 iff word u of row `sample id` of the draw's stream is at least rate 2^32, u the element, its channel (Tompson et
 * al. 2015) or 0 (Huang et al. 2016, "Deep networks with stochastic depth"). Backward: dx = dy keep / (1 - rate),
 * drawn again. */
#include "kern/ref/ref_int.h"

/* y[b,e] = x[b,e] keep / (1 - rate), in place or not. */
static void apply(const lk_call *c, const double *x, double *y)
{
    const double rate = c->spec->attr.dropout.rate;
    const int64_t rows = c->spec->in[0].dim[0], n = lk_shape_row(&c->spec->in[0]);
    const lk_rng stream = lki_dropout_stream(c->spec, c->micro);
    const uint64_t limit = lki_dropout_limit(rate);
    const int64_t size = n / lki_dropout_units(c->spec); /* neighbours that are dropped together */

    for (int64_t b = 0; b < rows; b++)
        for (int64_t e = 0; e < n; e++) {
            const int64_t u = e / size;
            uint32_t word[4];
            lk_rng_block(stream, (uint64_t)c->micro->sample[b], (uint64_t)u / 4, word);
            y[b * n + e] = word[u % 4] < limit ? 0 : x[b * n + e] / (1 - rate);
        }
}

static lk_status forward(const lk_call *c)
{
    if (c->spec->training)
        apply(c, c->x[0], c->y);
    else
        ref_copy(lk_shape_count(&c->spec->out), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        apply(c, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_dropout = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
