#include "data/h5.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LISTED_NAMES = 20 };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void lk_h5_lock(void)
{
    static _Thread_local bool quiet; /* thread-safe builds keep the setting per thread */
    static bool opened;

    pthread_mutex_lock(&lock);
    if (!opened) {
        /* At exit HDF5 would try once more to write what a full disk refused, and crash over it: we close what we open ourselves. */
        H5dont_atexit();
        opened = true;
    }
    if (!quiet) {
        H5open();
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
        quiet = true;
    }
}

void lk_h5_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

typedef struct stack_text {
    char outer[160], inner[320];
} stack_text;

/* Upward: from the line where it went wrong to the call we made. */
static herr_t on_error_line(unsigned n, const H5E_error2_t *e, void *arg)
{
    stack_text *t = arg;
    const char *desc = e->desc != NULL ? e->desc : "";

    if (n == 0)
        snprintf(t->inner, sizeof t->inner, "%s", desc);
    snprintf(t->outer, sizeof t->outer, "%s", desc);
    return 0;
}

lk_status lk_h5_status(int64_t result, const char *call, const char *file, int line, const char *func)
{
    if (result >= 0)
        return LK_OK;
    stack_text t = {"", ""};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, on_error_line, &t);
    H5Eclear2(H5E_DEFAULT);
    if (t.inner[0] == 0)
        return lk_err_set(LK_E_IO, file, line, func, "HDF5 gives no reason for the failure of %s", call);
    if (strcmp(t.inner, t.outer) == 0)
        return lk_err_set(LK_E_IO, file, line, func, "HDF5: %s", t.inner);
    return lk_err_set(LK_E_IO, file, line, func, "HDF5: %s: %s", t.outer, t.inner);
}

/* ---- element types ---- */

static const struct {
    const char *name;
    size_t size;
    bool integer;
} elem[] = {
    [LK_ELEM_U8] = {"uint8", 1, true},
    [LK_ELEM_I8] = {"int8", 1, true},
    [LK_ELEM_I16] = {"int16", 2, true},
    [LK_ELEM_U16] = {"uint16", 2, true},
    [LK_ELEM_I32] = {"int32", 4, true},
    [LK_ELEM_U32] = {"uint32", 4, true},
    [LK_ELEM_I64] = {"int64", 8, true},
    [LK_ELEM_F32] = {"float32", 4, false},
    [LK_ELEM_F64] = {"float64", 8, false},
};

size_t lk_elem_size(lk_elem e)
{
    return elem[e].size;
}

const char *lk_elem_name(lk_elem e)
{
    return elem[e].name;
}

bool lk_elem_is_integer(lk_elem e)
{
    return elem[e].integer;
}

static hid_t native_type(lk_elem e)
{
    switch (e) {
    case LK_ELEM_U8:
        return H5T_NATIVE_UINT8;
    case LK_ELEM_I8:
        return H5T_NATIVE_INT8;
    case LK_ELEM_I16:
        return H5T_NATIVE_INT16;
    case LK_ELEM_U16:
        return H5T_NATIVE_UINT16;
    case LK_ELEM_I32:
        return H5T_NATIVE_INT32;
    case LK_ELEM_U32:
        return H5T_NATIVE_UINT32;
    case LK_ELEM_I64:
        return H5T_NATIVE_INT64;
    case LK_ELEM_F32:
        return H5T_NATIVE_FLOAT;
    case LK_ELEM_F64:
        return H5T_NATIVE_DOUBLE;
    }
    return -1;
}

bool lki_h5_elem(hid_t stored, lk_elem *out)
{
    const H5T_class_t class = H5Tget_class(stored);
    const size_t size = H5Tget_size(stored);

    if (class == H5T_ENUM) {
        const hid_t whole = H5Tget_super(stored);
        const bool known = whole >= 0 && lki_h5_elem(whole, out);
        H5Tclose(whole);
        return known;
    }
    if (class == H5T_FLOAT && (size == 2 || size == 4 || size == 8)) {
        *out = size == 8 ? LK_ELEM_F64 : LK_ELEM_F32;
        return true;
    }
    if (class != H5T_INTEGER)
        return false;
    const bool is_signed = H5Tget_sign(stored) != H5T_SGN_NONE;
    switch (size) {
    case 1:
        *out = is_signed ? LK_ELEM_I8 : LK_ELEM_U8;
        return true;
    case 2:
        *out = is_signed ? LK_ELEM_I16 : LK_ELEM_U16;
        return true;
    case 4:
        *out = is_signed ? LK_ELEM_I32 : LK_ELEM_U32;
        return true;
    case 8:
        *out = LK_ELEM_I64;
        return true;
    default:
        return false;
    }
}

const char *lki_h5_class_name(hid_t stored)
{
    switch (H5Tget_class(stored)) {
    case H5T_INTEGER:
        return "whole number of unusual width";
    case H5T_FLOAT:
        return "float of unusual width";
    case H5T_TIME:
        return "time";
    case H5T_STRING:
        return "string";
    case H5T_BITFIELD:
        return "bit field";
    case H5T_OPAQUE:
        return "opaque";
    case H5T_COMPOUND:
        return "compound";
    case H5T_REFERENCE:
        return "reference";
    case H5T_ENUM:
        return "enumeration";
    case H5T_VLEN:
        return "variable-length list";
    case H5T_ARRAY:
        return "array of arrays";
    default:
        return "unknown";
    }
}

hid_t lki_h5_mem_type(hid_t stored, lk_elem e)
{
    if (H5Tget_class(stored) == H5T_ENUM) /* has no conversion to numbers, but its own native form is the number */
        return H5Tget_native_type(stored, H5T_DIR_ASCEND);
    return H5Tcopy(native_type(e));
}

void lki_h5_format_shape(const lk_h5_shape *s, bool any, char *out, size_t cap)
{
    size_t used = (size_t)snprintf(out, cap, "[");

    for (int i = 0; i < s->ndim && used < cap; i++) {
        if (i == 0 && any)
            used += (size_t)snprintf(out + used, cap - used, "N");
        else
            used += (size_t)snprintf(out + used, cap - used, "%s%" PRId64, i > 0 ? "," : "", s->dim[i]);
    }
    if (used < cap)
        snprintf(out + used, cap - used, "]");
}

/* ---- files ---- */

/* File access list: objects go with their file; no lock on the file. */
static lk_status access_list(bool write, hid_t *out)
{
    hid_t fapl = -1;
    lk_status st;

    LK_TRY(LK_H5(fapl = H5Pcreate(H5P_FILE_ACCESS)));
    LK_TRY_TO(st, fail, LK_H5(H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG)));
#if H5_VERSION_GE(1, 10, 7)
    if (!write)
        LK_TRY_TO(st, fail, LK_H5(H5Pset_file_locking(fapl, false, true)));
#endif
    (void)write;
    *out = fapl;
    return LK_OK;

fail:
    H5Pclose(fapl);
    return st;
}

lk_status lk_h5_open(const char *path, hid_t *file)
{
    struct stat s;
    hid_t fapl = -1, id = -1;
    lk_status st;

    /* The system's own reasons read better than what HDF5 makes of them. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_TRY(LK_SYS(fd < 0, "open", path));
    st = LK_SYS(fstat(fd, &s) != 0, "stat", path);
    close(fd);
    LK_TRY(st);
    if (S_ISDIR(s.st_mode))
        return LK_FAIL(LK_E_FORMAT, "%s: a folder, not an HDF5 file", path);

    lk_h5_lock();
    const htri_t is_hdf5 = H5Fis_hdf5(path);
    if (is_hdf5 <= 0) {
        H5Eclear2(H5E_DEFAULT);
        st = LK_FAIL(LK_E_FORMAT, "%s: not an HDF5 file%s", path, s.st_size == 0 ? " (it is empty)" : "");
        goto out;
    }
    LK_TRY_TO(st, out, access_list(false, &fapl));
    st = LK_H5(id = H5Fopen(path, H5F_ACC_RDONLY, fapl));
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: ", path);
        goto out;
    }
    *file = id;
out:
    if (fapl >= 0)
        H5Pclose(fapl);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_create(const char *path, hid_t *file)
{
    hid_t fapl = -1, id = -1;
    lk_status st;

    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    LK_TRY(LK_SYS(fd < 0, "create", path));
    close(fd);
    lk_h5_lock();
    LK_TRY_TO(st, out, access_list(true, &fapl));
    st = LK_H5(id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: ", path);
        goto out;
    }
    *file = id;
out:
    if (fapl >= 0)
        H5Pclose(fapl);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_close(hid_t *file, const char *path)
{
    lk_status st = LK_OK;

    if (*file < 0)
        return LK_OK;
    lk_h5_lock();
    st = LK_H5(H5Fclose(*file));
    lk_h5_unlock();
    *file = -1;
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "%s: ", path);
}

/* ---- arrays ---- */

typedef struct name_list {
    char **name;
    int n, cap, max;
    lk_status st;
} name_list;

static herr_t on_object(hid_t at, const char *path, const H5O_info_t *info, void *arg)
{
    name_list *l = arg;

    (void)at;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    if (l->n == l->max)
        return 1;
    if (l->n == l->cap) {
        const int cap = l->cap == 0 ? 32 : 2 * l->cap;
        l->st = lk_realloc_array(l->cap, cap, sizeof l->name[0], "names of arrays", &l->name);
        if (l->st != LK_OK)
            return 1;
        l->cap = cap;
    }
    l->st = lk_strdup(path, &l->name[l->n]);
    if (l->st != LK_OK)
        return 1;
    l->n++;
    return 0;
}

/* Visiting by name with the native order of links would differ from file to file; by name index in rising order it is
 * sorted within each group. */
static lk_status list_arrays(hid_t at, int max, name_list *l)
{
    *l = (name_list){.max = max};
    lk_h5_lock();
#if H5_VERSION_GE(1, 12, 0)
    lk_status st = LK_H5(H5Ovisit1(at, H5_INDEX_NAME, H5_ITER_INC, on_object, l));
#else
    lk_status st = LK_H5(H5Ovisit2(at, H5_INDEX_NAME, H5_ITER_INC, on_object, l, H5O_INFO_BASIC));
#endif
    lk_h5_unlock();
    if (st == LK_OK)
        st = l->st;
    if (st != LK_OK)
        lk_strings_free(&l->name, l->n);
    return st;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

lk_status lk_h5_list(hid_t at, char ***names, int *n)
{
    name_list l;

    LK_TRY(list_arrays(at, INT32_MAX, &l));
    if (l.n > 1)
        qsort(l.name, (size_t)l.n, sizeof l.name[0], by_bytes);
    *names = l.name;
    *n = l.n;
    return LK_OK;
}

static lk_status not_there(hid_t at, const char *what, const char *name)
{
    lk_buf there = {0};
    name_list l;

    LK_TRY(list_arrays(at, LISTED_NAMES + 1, &l));
    for (int i = 0; i < l.n && i < LISTED_NAMES; i++)
        lk_buf_printf(&there, "%s%s", i > 0 ? ", " : "", l.name[i]);
    if (l.n > LISTED_NAMES)
        lk_buf_add(&there, ", ...");
    const char *text = lk_buf_text(&there);
    const lk_status st =
        LK_FAIL(LK_E_NOT_FOUND, "%s \"%s\" is not there (%ss: %s)", what, name, what, text[0] != 0 ? text : "none");
    lk_buf_fini(&there);
    lk_strings_free(&l.name, l.n);
    return st;
}

/* Whether each group on the way and the object itself are there: HDF5 has no one call for it. */
static bool is_there(hid_t at, const char *name)
{
    char part[1024];
    const size_t n = strlen(name);

    if (n == 0 || n >= sizeof part || strcmp(name, ".") == 0)
        return false;
    for (size_t i = 1; i <= n; i++) {
        if (i < n && name[i] != '/')
            continue;
        memcpy(part, name, i);
        part[i] = 0;
        if (H5Lexists(at, part, H5P_DEFAULT) <= 0 || H5Oexists_by_name(at, part, H5P_DEFAULT) <= 0) {
            H5Eclear2(H5E_DEFAULT);
            return false;
        }
    }
    return true;
}

lk_status lki_h5_open_array(hid_t at, const char *what, const char *name, hid_t dapl, hid_t *dset)
{
    hid_t id = -1;
    lk_status st;

    lk_h5_lock();
    if (!is_there(at, name)) {
        st = not_there(at, what, name);
        goto out;
    }
    st = LK_H5(id = H5Oopen(at, name, H5P_DEFAULT));
    if (st == LK_OK && H5Iget_type(id) != H5I_DATASET)
        st = LK_FAIL(LK_E_FORMAT, "it is a group, not an array");
    if (id >= 0)
        H5Oclose(id);
    if (st == LK_OK)
        st = LK_H5(*dset = H5Dopen2(at, name, dapl));
    if (st != LK_OK)
        lk_err_prefix(st, "%s \"%s\": ", what, name);
out:
    lk_h5_unlock();
    return st;
}

lk_status lki_h5_shape_of(hid_t dset, const char *what, const char *name, lk_h5_shape *out)
{
    hid_t type = -1, space = -1;
    hsize_t dim[H5S_MAX_RANK];
    lk_h5_shape s = {0};
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(dset)));
    if (!lki_h5_elem(type, &s.type)) {
        st = LK_FAIL(LK_E_FORMAT, "%s \"%s\" has type %s, not numbers", what, name, lki_h5_class_name(type));
        goto out;
    }
    LK_TRY_TO(st, out, LK_H5(space = H5Dget_space(dset)));
    if (H5Sget_simple_extent_type(space) == H5S_NULL) {
        st = LK_FAIL(LK_E_SHAPE, "%s \"%s\" holds nothing at all (null dataspace)", what, name);
        goto out;
    }
    LK_TRY_TO(st, out, LK_H5(s.ndim = H5Sget_simple_extent_dims(space, dim, NULL)));
    if (s.ndim > LK_DATA_MAX_DIMS + 1) {
        st = LK_FAIL(
            LK_E_SHAPE, "%s \"%s\" has rank %d, up to %d are possible", what, name, s.ndim, LK_DATA_MAX_DIMS + 1);
        goto out;
    }
    int64_t bytes = (int64_t)lk_elem_size(s.type);
    for (int i = 0; i < s.ndim; i++) {
        s.dim[i] = (int64_t)dim[i];
        if (s.dim[i] < 0 || __builtin_mul_overflow(bytes, s.dim[i] > 0 ? s.dim[i] : 1, &bytes)) {
            st = LK_FAIL(LK_E_SHAPE, "%s \"%s\" has more bytes than 64 bits can count", what, name);
            goto out;
        }
    }
    *out = s;
out:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    lk_h5_unlock();
    return st;
}

/* Selects a box in the file and makes the space of the same count for memory. */
static lk_status select_box(
    hid_t dset, int ndim, const hsize_t *start, const hsize_t *count, hid_t *file_space, hid_t *mem_space)
{
    *mem_space = -1;
    LK_TRY(LK_H5(*file_space = H5Dget_space(dset)));
    if (ndim == 0) {
        LK_TRY(LK_H5(*mem_space = H5Screate(H5S_SCALAR)));
        return LK_OK;
    }
    LK_TRY(LK_H5(H5Sselect_hyperslab(*file_space, H5S_SELECT_SET, start, NULL, count, NULL)));
    LK_TRY(LK_H5(*mem_space = H5Screate_simple(ndim, count, NULL)));
    return LK_OK;
}

lk_status lki_h5_read_box(hid_t dset, hid_t mem_type, int ndim, const hsize_t *start, const hsize_t *count, void *out)
{
    hid_t file_space = -1, mem_space = -1;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, select_box(dset, ndim, start, count, &file_space, &mem_space));
    LK_TRY_TO(st, out, LK_H5(H5Dread(dset, mem_type, mem_space, file_space, H5P_DEFAULT, out)));
out:
    if (mem_space >= 0)
        H5Sclose(mem_space);
    if (file_space >= 0)
        H5Sclose(file_space);
    lk_h5_unlock();
    return st;
}

lk_status lki_h5_write_box(
    hid_t dset, hid_t mem_type, int ndim, const hsize_t *start, const hsize_t *count, const void *data)
{
    hid_t file_space = -1, mem_space = -1;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, select_box(dset, ndim, start, count, &file_space, &mem_space));
    LK_TRY_TO(st, out, LK_H5(H5Dwrite(dset, mem_type, mem_space, file_space, H5P_DEFAULT, data)));
out:
    if (mem_space >= 0)
        H5Sclose(mem_space);
    if (file_space >= 0)
        H5Sclose(file_space);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_array_shape(hid_t at, const char *name, lk_h5_shape *out)
{
    hid_t dset = -1;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, lki_h5_open_array(at, "array", name, H5P_DEFAULT, &dset));
    LK_TRY_TO(st, out, lki_h5_shape_of(dset, "array", name, out));
out:
    if (dset >= 0)
        H5Dclose(dset);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_write_array(hid_t at, const char *name, const lk_h5_shape *shape, const void *data)
{
    hid_t lcpl = -1, dcpl = -1, space = -1, dset = -1;
    hsize_t start[LK_DATA_MAX_DIMS + 1] = {0}, count[LK_DATA_MAX_DIMS + 1];
    int64_t n = 1;
    lk_status st;

    for (int i = 0; i < shape->ndim; i++) {
        count[i] = (hsize_t)shape->dim[i];
        n *= shape->dim[i];
    }
    lk_h5_lock();
    LK_TRY_TO(st, out, LK_H5(lcpl = H5Pcreate(H5P_LINK_CREATE)));
    LK_TRY_TO(st, out, LK_H5(H5Pset_create_intermediate_group(lcpl, 1)));
    LK_TRY_TO(st, out, LK_H5(dcpl = H5Pcreate(H5P_DATASET_CREATE)));
    LK_TRY_TO(st, out, LK_H5(H5Pset_obj_track_times(dcpl, false)));
    LK_TRY_TO(st, out, LK_H5(H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER)));
    LK_TRY_TO(
        st, out, LK_H5(space = shape->ndim > 0 ? H5Screate_simple(shape->ndim, count, NULL) : H5Screate(H5S_SCALAR)));
    LK_TRY_TO(st, out, LK_H5(dset = H5Dcreate2(at, name, native_type(shape->type), space, lcpl, dcpl, H5P_DEFAULT)));
    if (data != NULL && n > 0)
        LK_TRY_TO(st, out, lki_h5_write_box(dset, native_type(shape->type), shape->ndim, start, count, data));
out:
    if (dset >= 0)
        H5Dclose(dset);
    if (space >= 0)
        H5Sclose(space);
    if (dcpl >= 0)
        H5Pclose(dcpl);
    if (lcpl >= 0)
        H5Pclose(lcpl);
    lk_h5_unlock();
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "array \"%s\": ", name);
}

typedef enum direction { READ, WRITE } direction;

/* Rows [first, first+n), or all where `whole` says what is expected. */
static lk_status move_rows(
    hid_t at, const char *name, const lk_h5_shape *whole, int64_t first, int64_t n, direction dir, void *data)
{
    hid_t dset = -1, type = -1, mem = -1;
    hsize_t start[LK_DATA_MAX_DIMS + 1] = {0}, count[LK_DATA_MAX_DIMS + 1] = {0};
    lk_h5_shape s;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, lki_h5_open_array(at, "array", name, H5P_DEFAULT, &dset));
    LK_TRY_TO(st, out, lki_h5_shape_of(dset, "array", name, &s));
    if (whole != NULL) {
        if (s.type != whole->type || s.ndim != whole->ndim ||
            memcmp(s.dim, whole->dim, (size_t)s.ndim * sizeof s.dim[0]) != 0) {
            char is[160], want[160];
            lki_h5_format_shape(&s, false, is, sizeof is);
            lki_h5_format_shape(whole, false, want, sizeof want);
            st = LK_FAIL(LK_E_SHAPE, "array \"%s\" is %s %s, %s %s was expected", name, lk_elem_name(s.type), is,
                lk_elem_name(whole->type), want);
            goto out;
        }
        n = s.ndim > 0 ? s.dim[0] : 1;
    }
    if (first < 0 || n < 0 || (s.ndim > 0 && (first > s.dim[0] || n > s.dim[0] - first))) {
        st = LK_FAIL(LK_E_RANGE, "array \"%s\": rows %" PRId64 " to %" PRId64 " of %" PRId64, name, first, first + n,
            s.ndim > 0 ? s.dim[0] : 1);
        goto out;
    }
    int64_t total = n;
    for (int i = 0; i < s.ndim; i++) {
        count[i] = (hsize_t)(i == 0 ? n : s.dim[i]);
        total *= i == 0 ? 1 : s.dim[i];
    }
    start[0] = (hsize_t)first;
    if (total == 0)
        goto out;
    st = LK_H5(type = H5Dget_type(dset));
    if (st == LK_OK)
        st = LK_H5(mem = lki_h5_mem_type(type, s.type));
    if (st == LK_OK)
        st = dir == READ ? lki_h5_read_box(dset, mem, s.ndim, start, count, data)
                         : lki_h5_write_box(dset, mem, s.ndim, start, count, data);
    if (st != LK_OK)
        lk_err_prefix(st, "array \"%s\": ", name);
out:
    if (mem >= 0)
        H5Tclose(mem);
    if (type >= 0)
        H5Tclose(type);
    if (dset >= 0)
        H5Dclose(dset);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_read_array(hid_t at, const char *name, const lk_h5_shape *shape, void *out)
{
    return move_rows(at, name, shape, 0, 0, READ, out);
}

lk_status lk_h5_read_rows(hid_t at, const char *name, int64_t first, int64_t n, void *out)
{
    return move_rows(at, name, NULL, first, n, READ, out);
}

lk_status lk_h5_write_rows(hid_t at, const char *name, int64_t first, int64_t n, const void *data)
{
    return move_rows(at, name, NULL, first, n, WRITE, (void *)data);
}

/* ---- attributes ---- */

static lk_status attr_failed(lk_status st, const char *name, const char *attr)
{
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "attribute \"%s\" of \"%s\": ", attr, name);
}

bool lk_h5_has_attr(hid_t at, const char *name, const char *attr)
{
    lk_h5_lock();
    const bool has = H5Aexists_by_name(at, name, attr, H5P_DEFAULT) > 0;
    H5Eclear2(H5E_DEFAULT);
    lk_h5_unlock();
    return has;
}

/* One value of the type. */
static lk_status set_attr(hid_t at, const char *name, const char *attr, hid_t type, const void *value)
{
    hid_t space = -1, id = -1;
    lk_status st;

    lk_h5_lock();
    if (lk_h5_has_attr(at, name, attr))
        LK_TRY_TO(st, out, LK_H5(H5Adelete_by_name(at, name, attr, H5P_DEFAULT)));
    LK_TRY_TO(st, out, LK_H5(space = H5Screate(H5S_SCALAR)));
    LK_TRY_TO(
        st, out, LK_H5(id = H5Acreate_by_name(at, name, attr, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
    LK_TRY_TO(st, out, LK_H5(H5Awrite(id, type, value)));
out:
    if (id >= 0)
        H5Aclose(id);
    if (space >= 0)
        H5Sclose(space);
    lk_h5_unlock();
    return attr_failed(st, name, attr);
}

lk_status lk_h5_set_text(hid_t at, const char *name, const char *attr, const char *text)
{
    hid_t type = -1;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, LK_H5(type = H5Tcopy(H5T_C_S1)));
    LK_TRY_TO(st, out, LK_H5(H5Tset_cset(type, H5T_CSET_UTF8)));
    LK_TRY_TO(st, out, LK_H5(H5Tset_size(type, strlen(text) + 1)));
    LK_TRY_TO(st, out, set_attr(at, name, attr, type, text));
out:
    if (type >= 0)
        H5Tclose(type);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_set_i64(hid_t at, const char *name, const char *attr, int64_t v)
{
    lk_h5_lock();
    const lk_status st = set_attr(at, name, attr, H5T_NATIVE_INT64, &v);
    lk_h5_unlock();
    return st;
}

lk_status lk_h5_set_f64(hid_t at, const char *name, const char *attr, double v)
{
    lk_h5_lock();
    const lk_status st = set_attr(at, name, attr, H5T_NATIVE_DOUBLE, &v);
    lk_h5_unlock();
    return st;
}

/* Opens an attribute that holds one value. */
static lk_status open_attr(hid_t at, const char *name, const char *attr, hid_t *id, hid_t *type)
{
    hid_t space = -1;

    if (!lk_h5_has_attr(at, name, attr))
        return LK_FAIL(LK_E_NOT_FOUND, "it is not there");
    LK_TRY(LK_H5(*id = H5Aopen_by_name(at, name, attr, H5P_DEFAULT, H5P_DEFAULT)));
    LK_TRY(LK_H5(*type = H5Aget_type(*id)));
    LK_TRY(LK_H5(space = H5Aget_space(*id)));
    const hssize_t n = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    if (n != 1)
        return LK_FAIL(LK_E_FORMAT, "it holds %" PRId64 " values, not one", (int64_t)n);
    return LK_OK;
}

static lk_status get_number(hid_t at, const char *name, const char *attr, bool whole, void *out)
{
    hid_t id = -1, type = -1;
    lk_elem e;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, open_attr(at, name, attr, &id, &type));
    if (H5Tget_class(type) == H5T_ENUM || !lki_h5_elem(type, &e) || (whole && !lk_elem_is_integer(e))) {
        st = LK_FAIL(LK_E_FORMAT, "it is no %snumber", whole ? "whole " : "");
        goto out;
    }
    LK_TRY_TO(st, out, LK_H5(H5Aread(id, whole ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, out)));
out:
    if (type >= 0)
        H5Tclose(type);
    if (id >= 0)
        H5Aclose(id);
    lk_h5_unlock();
    return attr_failed(st, name, attr);
}

lk_status lk_h5_get_i64(hid_t at, const char *name, const char *attr, int64_t *out)
{
    return get_number(at, name, attr, true, out);
}

lk_status lk_h5_get_f64(hid_t at, const char *name, const char *attr, double *out)
{
    return get_number(at, name, attr, false, out);
}

lk_status lk_h5_get_text(hid_t at, const char *name, const char *attr, char **out)
{
    hid_t id = -1, type = -1;
    char *text = NULL, *theirs = NULL;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, open_attr(at, name, attr, &id, &type));
    if (H5Tget_class(type) != H5T_STRING) {
        st = LK_FAIL(LK_E_FORMAT, "it is no text");
        goto out;
    }
    if (H5Tis_variable_str(type) > 0) {
        LK_TRY_TO(st, out, LK_H5(H5Aread(id, type, &theirs)));
        LK_TRY_TO(st, out, lk_strdup(theirs != NULL ? theirs : "", &text));
    } else {
        LK_TRY_TO(st, out,
            lk_alloc(H5Tget_size(type) + 1, "text of an attribute", &text)); /* one more: the end may not be stored */
        LK_TRY_TO(st, out, LK_H5(H5Aread(id, type, text)));
    }
    *out = text;
    text = NULL;
out:
    lk_free(text);
    if (theirs != NULL)
        H5free_memory(theirs);
    if (type >= 0)
        H5Tclose(type);
    if (id >= 0)
        H5Aclose(id);
    lk_h5_unlock();
    return attr_failed(st, name, attr);
}
