/* Inside the checkpoint: one state.h5 as named arrays and attributes. checkpoint_file.c writes and reads it,
 * checkpoint.c keeps the folders around it, checkpoint_report.c tells people what is in it. */
#ifndef LK_TRAIN_CHECKPOINT_INT_H
#define LK_TRAIN_CHECKPOINT_INT_H

#include "data/h5.h"
#include "train/checkpoint.h"

#define LKI_STATE_NAME "state.h5"
#define LKI_CARRY_NAME "carry" /* of the array */
#define LKI_MANIFEST_NAME "manifest.json"

/* One array of a state, by the path that it has in the file. */
typedef struct lki_array {
    char *name; /* "weights/conv1/weight", "optimizer/exp_avg/conv1/weight" */
    lk_shape shape;
    int64_t count; /* elements */
    float *data; /* [count] in a state, borrowed; NULL: in a file */
    lk_hash hash; /* of a file's array: what its attribute says */
} lki_array;

/* Sorted by name in bytes, which is the order of the digest. */
typedef struct lki_arrays {
    lki_array *item;
    int n;
} lki_arrays;

/* The arrays of a state: weights of all parameters, optimizer state of those that the optimizer updates. */
LK_MUST_USE lk_status lki_arrays_of_state(const lk_graph *g, const lk_state *s, lki_arrays *out);
void lki_arrays_fini(lki_arrays *a);
/* Rows of the first dimension that are moved at a time, so that no copy of a whole array is needed, and the HDF5 lock
 * is free between. */
int64_t lki_array_rows(const lki_array *a);
int64_t lki_array_step(const lki_array *a);

/* An array of the digest, before its data; and the end of the digest. */
void lki_digest_array(lk_hasher *h, const lki_array *a);
lk_hash lki_digest_end(lk_hasher *h, const lk_cursor *c);
LK_MUST_USE lk_status lki_digest_arrays(const lki_arrays *a, const lk_cursor *c, lk_hash *out);

/* A state.h5 opened for reading. */
typedef struct lki_file {
    char *path;
    hid_t id;
    lk_cursor cursor;
    lk_watch watch;
    lk_checkpoint_meta meta; /* config and normalization: owned */
    lk_hash digest; /* as written */
    char *version; /* of the lockstep that wrote it */
    lki_arrays arrays;
} lki_file;

/* Writes and closes; not synced. What stands there is replaced. Errors leave a part of a file. */
LK_MUST_USE lk_status lki_file_write(
    const char *path, const lki_arrays *a, const lk_state *s, const lk_checkpoint_meta *m);
/* Reads attributes and names. The caller has compared the file with its manifest before. Errors: LK_E_FORMAT,
 * LK_E_DATA, LK_E_IO. */
LK_MUST_USE lk_status lki_file_open(const char *path, lki_file **out);
void lki_file_close(lki_file **f);
/* Rows [row, row + rows) of array i. */
LK_MUST_USE lk_status lki_file_read_rows(const lki_file *f, int i, int64_t row, int64_t rows, float *out);
/* All of array i, compared with its hash. Errors: LK_E_DATA. */
LK_MUST_USE lk_status lki_file_read(const lki_file *f, int i, float *out);
/* Reads all arrays in order, piece by piece, and compares every one with its hash and all of them with the digest.
 * `visit` (optional) sees each piece. Errors: LK_E_DATA. */
typedef void lki_visit(void *arg, int array, const float *data, int64_t count);
LK_MUST_USE lk_status lki_file_pass(const lki_file *f, lki_visit *visit, void *arg);

/* A step folder, or the state.h5 in it -> path of the folder (to be freed). */
LK_MUST_USE lk_status lki_checkpoint_folder(const char *path, char **out);
/* Compares state.h5 with the manifest and opens it. What is wrong is said with the name of the file, not its folder. */
LK_MUST_USE lk_status lki_checkpoint_open(const char *folder, lki_file **out);
/* Puts "FOLDER: damaged: " in front of such a message. */
lk_status lki_checkpoint_fail(lk_status st, const char *folder);

#endif
