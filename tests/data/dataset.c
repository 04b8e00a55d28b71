#include "files.h"

#include "data/dataset.h"

TestSuite(dataset, .init = make_dir, .fini = remove_dir);

static lk_status open_two(const char *pattern, const char *first, const char *second, lk_dataset **out)
{
    char *item[] = {(char *)pattern};
    const char *fields[] = {first, second};

    return lk_dataset_open(&(lk_strings){item, 1}, dir, fields, second != NULL ? 2 : 1, out);
}

static lk_status open_shards(const char *pattern, lk_dataset **out)
{
    return open_two(pattern, "input", "label", out);
}

static hid_t new_file(const char *name)
{
    hid_t file = -1;

    EXPECT_OK(lk_h5_create(at(name), &file));
    return file;
}

static void done(hid_t file)
{
    EXPECT_OK(lk_h5_close(&file, "file"));
}

/* An array of a stored type and layout of HDF5's choosing. */
static hid_t create_array(
    hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dim, const hsize_t *chunk, int deflate)
{
    const hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE),
                space = ndim > 0 ? H5Screate_simple(ndim, dim, NULL) : H5Screate(H5S_SCALAR);

    if (chunk != NULL)
        H5Pset_chunk(dcpl, ndim, chunk);
    if (deflate > 0)
        H5Pset_deflate(dcpl, (unsigned)deflate);
    const hid_t dset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    H5Sclose(space);
    H5Pclose(dcpl);
    cr_assert(dset >= 0);
    return dset;
}

/* Rows of the shards of write_shard. */
static void check_rows(lk_dataset *d, int64_t first, int64_t n)
{
    uint8_t *input = malloc((size_t)(3 * n + 1));
    int64_t *label = malloc((size_t)(n + 1) * sizeof *label);

    EXPECT_OK(lk_dataset_read(d, 0, first, n, input));
    EXPECT_OK(lk_dataset_read(d, 1, first, n, label));
    for (int64_t i = 0; i < n; i++) {
        cr_assert(label[i] == first + i);
        for (int k = 0; k < 3; k++)
            cr_assert(input[3 * i + k] == (uint8_t)(first + i + k));
    }
    free(input);
    free(label);
}

Test(dataset, uneven_shards_are_one_row_of_samples)
{
    lk_dataset *d = NULL;
    int64_t first, n, min, max, at_min, at_max;

    write_shard("train-b.h5", 7, 0); /* an empty one in the middle is fine */
    write_shard("train-a.h5", 0, 7);
    write_shard("train-c.h5", 7, 500);
    write_shard("train-d.h5", 507, 1);
    write_shard("other.h5", 0, 7);
    EXPECT_OK(open_shards("train-*.h5", &d));
    cr_expect(lk_dataset_samples(d) == 508);
    cr_expect(lk_dataset_shards(d) == 4);
    cr_expect(strcmp(lk_dataset_shard(d, 2, &first, &n), at("train-c.h5")) == 0);
    cr_expect(first == 7 && n == 500);
    const lk_field_info *f = lk_dataset_field(d, 0);
    cr_expect(strcmp(f->name, "input") == 0 && f->type == LK_ELEM_U8 && f->ndim == 1 && f->dim[0] == 3 && f->row == 3 &&
              f->chunk == 0);
    f = lk_dataset_field(d, 1);
    cr_expect(strcmp(f->name, "label") == 0 && f->type == LK_ELEM_I64 && f->ndim == 0 && f->row == 1);
    check_rows(d, 0, 508);
    check_rows(d, 6, 2);
    check_rows(d, 7, 1);
    check_rows(d, 505, 3);
    check_rows(d, 507, 1);
    check_rows(d, 508, 0);
    EXPECT_FAIL(lk_dataset_read(d, 0, 507, 2, NULL), LK_E_ARG, "field 0 of 2, samples 507 to 509 of 508");
    EXPECT_FAIL(lk_dataset_read(d, 2, 0, 1, NULL), LK_E_ARG, "field 2 of 2, samples 0 to 1 of 508");
    EXPECT_OK(lk_dataset_range(d, 1, &min, &max, &at_min, &at_max));
    cr_expect(min == 0 && max == 507 && at_min == 0 && at_max == 507);
    EXPECT_OK(lk_dataset_range(d, 0, &min, &max, NULL, &at_max));
    cr_expect(min == 0 && max == 255 && at_max == 253);
    lk_dataset_close(&d);
    cr_expect(d == NULL);
    lk_dataset_close(&d);
}

Test(dataset, more_shards_than_stay_open)
{
    char name[32];
    lk_dataset *d = NULL;

    for (int i = 0; i < 70; i++) {
        snprintf(name, sizeof name, "s-%03d.h5", i);
        write_shard(name, 4 * i, 4);
    }
    EXPECT_OK(open_shards("s-*.h5", &d));
    check_rows(d, 0, 280);
    for (int64_t i = 279; i >= 0; i -= 3)
        check_rows(d, i, 1);
    int open_files = 0;
    char **names = NULL;
    int n = 0;
    EXPECT_OK(lk_dir_list("/proc/self/fd", &names, &n));
    for (int i = 0; i < n; i++) {
        char link[300], to[300] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%s", names[i]);
        open_files += readlink(link, to, sizeof to - 1) > 0 && strstr(to, dir) != NULL;
    }
    lk_strings_free(&names, n);
    cr_expect(open_files > 0 && open_files <= 32, "%d files are open", open_files);
    lk_dataset_close(&d);
}

/* One field for each stored type, all with the values 0, 1, 200 (100 for signed bytes). */
Test(dataset, any_numbers_will_do)
{
    const double v[3] = {0, 1, 100};
    const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    const hid_t truth = H5Tenum_create(H5T_NATIVE_INT8);
    const int8_t no = 0, yes = 1;
    lk_dataset *d = NULL;

    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_size(half, 2);
    H5Tset_ebias(half, 15);
    H5Tenum_insert(truth, "FALSE", &no);
    H5Tenum_insert(truth, "TRUE", &yes);
    const struct {
        hid_t stored;
        lk_elem read_as;
    } types[] = {
        {H5T_STD_U8LE, LK_ELEM_U8},
        {H5T_STD_I8LE, LK_ELEM_I8},
        {H5T_STD_U16LE, LK_ELEM_U16},
        {H5T_STD_U16BE, LK_ELEM_U16},
        {H5T_STD_I16BE, LK_ELEM_I16},
        {H5T_STD_I32LE, LK_ELEM_I32},
        {H5T_STD_U32BE, LK_ELEM_U32},
        {H5T_STD_I64BE, LK_ELEM_I64},
        {H5T_STD_U64LE, LK_ELEM_I64},
        {H5T_IEEE_F32LE, LK_ELEM_F32},
        {H5T_IEEE_F32BE, LK_ELEM_F32},
        {H5T_IEEE_F64BE, LK_ELEM_F64},
        {half, LK_ELEM_F32},
    };

    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int chunked = 0; chunked < 2; chunked++) {
            const hid_t file = new_file("t.h5");
            const hid_t dset = create_array(
                file, "x", types[t].stored, 1, (hsize_t[]){3}, chunked ? (hsize_t[]){2} : NULL, chunked ? 4 : 0);
            cr_assert(H5Dwrite(dset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) >= 0);
            done(file);
            EXPECT_OK(open_two("t.h5", "x", NULL, &d));
            const lk_field_info *f = lk_dataset_field(d, 0);
            cr_expect(f->type == types[t].read_as, "type %zu is read as %s", t, lk_elem_name(f->type));
            cr_expect(f->chunk == (chunked ? 2 : 0));
            unsigned char raw[24] = {0};
            EXPECT_OK(lk_dataset_read(d, 0, 0, 3, raw));
            for (int i = 0; i < 3; i++) {
                double got = 0;
                switch (f->type) {
                case LK_ELEM_U8:
                    got = raw[i];
                    break;
                case LK_ELEM_I8:
                    got = ((int8_t *)raw)[i];
                    break;
                case LK_ELEM_U16:
                    got = ((uint16_t *)raw)[i];
                    break;
                case LK_ELEM_I16:
                    got = ((int16_t *)raw)[i];
                    break;
                case LK_ELEM_U32:
                    got = ((uint32_t *)raw)[i];
                    break;
                case LK_ELEM_I32:
                    got = ((int32_t *)raw)[i];
                    break;
                case LK_ELEM_I64:
                    got = (double)((int64_t *)raw)[i];
                    break;
                case LK_ELEM_F32:
                    got = ((float *)raw)[i];
                    break;
                case LK_ELEM_F64:
                    got = ((double *)raw)[i];
                    break;
                }
                cr_expect(got == v[i], "type %zu, chunked %d: %g is read as %g", t, chunked, v[i], got);
            }
            lk_dataset_close(&d);
        }
    }
    for (int chunked = 0; chunked < 2; chunked++) { /* booleans as h5py writes them */
        const hid_t file = new_file("t.h5");
        const hid_t dset = create_array(file, "x", truth, 1, (hsize_t[]){3}, chunked ? (hsize_t[]){2} : NULL, 0);
        const int8_t b[3] = {1, 0, 1};
        int8_t got[3] = {9, 9, 9};
        cr_assert(H5Dwrite(dset, truth, H5S_ALL, H5S_ALL, H5P_DEFAULT, b) >= 0);
        done(file);
        EXPECT_OK(open_two("t.h5", "x", NULL, &d));
        cr_expect(lk_dataset_field(d, 0)->type == LK_ELEM_I8);
        EXPECT_OK(lk_dataset_read(d, 0, 0, 3, got));
        cr_expect(memcmp(got, b, 3) == 0);
        lk_dataset_close(&d);
    }
}

/* Beyond 2^31 elements: 3e9 bytes of which a few rows were ever written. */
Test(dataset, sparse_field_beyond_31_bits)
{
    enum { ROWS = 3000000, ROW = 1000 };
    static uint8_t row[ROW], got[3 * ROW];
    const hid_t file = new_file("big.h5");
    const hid_t dset = create_array(file, "x", H5T_NATIVE_UINT8, 2, (hsize_t[]){ROWS, ROW}, (hsize_t[]){64, ROW}, 0);
    lk_dataset *d = NULL;

    for (int i = 0; i < ROW; i++)
        row[i] = (uint8_t)(i * 7);
    EXPECT_OK(lki_h5_write_box(dset, H5T_NATIVE_UINT8, 2, (hsize_t[]){ROWS - 2, 0}, (hsize_t[]){1, ROW}, row));
    EXPECT_OK(lki_h5_write_box(dset, H5T_NATIVE_UINT8, 2, (hsize_t[]){2200000, 0}, (hsize_t[]){1, ROW}, row));
    done(file);
    cr_expect(size_of(at("big.h5")) < 4 << 20);
    EXPECT_OK(open_two("big.h5", "x", NULL, &d));
    cr_expect(lk_dataset_samples(d) == ROWS);
    cr_expect(lk_dataset_field(d, 0)->chunk == 64);
    EXPECT_OK(lk_dataset_read(d, 0, ROWS - 3, 3, got));
    cr_expect(got[1] == 0 && got[2 * ROW + 1] == 0);
    cr_expect(memcmp(got + ROW, row, ROW) == 0);
    EXPECT_OK(lk_dataset_read(d, 0, 2200000, 1, got));
    cr_expect(memcmp(got, row, ROW) == 0);
    lk_dataset_close(&d);
}

/* The same in one piece, a hole of 3 GB in the file: read without the library. */
Test(dataset, plain_rows_beyond_31_bits)
{
    enum { ROWS = 3000000, ROW = 1000 };
    static uint8_t row[ROW], got[2 * ROW];
    const hid_t file = new_file("big.h5");
    lk_dataset *d = NULL;

    memset(row, 5, sizeof row);
    add_field(file, "x", LK_ELEM_U8, 2, (int64_t[]){ROWS, ROW}, NULL);
    EXPECT_OK(lk_h5_write_rows(file, "x", ROWS - 1, 1, row));
    done(file);
    EXPECT_OK(open_two("big.h5", "x", NULL, &d));
    EXPECT_OK(lk_dataset_read(d, 0, ROWS - 2, 2, got));
    cr_expect(got[0] == 0 && got[ROW] == 5 && got[2 * ROW - 1] == 5);
    lk_dataset_close(&d);
}

Test(dataset, names_and_folders)
{
    lk_dataset *d = NULL;
    char *patterns[] = {(char *)"b.h5", (char *)"a*.h5"};
    const char *fields[] = {"input", "label"};

    write_shard("a1.h5", 4, 3);
    write_shard("a2.h5", 7, 2);
    write_shard("b.h5", 0, 4);
    write_shard("odd[1].h5", 0, 4);
    EXPECT_OK(lk_dataset_open(&(lk_strings){patterns, 2}, dir, fields, 2, &d)); /* in the order of the patterns */
    check_rows(d, 0, 9);
    lk_dataset_close(&d);
    EXPECT_OK(open_shards(at("b.h5"), &d)); /* an absolute one stands alone */
    lk_dataset_close(&d);
    EXPECT_OK(open_shards("odd[1].h5", &d)); /* a name that looks like a pattern */
    lk_dataset_close(&d);

    /* and a folder that does */
    char folder[300];
    snprintf(folder, sizeof folder, "%s/[x]", dir);
    EXPECT_OK(lk_dir_create(folder));
    write_shard("[x]/a1.h5", 0, 3);
    patterns[0] = (char *)"a*.h5";
    EXPECT_OK(lk_dataset_open(&(lk_strings){patterns, 1}, folder, fields, 2, &d));
    cr_expect(lk_dataset_samples(d) == 3);
    lk_dataset_close(&d);

    /* fields in groups */
    const hid_t file = new_file("g.h5");
    add_field(file, "train/image", LK_ELEM_F32, 2, (int64_t[]){2, 2}, (float[]){1, 2, 3, 4});
    done(file);
    float got[2];
    EXPECT_OK(open_two("g.h5", "train/image", NULL, &d));
    EXPECT_OK(lk_dataset_read(d, 0, 1, 1, got));
    cr_expect(got[0] == 3 && got[1] == 4);
    int64_t min, max;
    EXPECT_FAIL(lk_dataset_range(d, 0, &min, &max, NULL, NULL), LK_E_ARG,
        "field \"train/image\" has type float32, not whole numbers");
    lk_dataset_close(&d);
}

Test(dataset, what_is_wrong_is_named)
{
    lk_dataset *d = NULL;
    hid_t file;
    const char *const none[] = {"input"};

    EXPECT_FAIL(lk_dataset_open(&(lk_strings){0}, dir, none, 1, &d), LK_E_ARG, "a dataset of 0 patterns and 1 fields");
    EXPECT_FAIL(open_shards("none.h5", &d), LK_E_NOT_FOUND, about("DIR/none.h5: open: No such file or directory"));
    EXPECT_FAIL(open_shards("train-*.h5", &d), LK_E_NOT_FOUND, about("DIR/train-*.h5: no file matches"));
    EXPECT_FAIL(open_shards("no/train-*.h5", &d), LK_E_NOT_FOUND, about("DIR/no/train-*.h5: no file matches"));
    write_text("text.h5", "hello", 5);
    EXPECT_FAIL(open_shards("text.h5", &d), LK_E_FORMAT, about("DIR/text.h5: not an HDF5 file"));
    EXPECT_FAIL(open_shards(dir, &d), LK_E_FORMAT, about("DIR: a folder, not an HDF5 file"));

    write_shard("a.h5", 0, 4);
    EXPECT_FAIL(open_two("a.h5", "image", "label", &d), LK_E_NOT_FOUND,
        about("DIR/a.h5: field \"image\" is not there (fields: input, label)"));
    EXPECT_FAIL(open_two("a.h5", "input/x", "label", &d), LK_E_NOT_FOUND,
        about("DIR/a.h5: field \"input/x\" is not there (fields: input, label)"));
    EXPECT_FAIL(open_two("a.h5", "", "label", &d), LK_E_NOT_FOUND,
        about("DIR/a.h5: field \"\" is not there (fields: input, label)"));
    done(new_file("nothing.h5"));
    EXPECT_FAIL(open_shards("nothing.h5", &d), LK_E_NOT_FOUND,
        about("DIR/nothing.h5: field \"input\" is not there (fields: none)"));
    file = new_file("many.h5");
    for (int i = 0; i < 30; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%02d", i);
        add_field(file, name, LK_ELEM_U8, 1, (int64_t[]){1}, "x");
    }
    done(file);
    EXPECT_FAIL(open_shards("many.h5", &d), LK_E_NOT_FOUND,
        about("DIR/many.h5: field \"input\" is not there (fields: f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, "
              "f10, f11, f12, f13, f14, f15, "
              "f16, f17, f18, f19, ...)"));

    write_shard("empty.h5", 0, 0);
    EXPECT_FAIL(open_shards("empty.h5", &d), LK_E_DATA, about("no samples in DIR/empty.h5"));
    write_shard("empty2.h5", 0, 0);
    EXPECT_FAIL(
        open_shards("empty*.h5", &d), LK_E_DATA, about("no samples in DIR/empty.h5 to DIR/empty2.h5 (2 files)"));
    cr_expect(d == NULL);
}

static void write_pair(const char *name, lk_elem type, int ndim, const int64_t *dim, int64_t labels, int label_rank)
{
    const hid_t file = new_file(name);

    add_field(file, "input", type, ndim, dim, NULL);
    add_field(file, "label", LK_ELEM_I64, label_rank, (int64_t[]){labels, 1}, NULL);
    done(file);
}

Test(dataset, fields_that_do_not_fit)
{
    lk_dataset *d = NULL;
    hid_t file;

    write_pair("a.h5", LK_ELEM_U8, 4, (int64_t[]){9, 1, 28, 28}, 9, 1);
    write_pair("b.h5", LK_ELEM_U8, 4, (int64_t[]){9, 1, 28, 28}, 9, 2);
    EXPECT_FAIL(open_shards("[ab].h5", &d), LK_E_SHAPE,
        about("DIR/b.h5: field \"label\" has rank 2, in DIR/a.h5 it has rank 1"));
    write_pair("b.h5", LK_ELEM_U8, 4, (int64_t[]){7, 1, 8, 8}, 7, 1);
    EXPECT_FAIL(open_shards("[ab].h5", &d), LK_E_SHAPE,
        about("DIR/b.h5: field \"input\" has shape [N,1,8,8], in DIR/a.h5 it has [N,1,28,28]"));
    write_pair("b.h5", LK_ELEM_F32, 4, (int64_t[]){7, 1, 28, 28}, 7, 1);
    EXPECT_FAIL(open_shards("[ab].h5", &d), LK_E_SHAPE,
        about("DIR/b.h5: field \"input\" has type float32, in DIR/a.h5 it has uint8"));
    write_pair("b.h5", LK_ELEM_U8, 4, (int64_t[]){9, 1, 28, 28}, 10, 1);
    EXPECT_FAIL(
        open_shards("b.h5", &d), LK_E_SHAPE, about("DIR/b.h5: field \"label\" has 10 samples, field \"input\" has 9"));
    write_pair("b.h5", LK_ELEM_U8, 3, (int64_t[]){9, 0, 28}, 9, 1);
    EXPECT_FAIL(open_shards("b.h5", &d), LK_E_SHAPE,
        about("DIR/b.h5: field \"input\" has shape [9,0,28]: its samples are empty"));

    file = new_file("c.h5");
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    create_array(file, "text", text, 1, (hsize_t[]){3}, NULL, 0);
    const hid_t pair = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(pair, "x", 0, H5T_NATIVE_INT);
    create_array(file, "pair", pair, 1, (hsize_t[]){3}, NULL, 0);
    create_array(file, "single", H5T_NATIVE_INT, 0, NULL, NULL, 0);
    create_array(file, "deep", H5T_NATIVE_INT, 8, (hsize_t[]){1, 1, 1, 1, 1, 1, 1, 1}, NULL, 0);
    add_field(file, "group/x", LK_ELEM_U8, 1, (int64_t[]){1}, "x");
    const hid_t nothing = H5Screate(H5S_NULL);
    H5Dcreate2(file, "null", H5T_NATIVE_INT, nothing, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/gone", file, "dangling", H5P_DEFAULT, H5P_DEFAULT);
    done(file);
    EXPECT_FAIL(open_two("c.h5", "text", NULL, &d), LK_E_FORMAT,
        about("DIR/c.h5: field \"text\" has type string, not numbers"));
    EXPECT_FAIL(open_two("c.h5", "pair", NULL, &d), LK_E_FORMAT,
        about("DIR/c.h5: field \"pair\" has type compound, not numbers"));
    EXPECT_FAIL(open_two("c.h5", "single", NULL, &d), LK_E_SHAPE,
        about("DIR/c.h5: field \"single\" is a single value: its first dimension must count samples"));
    EXPECT_FAIL(open_two("c.h5", "deep", NULL, &d), LK_E_SHAPE,
        about("DIR/c.h5: field \"deep\" has rank 8, up to 7 are possible"));
    EXPECT_FAIL(open_two("c.h5", "group", NULL, &d), LK_E_FORMAT,
        about("DIR/c.h5: field \"group\": it is a group, not an array"));
    EXPECT_FAIL(open_two("c.h5", "null", NULL, &d), LK_E_SHAPE,
        about("DIR/c.h5: field \"null\" holds nothing at all (null dataspace)"));
    EXPECT_FAIL_WITH(open_two("c.h5", "dangling", NULL, &d), LK_E_NOT_FOUND,
        about("DIR/c.h5: field \"dangling\" is not there (fields: "));
    cr_expect(d == NULL);
}

Test(dataset, a_file_cut_before_or_while_it_is_read)
{
    enum { N = 1000 };
    lk_dataset *d = NULL;
    char *whole = NULL;
    size_t bytes = 0;
    static uint8_t got[3 * N];
    char text[400];

    write_shard("a.h5", 0, N);
    EXPECT_OK(lk_file_read(at("a.h5"), 0, &whole, &bytes));
    write_text("cut.h5", whole, bytes / 2);
    lk_free(whole);
    EXPECT_FAIL_WITH(
        open_shards("cut.h5", &d), LK_E_IO, about("DIR/cut.h5: HDF5: unable to open file: truncated file: eof = "));

    /* Cut within the rows of the input, after it was opened. */
    EXPECT_OK(open_shards("a.h5", &d));
    EXPECT_OK(lk_dataset_read(d, 0, 0, N, got));
    int64_t offset = -1;
    hid_t file = -1;
    EXPECT_OK(lk_h5_open(at("a.h5"), &file));
    const hid_t dset = H5Dopen2(file, "input", H5P_DEFAULT);
    offset = (int64_t)H5Dget_offset(dset);
    done(file);
    cr_assert(truncate(at("a.h5"), offset + 3 * 417 + 1) == 0);
    snprintf(text, sizeof text,
        "DIR/a.h5: field \"input\", sample 417: the file shrank from %zu to %ld bytes while it was in use", bytes,
        (long)offset + 3 * 417 + 1);
    EXPECT_FAIL(lk_dataset_read(d, 0, 0, N, got), LK_E_IO, about(text));
    EXPECT_OK(lk_dataset_read(d, 0, 0, 417, got));
    lk_dataset_close(&d);

    /* The same through the library, which itself would read zeros. */
    file = new_file("chunks.h5");
    create_array(file, "input", H5T_NATIVE_UINT8, 2, (hsize_t[]){N, 3}, (hsize_t[]){100, 3}, 0);
    static uint8_t rows[3 * N];
    memset(rows, 1, sizeof rows);
    EXPECT_OK(lk_h5_write_rows(file, "input", 0, N, rows));
    done(file);
    bytes = (size_t)size_of(at("chunks.h5"));
    EXPECT_OK(open_two("chunks.h5", "input", NULL, &d));
    EXPECT_OK(lk_dataset_read(d, 0, 0, 1, got));
    cr_assert(truncate(at("chunks.h5"), (off_t)bytes - 600) == 0);
    snprintf(text, sizeof text,
        "DIR/chunks.h5: field \"input\", sample 700: the file shrank from %zu to %zu bytes while it was in use", bytes,
        bytes - 600);
    EXPECT_FAIL(lk_dataset_read(d, 0, 700, 300, got), LK_E_IO, about(text));
    lk_dataset_close(&d);

    /* Cut, or replaced, while it was closed. */
    write_shard("a.h5", 0, N);
    bytes = (size_t)size_of(at("a.h5"));
    EXPECT_OK(open_shards("a.h5", &d));
    cr_assert(truncate(at("a.h5"), 100) == 0);
    snprintf(text, sizeof text, "DIR/a.h5: not the file any more that was opened at the start: %zu bytes then, 100 now",
        bytes);
    EXPECT_FAIL(lk_dataset_read(d, 0, 5, 2, got), LK_E_IO, about(text));
    cr_assert(unlink(at("a.h5")) == 0);
    EXPECT_FAIL(lk_dataset_read(d, 0, 5, 2, got), LK_E_NOT_FOUND, about("DIR/a.h5: open: No such file or directory"));
    lk_dataset_close(&d);
}

Test(dataset, a_damaged_chunk_is_named)
{
    enum { N = 1000 };
    static uint8_t rows[3 * N], got[3 * N];
    lk_dataset *d = NULL;
    hid_t file = new_file("z.h5");
    haddr_t offset = 0;

    for (int i = 0; i < 3 * N; i++)
        rows[i] = (uint8_t)(i * i >> 3);
    create_array(file, "input", H5T_NATIVE_UINT8, 2, (hsize_t[]){N, 3}, (hsize_t[]){100, 3}, 6);
    EXPECT_OK(lk_h5_write_rows(file, "input", 0, N, rows));
    done(file);
    EXPECT_OK(lk_h5_open(at("z.h5"), &file));
    hid_t dset = H5Dopen2(file, "input", H5P_DEFAULT);
    hsize_t size = 0;
    unsigned mask;
    hsize_t start[2];
    cr_assert(H5Dget_chunk_info(dset, H5Dget_space(dset), 4, start, &mask, &offset, &size) >= 0);
    done(file);
    FILE *f = fopen(at("z.h5"), "r+b");
    fseek(f, (long)offset + 10, SEEK_SET);
    fwrite("\xff\xff\xff\xff\xff\xff\xff\xff", 1, 8, f);
    fclose(f);
    EXPECT_OK(open_two("z.h5", "input", NULL, &d));
    EXPECT_OK(lk_dataset_read(d, 0, 0, 400, got));
    cr_expect(memcmp(got, rows, 1200) == 0);
    EXPECT_FAIL_WITH(lk_dataset_read(d, 0, 410, 1, got), LK_E_IO,
        about("DIR/z.h5: field \"input\", sample 410: HDF5: can't read data: "));
    EXPECT_OK(lk_dataset_read(d, 0, 500, 500, got)); /* the rest is still good */
    cr_expect(memcmp(got, rows + 1500, 1500) == 0);
    lk_dataset_close(&d);
}

/* Memory that runs out at any point of opening leaves nothing behind. */
Test(dataset, out_of_memory_at_every_point)
{
    lk_dataset *d = NULL;
    lk_status st = LK_E_NOMEM;
    int64_t n = 0;

    write_shard("a.h5", 0, 4);
    write_shard("b.h5", 4, 4);
    const int64_t before = lk_mem_bytes();
    while (st != LK_OK) {
        lk_mem_fail_at(++n);
        st = open_shards("*.h5", &d);
        lk_mem_fail_at(0);
        if (st != LK_OK) {
            cr_assert(st == LK_E_NOMEM);
            cr_assert(d == NULL);
            cr_assert(lk_mem_bytes() == before);
        }
        cr_assert(n < 1000);
    }
    cr_expect(n > 5);
    lk_dataset_close(&d);
    cr_expect(lk_mem_bytes() == before);
}
