/* Checkpoints: HDF5 files with named arrays, each with its hash, beside a manifest with the hash of the file; written beside, synced,
 * renamed, verified; damaged ones are told from good ones before anything is taken from them. All local: the caller gathers and broadcasts.
 * One process at a time writes below a folder; readers need no lock.
 *
 * DIR/step-00001200/state.h5      /weights/LAYER/weight ..., /ema/LAYER/weight ..., /optimizer/STATE/LAYER/weight ...: float32 in PyTorch's shapes, each with
 *                                 attribute xxh3; running means and optimizer state stand there for what the optimizer updates, not for statistics.
 *                                 /carry [microbatches, ...]: what recurrent layers carry on to the next step, where there are such.
 *                                 Root attributes: format, lockstep (version), step, epoch, step_in_epoch, seed, model_hash, samples,
 *                                 batch, microbatches, reduction, backend, digest, config (text), with data.normalize normalization (text:
 *                                 means, then deviations), and the lk_watch: lr_factor, lr_best, lr_since, stop_best, stop_since,
 *                                 best (text: step, space, score; one a line). Equal states give equal files
 * DIR/step-00001200/manifest.json {"file","bytes","xxh3","manifest"}, the last the hash of what stands before it
 * DIR/step-00001200.tmp.PID/      being written or removed by process PID; the next writer clears away those of dead ones
 * DIR/LATEST                      name of the newest good one
 * DIR/BEST                        name of the best one, where the state's lk_watch names any */
#ifndef LK_TRAIN_CHECKPOINT_H
#define LK_TRAIN_CHECKPOINT_H

#include "base/buf.h"
#include "base/hash.h"
#include "engine/graph.h"

typedef struct lk_cursor {
    int64_t epoch, step; /* epoch; step of the whole run: updates done */
    int64_t step_in_epoch;
} lk_cursor;

/* What the evaluations of a run have led to. Scores: lower is better; INFINITY: none yet. */
#define LK_MAX_BEST 32
typedef struct lk_watch {
    double lr_factor; /* what the rate is multiplied by */
    double lr_best;
    int64_t lr_since; /* evaluations since the best */
    double stop_best;
    int64_t stop_since;
    int n_best;
    struct {
        int64_t step;
        double score;
    } best[LK_MAX_BEST]; /* checkpoints that are kept as the best, the best first */
    /* fp16: what the loss is multiplied by; steps since it changed; steps that were left out (train/scale.c). */
    double loss_scale;
    int64_t scale_since, left_out;
} lk_watch;
/* Before any evaluation. */
lk_watch lk_watch_start(void);

/* The whole state of a run on one rank, float32, flat by the graph. */
typedef struct lk_state {
    lk_cursor cursor;
    lk_watch watch;
    float *weights;                  /* [graph->flat] */
    int n_state;
    const char *state_name[LK_MAX_OPT_STATE];
    float *state[LK_MAX_OPT_STATE];  /* [graph->flat] */
    float *carry;                    /* [carry_lanes][carry_count] what recurrent layers carry on to the next step, by microbatches. NULL: none */
    int64_t carry_lanes, carry_count;
    float *ema;                      /* [graph->flat] running mean of the weights; statistics are as in weights. NULL: none */
} lk_state;

typedef struct lk_checkpoint_meta {
    uint64_t seed, model_hash;
    int64_t samples, batch, microbatches;
    const char *config;    /* resolved text */
    const char *reduction; /* "exact" or "fast" */
    const char *backend;   /* that made it: "cpu", "cuda bf16"; NULL: unknown */
    const char *normalization; /* of the inputs, as text; NULL: none */
} lk_checkpoint_meta;

/* Digest of weights + their running means + optimizer state + cursor: XXH3-128 over, for each array of the file in the order of names ("carry", "ema/...",
 * "optimizer/..." and "weights/..." paths, bytewise), name, 0, ndim, dims (int64), data; then epoch and step. What lies between the arrays of the flat vector
 * does not count. */
LK_MUST_USE lk_status lk_state_digest(const lk_graph *g, const lk_state *s, lk_hash *out);
/* Writes, reads back and verifies, updates LATEST and BEST, then removes what is older than the newest `keep` good ones and none of the best
 * (0: keeps all; what is newer than this step stays, and so do damaged ones between good ones that stay). One of the same step is replaced. *path (may be NULL) gets the
 * step folder, to be freed. Any thread. Errors: LK_E_IO..., nothing is left behind, old ones untouched. */
LK_MUST_USE lk_status lk_checkpoint_write(const char *dir, const lk_graph *g, const lk_state *s, const lk_checkpoint_meta *m, int64_t keep, char **path);
/* Newest good checkpoint at or before LATEST in `dir`: damaged ones are skipped, each with a warning line that says why. Without LATEST, or
 * with one that names none that is there: the newest good one. *path (to be freed) NULL: none there. */
LK_MUST_USE lk_status lk_checkpoint_find(const char *dir, char **path);
/* Checks manifest, file hash, every array's hash and the digest. `path`, here and below: the step folder or its state.h5. Errors:
 * LK_E_DATA "PATH: damaged: state.h5: 10233 bytes, manifest says 20480"; LK_E_NOT_FOUND, LK_E_FORMAT (no checkpoint at all), LK_E_IO. */
LK_MUST_USE lk_status lk_checkpoint_verify(const char *path);
/* Reads into a state with allocated arrays and state names set; places of the flat vectors that hold no array become 0. n_state 0 takes the
 * weights alone (and the running means where there is a place for them), whatever the optimizer was. *m (may be NULL) is filled but for its
 * config, which is NULL; its normalization is to be freed. Errors: LK_E_CONFIG "PATH: made by
 * another model: ..." (or optimizer) with the first array that differs, nothing read; LK_E_DATA damaged, the arrays are undefined then.
 * Whether model_hash, seed and batch are those of the run is for the caller to judge. */
LK_MUST_USE lk_status lk_checkpoint_read(const char *path, const lk_graph *g, lk_state *s, lk_checkpoint_meta *m);
/* Digest recomputed from the arrays in the file, with cursor (may be NULL): no graph needed. */
LK_MUST_USE lk_status lk_checkpoint_digest(const char *path, lk_hash *out, lk_cursor *cursor);
/* Text, or one line of JSON, of what is in it (all of it is verified on the way); differences of two (names, shapes, elements whose bits
 * differ, largest absolute difference). *same: equal arrays and cursor, hence equal digests. */
LK_MUST_USE lk_status lk_checkpoint_show(const char *path, bool json, lk_buf *out);
LK_MUST_USE lk_status lk_checkpoint_diff(const char *a, const char *b, bool json, lk_buf *out, bool *same);
/* RUN_DIR, or the folder of its checkpoints -> the newest good checkpoint; a step folder or its state.h5 -> the step folder, unchecked. */
LK_MUST_USE lk_status lk_checkpoint_resolve(const char *path, char **out);

#endif
