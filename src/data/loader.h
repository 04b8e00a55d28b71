/* The loader: reader threads that fill microbatches ahead of the step, in fixed memory. What a batch holds is a
 * function of its position alone, whatever the number of readers. */
#ifndef LK_DATA_LOADER_H
#define LK_DATA_LOADER_H

#include "base/space.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/sampler.h"

typedef struct lk_loader lk_loader;

/* How stored values become inputs: (value * scale - mean[c]) / std[c], c the place in the first dimension of a sample
 * [C,H,W], or in the last dimension of any, of as many entries as mean has; one entry serves all. Computed in double,
 * rounded once to float. */
typedef struct lk_convert {
    double scale;
    const double *mean, *std; /* [n_norm]; NULL: 0 and 1 */
    int n_norm;
    bool last; /* c is the place in the last dimension */
} lk_convert;

enum { LK_LOADER_FIELDS = 8 };

typedef enum lk_as {
    LK_AS_REAL, /* float [rows, ...], converted */
    LK_AS_ID /* int64 [rows, ...], whole numbers as stored */
} lk_as;

typedef struct lk_loader_field {
    int field; /* of the dataset */
    lk_as as;
    lk_convert convert; /* of LK_AS_REAL */
    int64_t first, count; /* LK_AS_ID, count above 0: only these elements of the sample */
    int64_t classes; /* LK_AS_REAL, above 0: class ids, one a sample, as float [rows, classes]: 1 in the class, else 0;
                        or as the inputs were mixed */
} lk_loader_field;

/* Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): each row of field 0 is mixed with another row of its
 * microbatch, by a share lambda of its own, drawn from Beta(alpha, alpha) for each; so are fields with `classes`.
 * Partners are a permutation of the rows by (seed, epoch, step, microbatch); lambda and the box also depend on the
 * sample id. */
typedef struct lk_mix {
    double mixup, cutmix; /* alpha, 0: none; with both, each microbatch takes one of the two, as likely */
} lk_mix;
static inline bool lk_is_mixed(const lk_mix *m)
{
    return m->mixup > 0 || m->cutmix > 0;
}

typedef struct lk_loader_opts {
    lk_dataset *data; /* borrowed until destroy */
    lk_sampler sampler; /* initialized */
    lk_loader_field field[LK_LOADER_FIELDS]; /* what a batch holds; the same field may come more than once */
    int n_fields; /* >= 1 */
    int first_lane, n_lanes; /* microbatches of this rank */
    int64_t epoch, step; /* cursor to start at; goes on through epochs */
    int64_t end_epoch; /* stops before this epoch; -1: for ever */
    int readers, prefetch; /* threads, >= 1; steps ahead, >= 1 */
    const lk_augment *augment; /* of field 0, after its conversion; NULL: none; borrowed until destroy */
    lk_mix mix;
    const lk_space *space; /* whose pinned memory batches lie in; NULL: plain memory */
} lk_loader_opts;

typedef struct lk_lane_batch {
    /* Each array begins at 64 bytes. */
    int64_t valid; /* rows [0,valid) are samples; the rest has values 0, sample 0 */
    const void
        *field[LK_LOADER_FIELDS]; /* float or int64 [rows, ...]; fields that ask for the same values share them */
    const int64_t *sample; /* [rows] */
} lk_lane_batch;

typedef struct lk_batch {
    int64_t epoch, step; /* step within the epoch */
    int64_t samples; /* valid rows of the whole global batch (all lanes of all ranks) */
    const lk_lane_batch *lane; /* [n_lanes] of this rank */
} lk_batch;

/* Local. Allocates all its memory (reported by lk_loader_bytes), starts the readers. That memory is prefetch + 1 steps
 * of this rank's microbatches, and stored blocks: all of them where the dataset is up to 256 MiB as stored, so that
 * each is read once; else two windows a lane (sampler.window * sampler.block samples each; in sequence and in streams
 * what the steps ahead span), and the order's pool where that is up to 256 MiB; samples of a larger pool are read one
 * by one, so window, block and microbatches are best such that their product is well below the number of samples.
 * Errors: LK_E_ARG; LK_E_SHAPE for means that fit no sample; LK_E_DATA for ids and
 * classes that are no whole numbers; LK_E_CONFIG for augmentation that does not fit the samples; LK_E_NOMEM.
 */
LK_MUST_USE lk_status lk_loader_create(const lk_loader_opts *o, lk_loader **out);
/* The next step's batch, in order; waits for it. *view is NULL after the last one. Valid until lk_loader_unmap. A
 * reader's failure comes back here, at the batch it belongs to, with file, field and sample; and again at every later
 * call. The functions from here on are for one thread. */
LK_MUST_USE lk_status lk_loader_map(lk_loader *l, const lk_batch **view);
void lk_loader_unmap(lk_loader *l, const lk_batch **view);
double lk_loader_wait_seconds(const lk_loader *l); /* spent in map since creation */
int64_t lk_loader_bytes(const lk_loader *l);
/* What lk_loader_bytes will say of a loader with these options. Local. Errors: as lk_loader_create. */
LK_MUST_USE lk_status lk_loader_predict(const lk_loader_opts *o, int64_t *bytes);
void lk_loader_destroy(lk_loader **l); /* stops and joins the readers, in any state */

#endif
