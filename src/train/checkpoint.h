/* Checkpoints: HDF5 files with named arrays, each with its hash, beside a manifest with the hash of the file; written beside, synced,
 * renamed, verified; damaged ones are told from good ones before anything is taken from them. All local: the caller gathers and broadcasts.
 *
 * DIR/step-00001200/state.h5      /weights/LAYER/weight ..., /optimizer/STATE/LAYER/weight ...; root attributes: format, step, epoch,
 *                                 step_in_epoch, seed, model_hash, samples, batch, microbatches, digest, config (text), lockstep version
 * DIR/step-00001200/manifest.json {"file","bytes","xxh3"}
 * DIR/LATEST                      name of the newest good one */
#ifndef LK_TRAIN_CHECKPOINT_H
#define LK_TRAIN_CHECKPOINT_H

#include "base/buf.h"
#include "base/hash.h"
#include "engine/graph.h"

typedef struct lk_cursor {
    int64_t epoch, step; /* epoch; step of the whole run: updates done */
    int64_t step_in_epoch;
} lk_cursor;

/* The whole state of a run on one rank, float32, flat by the graph. */
typedef struct lk_state {
    lk_cursor cursor;
    float *weights;                  /* [graph->flat] */
    int n_state;
    const char *state_name[LK_MAX_OPT_STATE];
    float *state[LK_MAX_OPT_STATE];  /* [graph->flat] */
} lk_state;

typedef struct lk_checkpoint_meta {
    uint64_t seed, model_hash;
    int64_t samples, batch, microbatches;
    const char *config; /* resolved text */
    const char *reduction; /* "exact" or "fast" */
} lk_checkpoint_meta;

/* Digest of weights + optimizer state + cursor: XXH3-128 over, for each array in the order of names ("optimizer/..." and "weights/..." paths, bytewise), name, 0,
 * ndim, dims (int64), data; then epoch and step. */
LK_MUST_USE lk_status lk_state_digest(const lk_graph *g, const lk_state *s, lk_hash *out);
/* Writes, verifies, updates LATEST, removes all but the newest `keep` good ones (0: keeps all). Errors: LK_E_IO..., old ones untouched. */
LK_MUST_USE lk_status lk_checkpoint_write(const char *dir, const lk_graph *g, const lk_state *s, const lk_checkpoint_meta *m, int64_t keep, char **path);
/* Newest good checkpoint at or before LATEST in `dir`: damaged ones are skipped, each with a warning line that says why. *path NULL: none there. */
LK_MUST_USE lk_status lk_checkpoint_find(const char *dir, char **path);
/* Checks manifest, file hash and every array's hash. `path`: the step folder or its state.h5. */
LK_MUST_USE lk_status lk_checkpoint_verify(const char *path);
/* Reads into a state with allocated arrays. Errors: LK_E_CONFIG "...: made by another model: ..." with the first array that differs; LK_E_DATA damaged. */
LK_MUST_USE lk_status lk_checkpoint_read(const char *path, const lk_graph *g, lk_state *s, lk_checkpoint_meta *m);
/* Digest recomputed from the arrays in the file, with cursor: no graph needed. */
LK_MUST_USE lk_status lk_checkpoint_digest(const char *path, lk_hash *out, lk_cursor *cursor);
/* Text or JSON of what is in it; differences of two (names, shapes, largest absolute difference), *same tells equality. */
LK_MUST_USE lk_status lk_checkpoint_show(const char *path, bool json, lk_buf *out);
LK_MUST_USE lk_status lk_checkpoint_diff(const char *a, const char *b, bool json, lk_buf *out, bool *same);
/* RUN_DIR -> its newest good checkpoint; a checkpoint -> itself. */
LK_MUST_USE lk_status lk_checkpoint_resolve(const char *path, char **out);

#endif
