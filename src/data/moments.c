#include "data/moments.h"
#include "base/mem.h"
#include "data/dataset_int.h"

#include <inttypes.h>
#include <math.h>

enum { PIECE_BYTES = 1 << 20 };

lk_status lk_dataset_moments_count(lk_dataset *d, int field, lk_normalize how, int *n)
{
    const lk_dataset *whole = d;

    d = lk_dataset_source(d, &field);
    const lk_field_info *f = &d->field[field];
    switch (how) {
    case LK_NORMALIZE_NONE:
        *n = 0;
        return LK_OK;
    case LK_NORMALIZE_CHANNEL:
        if (f->ndim != 3 || d != whole)
            return LK_FAIL(LK_E_SHAPE,
                "%s: field \"%s\" has samples of rank %d; channels are those of "
                "[channels,height,width]",
                d->shard[0].path, f->name, f->ndim + (d != whole));
        return lk_cast_int(f->dim[0], n);
    case LK_NORMALIZE_FEATURE:
        return lk_cast_int(f->ndim > 0 ? f->dim[f->ndim - 1] : 1, n);
    case LK_NORMALIZE_ALL:
        break;
    }
    *n = 1;
    return LK_OK;
}

/* Sums of distances from the first value of each group, and of their squares: exact enough for any mean. */
typedef struct sums {
    double *origin, *sum, *squares; /* [n] */
    int n;
    bool last; /* group i are values i, i + n, ...; else runs of row / n values of a sample are of one group */
    bool begun;
} sums;

static double real_at(const void *p, lk_elem type, int64_t i)
{
    return type == LK_ELEM_F32   ? (double)((const float *)p)[i]
           : type == LK_ELEM_F64 ? ((const double *)p)[i]
                                 : (double)lki_whole_at(p, type, i);
}

static void add_sample(sums *s, const lk_field_info *f, double scale, const void *stored)
{
    const int64_t run = f->row / s->n;

    for (int64_t i = 0; !s->begun && i < s->n; i++)
        s->origin[i] = scale * real_at(stored, f->type, s->last ? i : i * run);
    s->begun = true;
    for (int64_t i = 0; i < f->row; i++) {
        const int64_t g = s->last ? i % s->n : i / run;
        const double far = scale * real_at(stored, f->type, i) - s->origin[g];
        s->sum[g] += far;
        s->squares[g] += far * far;
    }
}

static lk_status finish(const sums *s, const lk_dataset *d, const lk_field_info *f, double *mean, double *std)
{
    const double count = (double)d->samples * (double)(f->row / s->n);

    for (int g = 0; g < s->n; g++) {
        const double far = s->sum[g] / count, variance = s->squares[g] / count - far * far;
        mean[g] = s->origin[g] + far;
        std[g] = variance > 0 ? sqrt(variance) : 1;
        if (!isfinite(mean[g]) || !isfinite(variance))
            return LK_FAIL(LK_E_DATA,
                "%s: field \"%s\" has values that are not finite (number %d of the mean is %g): it cannot be "
                "normalized",
                d->shard[0].path, f->name, g, mean[g]);
    }
    return LK_OK;
}

static lk_status add_all(lk_dataset *d, int field, double scale, sums *s)
{
    const lk_field_info *f = &d->field[field];
    const int64_t stored = f->row * (int64_t)lk_elem_size(f->type);
    const int64_t piece = stored < PIECE_BYTES ? PIECE_BYTES / stored : 1;
    char *rows = NULL;
    lk_status st = LK_OK;

    LK_TRY(lk_alloc_array(piece, (size_t)stored, "rows of a field", &rows));
    for (int64_t first = 0; first < d->samples && st == LK_OK; first += piece) {
        const int64_t n = d->samples - first < piece ? d->samples - first : piece;
        st = lk_dataset_read(d, field, first, n, rows);
        for (int64_t i = 0; st == LK_OK && i < n; i++)
            add_sample(s, f, scale, rows + (size_t)(i * stored));
    }
    lk_free(rows);
    return st;
}

lk_status lk_dataset_moments(lk_dataset *d, int field, lk_normalize how, double scale, double *mean, double *std)
{
    sums s = {.last = how == LK_NORMALIZE_FEATURE};
    lk_status st;

    LK_TRY(lk_dataset_moments_count(d, field, how, &s.n));
    d = lk_dataset_source(d, &field);
    LK_TRY_TO(st, out, lk_alloc_array(s.n, sizeof *s.origin, "means", &s.origin));
    LK_TRY_TO(st, out, lk_alloc_array(s.n, sizeof *s.sum, "means", &s.sum));
    LK_TRY_TO(st, out, lk_alloc_array(s.n, sizeof *s.squares, "deviations", &s.squares));
    LK_TRY_TO(st, out, add_all(d, field, scale, &s));
    st = finish(&s, d, &d->field[field], mean, std);
out:
    lk_free(s.origin);
    lk_free(s.sum);
    lk_free(s.squares);
    return st;
}
