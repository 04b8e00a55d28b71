/* The HDF5 library behind one lock: its errors as ours, and whole arrays and attributes by name. For this folder and
 * for the checkpoint; nobody else includes hdf5.h. */
#ifndef LK_DATA_H5_H
#define LK_DATA_H5_H

#include "data/dataset.h"

#include <hdf5.h>

/* The library is not thread safe: whoever calls it holds this lock. It is one for the process and recursive; the
 * functions below take it themselves. HDF5's own printing is off from the first lock of a thread on. Do not wait for
 * another thread while holding it. */
void lk_h5_lock(void);
void lk_h5_unlock(void);

/* LK_TRY(LK_H5(H5Dread(...))): negative results become LK_E_IO, with the outermost and the innermost line of HDF5's
 * error stack as message, "HDF5: can't read data: file read failed". Whoever knows file and field puts them in front
 * with lk_err_prefix. Under the lock. */
#define LK_H5(call) lk_h5_status((int64_t)(call), #call, __FILE__, __LINE__, __func__)
LK_MUST_USE lk_status lk_h5_status(int64_t result, const char *call, const char *file, int line, const char *func);

/* Opens for reading, without locking the file (many ranks read, and shared file systems often cannot lock). Errors:
 * LK_E_NOT_FOUND or LK_E_IO with the system's reason, LK_E_FORMAT "a.h5: not an HDF5 file", LK_E_IO for a damaged or
 * cut one. Local. */
LK_MUST_USE lk_status lk_h5_open(const char *path, hid_t *file);
/* Creates or empties. Atomic writing (beside, sync, rename) is the caller's. */
LK_MUST_USE lk_status lk_h5_create(const char *path, hid_t *file);
/* Writes out what is left and sets *file to -1; a negative one is fine. Objects still open in it are closed too. `path`
 * is for the message. */
LK_MUST_USE lk_status lk_h5_close(hid_t *file, const char *path);

/* An array: its type and shape. ndim 0 is a single value. */
typedef struct lk_h5_shape {
    lk_elem type;
    int ndim;
    int64_t dim[LK_DATA_MAX_DIMS + 1];
} lk_h5_shape;

/* In all that follows: `at` is a file or group, `name` a path below it ("weights/linear1/bias"); messages begin with
 * the name, the caller puts the file in front. Values in memory are in the machine's byte order, rows contiguous, last
 * dimension fastest. */

/* Type and shape. Errors: LK_E_NOT_FOUND, LK_E_FORMAT (no array of numbers), LK_E_SHAPE (more than LK_DATA_MAX_DIMS + 1
 * dimensions). */
LK_MUST_USE lk_status lk_h5_array_shape(hid_t at, const char *name, lk_h5_shape *out);
/* Makes an array in one piece on disk (contiguous layout, no filter), groups on the way included; equal content gives
 * equal files. data NULL: made, to be filled with lk_h5_write_rows. */
LK_MUST_USE lk_status lk_h5_write_array(hid_t at, const char *name, const lk_h5_shape *shape, const void *data);
/* Reads a whole array; it must have this type and shape, else LK_E_SHAPE with both. */
LK_MUST_USE lk_status lk_h5_read_array(hid_t at, const char *name, const lk_h5_shape *shape, void *out);
/* Rows [first, first+n) of the first dimension, as the stored type. */
LK_MUST_USE lk_status lk_h5_write_rows(hid_t at, const char *name, int64_t first, int64_t n, const void *data);
LK_MUST_USE lk_status lk_h5_read_rows(hid_t at, const char *name, int64_t first, int64_t n, void *out);
/* Paths of all arrays (whatever their type) below `at`, sorted by bytes, free with lk_strings_free (base/file.h). */
LK_MUST_USE lk_status lk_h5_list(hid_t at, char ***names, int *n);

/* Attributes of the object `name` ("." is `at` itself). A set replaces. get_text gives a string for the caller to
 * lk_free. */
bool lk_h5_has_attr(hid_t at, const char *name, const char *attr);
LK_MUST_USE lk_status lk_h5_set_text(hid_t at, const char *name, const char *attr, const char *text);
LK_MUST_USE lk_status lk_h5_set_i64(hid_t at, const char *name, const char *attr, int64_t v);
LK_MUST_USE lk_status lk_h5_set_f64(hid_t at, const char *name, const char *attr, double v);
LK_MUST_USE lk_status lk_h5_get_text(hid_t at, const char *name, const char *attr, char **out);
LK_MUST_USE lk_status lk_h5_get_i64(hid_t at, const char *name, const char *attr, int64_t *out);
LK_MUST_USE lk_status lk_h5_get_f64(hid_t at, const char *name, const char *attr, double *out);

/* Inside this folder. */

/* The element type that values of a stored type are read as; false: not numbers. Whole numbers of every width (uint64
 * as int64: larger values become the largest), floats of 2 (as 4), 4 and 8 bytes, and enumerations of whole numbers
 * (booleans). */
bool lki_h5_elem(hid_t stored, lk_elem *out);
/* What a stored type is, for messages: "string", "compound", ... */
const char *lki_h5_class_name(hid_t stored);
/* The type to hand H5Dread for values of a stored type in memory as `e`: to be closed; negative on failure. */
hid_t lki_h5_mem_type(hid_t stored, lk_elem e);
/* Opens the array `name`; LK_E_NOT_FOUND lists the arrays there are. `what` is what messages call it: "field", "array".
 */
LK_MUST_USE lk_status lki_h5_open_array(hid_t at, const char *what, const char *name, hid_t dapl, hid_t *dset);
/* Shape of an open array. */
LK_MUST_USE lk_status lki_h5_shape_of(hid_t dset, const char *what, const char *name, lk_h5_shape *out);
/* Reads or writes a box (start, count; as many as the array has dimensions). */
LK_MUST_USE lk_status lki_h5_read_box(
    hid_t dset, hid_t mem_type, int ndim, const hsize_t *start, const hsize_t *count, void *out);
LK_MUST_USE lk_status lki_h5_write_box(
    hid_t dset, hid_t mem_type, int ndim, const hsize_t *start, const hsize_t *count, const void *data);
/* "[60000,1,28,28]", or with `any` in place of the first dimension: "[N,1,28,28]". */
void lki_h5_format_shape(const lk_h5_shape *s, bool any, char *out, size_t cap);

#endif
