/* Inside src/data: mixup and cutmix over the rows of a microbatch. */
#ifndef LK_DATA_MIX_H
#define LK_DATA_MIX_H

#include "base/rng.h"
#include "data/loader.h"

/* What a microbatch's rows are mixed by; a function of (seed, epoch, step, lane) and the row's sample id. */
typedef struct lki_mixing {
    lk_rng stream;
    int64_t valid;
    bool boxes; /* cutmix, else mixup */
    double alpha;
} lki_mixing;

lki_mixing lki_mixing_of(const lk_mix *m, uint64_t seed, int64_t epoch, int64_t step, int lane, int64_t valid);
/* The row that is mixed into `row`; all rows are taken once. */
int64_t lki_mixing_partner(const lki_mixing *m, int64_t row);
/* Row `row` of out from the same row and its partner of x [valid, f->row]; returns the weight of its own, by which
 * targets are mixed too: mixup's lambda, or cutmix's share of the picture that stayed. */
double lki_mix_row(
    const lki_mixing *m, const lk_field_info *f, int64_t row, int64_t sample, const float *x, float *out);

#endif
