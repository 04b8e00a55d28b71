/* What is in an HDF5 file, as text for people or as JSON; and whether all of it can be read. */
#ifndef LK_DATA_INSPECT_H
#define LK_DATA_INSPECT_H

#include "base/buf.h"

/* Adds a description of the file: size, attributes, and for each array shape, type, layout, bytes; for numbers also
 * minimum, maximum, mean and how many are not finite (over all values, read in pieces); for whole numbers of rank 1
 * with few different values how often each is there. JSON is one object on one line:
 * {"file","bytes","attributes":{},"fields":[{"name","type","shape","layout","chunk","filters","bytes","stored_bytes","min","max","mean","not_finite","classes":{}}]},
 * where what does not apply is absent. Local. Errors: those of lk_h5_open, LK_E_IO with file and field; `out` is as
 * before then. */
LK_MUST_USE lk_status lk_data_inspect(const char *path, bool json, lk_buf *out);
/* Reads every value of every array, so that damaged chunks and missing ends come to light; checks that there are
 * arrays, and that their first dimensions agree. Adds one line: "a.h5: 600 samples in 2 fields, all readable". Errors:
 * as above; LK_E_SHAPE, LK_E_NOT_FOUND. */
LK_MUST_USE lk_status lk_data_verify(const char *path, lk_buf *out);

#endif
