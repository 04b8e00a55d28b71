#include "data/convert.h"
#include "base/mem.h"
#include "data/dataset_int.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { BYTE_VALUES = 256 };

#define CONVERT_RUN(T) \
    do { \
        const T *in = stored; \
        for (int64_t i = 0; i < n; i++) \
            out[i] = (float)(((double)in[i] * scale - mean) / std); \
    } while (0)

/* n values from one run of a sample: in double, rounded once. */
static void convert_run(
    lk_elem type, double scale, double mean, double std, int64_t n, const void *restrict stored, float *restrict out)
{
    switch (type) {
    case LK_ELEM_U8:
        CONVERT_RUN(uint8_t);
        break;
    case LK_ELEM_I8:
        CONVERT_RUN(int8_t);
        break;
    case LK_ELEM_I16:
        CONVERT_RUN(int16_t);
        break;
    case LK_ELEM_U16:
        CONVERT_RUN(uint16_t);
        break;
    case LK_ELEM_I32:
        CONVERT_RUN(int32_t);
        break;
    case LK_ELEM_U32:
        CONVERT_RUN(uint32_t);
        break;
    case LK_ELEM_I64:
        CONVERT_RUN(int64_t);
        break;
    case LK_ELEM_F32:
        CONVERT_RUN(float);
        break;
    case LK_ELEM_F64:
        CONVERT_RUN(double);
        break;
    }
}

static void look_up(const float *restrict table, int64_t n, const uint8_t *restrict in, float *restrict out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = table[in[i]];
}

#define CONVERT_LAST(T) \
    do { \
        const T *in = stored; \
        for (int64_t first = 0; first < c->row; first += n, in += n, out += n) \
            for (int i = 0; i < n; i++) \
                out[i] = (float)(((double)in[i] * c->scale - c->mean[i]) / c->std[i]); \
    } while (0)

/* The same formula, with a mean for each place in the last dimension. */
static void convert_last(const lki_converter *c, const void *stored, float *out)
{
    const int n = c->n_norm;

    switch (c->type) {
    case LK_ELEM_U8:
        CONVERT_LAST(uint8_t);
        break;
    case LK_ELEM_I8:
        CONVERT_LAST(int8_t);
        break;
    case LK_ELEM_I16:
        CONVERT_LAST(int16_t);
        break;
    case LK_ELEM_U16:
        CONVERT_LAST(uint16_t);
        break;
    case LK_ELEM_I32:
        CONVERT_LAST(int32_t);
        break;
    case LK_ELEM_U32:
        CONVERT_LAST(uint32_t);
        break;
    case LK_ELEM_I64:
        CONVERT_LAST(int64_t);
        break;
    case LK_ELEM_F32:
        CONVERT_LAST(float);
        break;
    case LK_ELEM_F64:
        CONVERT_LAST(double);
        break;
    }
}

void lki_convert(const lki_converter *c, const void *stored, float *out)
{
    if (c->last) {
        convert_last(c, stored, out);
        return;
    }
    const int64_t run = c->row / c->n_norm;
    const size_t run_bytes = (size_t)run * lk_elem_size(c->type);

    if (c->copy) {
        memcpy(out, stored, (size_t)c->row * sizeof *out);
        return;
    }
    for (int k = 0; k < c->n_norm; k++, stored = (const char *)stored + run_bytes, out += run) {
        if (c->table != NULL)
            look_up(c->table + k * BYTE_VALUES, run, stored, out);
        else
            convert_run(c->type, c->scale, c->mean[k], c->std[k], run, stored, out);
    }
}

/* The formula for each byte there is, so that a table gives the same bits. */
static lk_status make_table(lki_converter *c)
{
    uint8_t bytes[BYTE_VALUES];

    for (int v = 0; v < BYTE_VALUES; v++)
        bytes[v] = (uint8_t)v;
    LK_TRY(lk_alloc_array((int64_t)c->n_norm * BYTE_VALUES, sizeof c->table[0], "table of byte values", &c->table));
    for (int k = 0; k < c->n_norm; k++)
        convert_run(c->type, c->scale, c->mean[k], c->std[k], BYTE_VALUES, bytes, c->table + k * BYTE_VALUES);
    return LK_OK;
}

lk_status lki_converter_init(lki_converter *c, const lk_field_info *f, const lk_convert *how)
{
    const int n = how->n_norm > 1 ? how->n_norm : 1;
    lk_status st;

    const bool last = n > 1 && how->last;
    *c = (lki_converter){.type = f->type, .row = f->row, .n_norm = n, .last = last, .scale = how->scale};
    if (last && (f->ndim == 0 || f->dim[f->ndim - 1] != n))
        return LK_FAIL(LK_E_SHAPE, "field \"%s\": %d means for samples with %" PRId64 " in their last dimension",
            f->name, n, f->ndim > 0 ? f->dim[f->ndim - 1] : 1);
    if (n > 1 && !last && (f->ndim != 3 || f->dim[0] != n))
        return LK_FAIL(LK_E_SHAPE,
            "field \"%s\": %d means for samples of rank %d with %" PRId64
            " in their first dimension; one mean, or one a channel of [channels,height,width]",
            f->name, n, f->ndim, f->ndim > 0 ? f->dim[0] : 1);
    LK_TRY_TO(st, fail, lk_alloc_array(n, sizeof c->mean[0], "means", &c->mean));
    LK_TRY_TO(st, fail, lk_alloc_array(n, sizeof c->std[0], "deviations", &c->std));
    bool plain = how->scale == 1;
    for (int k = 0; k < n; k++) {
        c->mean[k] = how->n_norm > 0 && how->mean != NULL ? how->mean[k] : 0;
        c->std[k] = how->n_norm > 0 && how->std != NULL ? how->std[k] : 1;
        if (!isfinite(c->mean[k]) || !isfinite(c->std[k]) || c->std[k] == 0 || !isfinite(how->scale)) {
            st = LK_FAIL(
                LK_E_ARG, "field \"%s\": scale %g, mean %g, deviation %g", f->name, how->scale, c->mean[k], c->std[k]);
            goto fail;
        }
        plain = plain && c->mean[k] == 0 && c->std[k] == 1;
    }
    c->copy = plain && !last && f->type == LK_ELEM_F32;
    if (lk_elem_size(f->type) == 1 && !last)
        LK_TRY_TO(st, fail, make_table(c));
    return LK_OK;

fail:
    lki_converter_fini(c);
    return st;
}

void lki_converter_fini(lki_converter *c)
{
    lk_free(c->mean);
    lk_free(c->std);
    lk_free(c->table);
    *c = (lki_converter){0};
}
