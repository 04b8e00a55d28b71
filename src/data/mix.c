#include "data/mix.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

/* Blocks of a row's stream: the two gamma numbers, and the box. */
enum { GAMMA_BLOCKS = 1 << 20, BOX_BLOCK = 2 * GAMMA_BLOCKS };
/* The stream's row that no sample has: which of the two a microbatch is mixed by. */
#define CHOICE_ROW UINT64_MAX

lki_mixing lki_mixing_of(const lk_mix *m, uint64_t seed, int64_t epoch, int64_t step, int lane, int64_t valid)
{
    const uint64_t words[3] = {(uint64_t)epoch, (uint64_t)step, (uint64_t)lane};
    unsigned char bytes[sizeof words]; /* little-endian, as in lk_rng_make */
    lki_mixing out = {.valid = valid};
    uint32_t w[4];

    for (int i = 0; i < (int)sizeof bytes; i++)
        bytes[i] = (unsigned char)(words[i / 8] >> (8 * (i % 8)));
    out.stream = lk_rng_make(seed, LK_RNG_AUGMENT, lk_hash64(bytes, sizeof bytes));
    lk_rng_block(out.stream, CHOICE_ROW, 0, w);
    out.boxes = m->cutmix > 0 && (m->mixup <= 0 || (w[0] & 1) != 0);
    out.alpha = out.boxes ? m->cutmix : m->mixup;
    return out;
}

int64_t lki_mixing_partner(const lki_mixing *m, int64_t row)
{
    return lk_rng_permute(m->stream, m->valid, row);
}

/* In (0, 1). */
static double open_unit(uint32_t w)
{
    return ((double)w + 0.5) * 0x1p-32;
}

/* Logarithm of a gamma number of shape alpha (Marsaglia and Tsang 2000, "A simple method for generating gamma
 * variables"): by rejection for alpha + 1, times u^(1/alpha). One try takes one block; more than a few are as good as
 * impossible, since nineteen of twenty are kept. */
static double log_gamma_number(lk_rng stream, uint64_t row, uint64_t block, double alpha)
{
    const double d = alpha + 1 - 1.0 / 3, c = 1 / sqrt(9 * d);
    uint32_t w[4];
    double v = 1;

    for (uint64_t i = 0; i < GAMMA_BLOCKS / 2; i++) {
        lk_rng_block(stream, row, block + 2 * i, w);
        const double x = sqrt(-2 * log(open_unit(w[0]))) * cos(2 * 3.14159265358979323846 * open_unit(w[1]));
        v = (1 + c * x) * (1 + c * x) * (1 + c * x);
        if (v > 0 && log(open_unit(w[2])) < 0.5 * x * x + d - d * v + d * log(v))
            break;
        v = 1;
    }
    lk_rng_block(stream, row, block + 1, w);
    return log(d * v) + log(open_unit(w[0])) / alpha;
}

/* A beta number of shapes alpha and alpha. */
static double beta_number(const lki_mixing *m, uint64_t row)
{
    const double a = log_gamma_number(m->stream, row, 0, m->alpha);
    const double b = log_gamma_number(m->stream, row, GAMMA_BLOCKS, m->alpha);

    return 1 / (1 + exp(b - a));
}

/* Pastes a box of about (1 - lambda) of the picture; its middle is anywhere, what is beyond the edge is cut off. */
static double paste_box(
    const lki_mixing *m, const lk_field_info *f, int64_t sample, double lambda, const float *partner, float *out)
{
    const int64_t h = f->dim[f->ndim - 2], w = f->dim[f->ndim - 1];
    const double side = sqrt(1 - lambda);
    const int64_t bh = (int64_t)(side * (double)h + 0.5), bw = (int64_t)(side * (double)w + 0.5);
    uint32_t word[4];

    lk_rng_block(m->stream, (uint64_t)sample, BOX_BLOCK, word);
    int64_t y0 = (int64_t)((uint64_t)word[0] * (uint64_t)h >> 32) - bh / 2, y1 = y0 + bh;
    int64_t x0 = (int64_t)((uint64_t)word[1] * (uint64_t)w >> 32) - bw / 2, x1 = x0 + bw;
    y0 = y0 > 0 ? y0 : 0;
    x0 = x0 > 0 ? x0 : 0;
    y1 = y1 < h ? y1 : h;
    x1 = x1 < w ? x1 : w;
    if (y1 <= y0 || x1 <= x0)
        return 1;
    for (int64_t c = 0; c < f->row / (h * w); c++)
        for (int64_t y = y0; y < y1; y++) {
            const int64_t at = (c * h + y) * w + x0;
            memcpy(out + at, partner + at, (size_t)(x1 - x0) * sizeof *out);
        }
    return 1 - (double)((y1 - y0) * (x1 - x0)) / (double)(h * w);
}

double lki_mix_row(const lki_mixing *m, const lk_field_info *f, int64_t row, int64_t sample, const float *x, float *out)
{
    const float *own = x + row * f->row, *partner = x + lki_mixing_partner(m, row) * f->row;
    const double lambda = beta_number(m, (uint64_t)sample);

    out += row * f->row;
    if (m->boxes) {
        memcpy(out, own, (size_t)f->row * sizeof *out);
        return paste_box(m, f, sample, lambda, partner, out);
    }
    for (int64_t i = 0; i < f->row; i++)
        out[i] = (float)(lambda * (double)own[i] + (1 - lambda) * (double)partner[i]);
    return lambda;
}
