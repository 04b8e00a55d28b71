/* Inside src/data: stored values as what the step computes with. */
#ifndef LK_DATA_CONVERT_H
#define LK_DATA_CONVERT_H

#include "data/loader.h"

typedef struct lki_converter {
    lk_elem type;
    int64_t row; /* values of a sample */
    int n_norm; /* means and deviations: runs of row / n_norm values share one */
    bool last; /* or every n_norm-th value does */
    double scale;
    double *mean, *std; /* [n_norm] */
    bool copy; /* float32 that stays as it is */
    float *table; /* [n_norm][256] for stored bytes whose runs share one, else NULL */
} lki_converter;

/* Copies what it needs of `how`. Errors: LK_E_SHAPE where the number of means fits no sample, LK_E_ARG for a deviation
 * of 0 or what is not finite. */
LK_MUST_USE lk_status lki_converter_init(lki_converter *c, const lk_field_info *f, const lk_convert *how);
void lki_converter_fini(lki_converter *c);
/* One sample to float [row]. */
void lki_convert(const lki_converter *c, const void *stored, float *out);

#endif
