/* make_h5 FILE NAME=TYPE[DIMS]:FILL ...: an HDF5 file for tests. TYPE as in lk_elem_name ("float32", "int64"), DIMS
 * with commas, FILL one of zero; rand (in [0,1), whole numbers in [0,100)); modK (number of the element modulo K); disk
 * (1 on a disk somewhere in the picture, which is the last two dimensions, and 0 beside it; real numbers with noise in
 * [-2,2): equal shapes, equal disks). */
#include "base/hash.h"
#include "base/mem.h"
#include "data/h5.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_type(const char *text, size_t n, lk_elem *out)
{
    for (int e = LK_ELEM_U8; e <= LK_ELEM_F64; e++) {
        const char *name = lk_elem_name((lk_elem)e);
        if (strlen(name) == n && strncmp(name, text, n) == 0) {
            *out = (lk_elem)e;
            return true;
        }
    }
    return false;
}

static bool parse_dims(const char *text, lk_h5_shape *s)
{
    char *end = (char *)text;

    for (s->ndim = 0; s->ndim <= LK_DATA_MAX_DIMS; text = end + 1) {
        s->dim[s->ndim++] = strtoll(text, &end, 10);
        if (end == text || (*end != ',' && *end != ']'))
            return false;
        if (*end == ']')
            return true;
    }
    return false;
}

static void put(void *data, lk_elem e, int64_t i, double v)
{
    switch (e) {
    case LK_ELEM_U8:
        ((uint8_t *)data)[i] = (uint8_t)v;
        break;
    case LK_ELEM_I8:
        ((int8_t *)data)[i] = (int8_t)v;
        break;
    case LK_ELEM_I16:
        ((int16_t *)data)[i] = (int16_t)v;
        break;
    case LK_ELEM_U16:
        ((uint16_t *)data)[i] = (uint16_t)v;
        break;
    case LK_ELEM_I32:
        ((int32_t *)data)[i] = (int32_t)v;
        break;
    case LK_ELEM_U32:
        ((uint32_t *)data)[i] = (uint32_t)v;
        break;
    case LK_ELEM_I64:
        ((int64_t *)data)[i] = (int64_t)v;
        break;
    case LK_ELEM_F32:
        ((float *)data)[i] = (float)v;
        break;
    case LK_ELEM_F64:
        ((double *)data)[i] = v;
        break;
    }
}

static double drawn(int64_t a, int64_t b)
{
    const int64_t key[2] = {a, b};

    return (double)(lk_hash64(key, sizeof key) >> 11) * 0x1p-53;
}

static double disk(const lk_h5_shape *s, bool whole, int64_t i)
{
    const int64_t h = s->dim[s->ndim - 2], w = s->dim[s->ndim - 1], picture = i / (h * w);
    const double radius = (double)(h < w ? h : w) * (0.25 + 0.25 * drawn(picture, 0));
    const double y = (double)(i / w % h) - drawn(picture, 1) * (double)h,
                 x = (double)(i % w) - drawn(picture, 2) * (double)w;
    const double v = x * x + y * y < radius * radius ? 1 : 0;

    return whole ? v : v + 4 * drawn(i, 3) - 2;
}

static double value(const char *fill, const lk_h5_shape *s, bool whole, int64_t i)
{
    if (strncmp(fill, "mod", 3) == 0)
        return (double)(i % strtoll(fill + 3, NULL, 10));
    if (strcmp(fill, "disk") == 0 && s->ndim >= 2)
        return disk(s, whole, i);
    if (strcmp(fill, "rand") != 0)
        return 0;
    const double v = (double)(lk_hash64(&i, sizeof i) >> 11) * 0x1p-53;
    return whole ? (double)(int)(100 * v) : v;
}

static lk_status add_field(hid_t file, const char *spec)
{
    const char *equals = strchr(spec, '='), *bracket = strchr(spec, '['), *fill = strstr(spec, "]:");
    char name[128];
    lk_h5_shape s = {0};
    int64_t n = 1;
    void *data = NULL;

    if (equals == NULL || bracket == NULL || fill == NULL ||
        !parse_type(equals + 1, (size_t)(bracket - equals - 1), &s.type) || !parse_dims(bracket + 1, &s))
        return LK_FAIL(LK_E_USAGE, "%s: expected NAME=TYPE[DIMS]:FILL", spec);
    snprintf(name, sizeof name, "%.*s", (int)(equals - spec), spec);
    for (int d = 0; d < s.ndim; d++)
        n *= s.dim[d];
    LK_TRY(lk_alloc_array(n > 0 ? n : 1, lk_elem_size(s.type), "field", &data));
    for (int64_t i = 0; i < n; i++)
        put(data, s.type, i, value(fill + 2, &s, lk_elem_is_integer(s.type), i));
    const lk_status st = lk_h5_write_array(file, name, &s, data);
    lk_free(data);
    return st;
}

static lk_status make(int argc, char **argv)
{
    hid_t file = -1;
    lk_status st;

    if (argc < 2)
        return LK_FAIL(LK_E_USAGE, "make_h5 FILE NAME=TYPE[DIMS]:FILL ...");
    LK_TRY(lk_h5_create(argv[1], &file));
    for (int i = 2; i < argc; i++)
        LK_TRY_TO(st, out, add_field(file, argv[i]));
    st = LK_OK;
out:;
    const lk_status closed = lk_h5_close(&file, argv[1]);
    return st != LK_OK ? st : closed;
}

int main(int argc, char **argv)
{
    if (make(argc, argv) == LK_OK)
        return 0;
    fprintf(stderr, "make_h5: %s\n", lk_err_last()->message);
    return 1;
}
