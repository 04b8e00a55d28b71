#include "files.h"

#include "data/inspect.h"

#include <jansson.h>
#include <math.h>

TestSuite(inspect, .init = make_dir, .fini = remove_dir);

Test(inspect, fields_attributes_and_classes)
{
    hid_t file = -1;
    lk_buf out = {0};

    EXPECT_OK(lk_h5_create(at("a.h5"), &file));
    add_field(file, "image", LK_ELEM_U8, 3, (int64_t[]){4, 2, 2}, "\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17");
    add_field(file, "label", LK_ELEM_I64, 1, (int64_t[]){4}, (int64_t[]){3, -1, 3, 3});
    add_field(file, "value", LK_ELEM_F32, 1, (int64_t[]){4}, (float[]){0.5f, NAN, -1.5f, INFINITY});
    EXPECT_OK(lk_h5_set_text(file, ".", "source", "nowhere"));
    EXPECT_OK(lk_h5_set_i64(file, ".", "rows", 4));
    EXPECT_OK(lk_h5_close(&file, "a.h5"));
    EXPECT_OK(lk_data_inspect(at("a.h5"), false, &out));
    char *size = strstr(out.text, ": ");
    EXPECT_HAS(size, "KiB, 3 fields\n"
                     "  image: uint8 [4,2,2], contiguous, 16 B, min 0, max 15, mean 7.5\n"
                     "  label: int64 [4], contiguous, 32 B, min -1, max 3, mean 2\n"
                     "    -1: 1, 3: 3\n"
                     "  value: float32 [4], contiguous, 16 B, min -1.5, max 0.5, mean -0.5, 2 not finite\n"
                     "  rows = 4\n"
                     "  source = \"nowhere\"\n");
    lk_buf_clear(&out);
    EXPECT_OK(lk_data_inspect(at("a.h5"), true, &out));
    json_t *o = json_loads(out.text, 0, NULL);
    cr_assert(o != NULL && strchr(out.text, '\n') == out.text + out.len - 1, "one line of JSON");
    cr_expect(json_integer_value(json_object_get(o, "bytes")) == size_of(at("a.h5")));
    cr_expect(strcmp(json_string_value(json_object_get(json_object_get(o, "attributes"), "source")), "nowhere") == 0);
    json_t *fields = json_object_get(o, "fields");
    cr_assert(json_array_size(fields) == 3);
    json_t *image = json_array_get(fields, 0), *label = json_array_get(fields, 1), *value = json_array_get(fields, 2);
    cr_expect(json_array_size(json_object_get(image, "shape")) == 3);
    cr_expect(json_number_value(json_object_get(image, "mean")) == 7.5);
    cr_expect(json_object_get(image, "classes") == NULL);
    cr_expect(json_integer_value(json_object_get(json_object_get(label, "classes"), "3")) == 3);
    cr_expect(json_integer_value(json_object_get(value, "not_finite")) == 2);
    json_decref(o);
    lk_buf_fini(&out);
}

Test(inspect, layouts_types_and_sizes)
{
    enum { ROWS = 5000, ROW = 300 };
    static uint8_t bytes[ROWS * ROW];
    hid_t file = -1;
    lk_buf out = {0};
    double sum = 0;

    for (int i = 0; i < ROWS * ROW; i++)
        sum += bytes[i] = (uint8_t)(i / 999);
    EXPECT_OK(lk_h5_create(at("b.h5"), &file));
    const hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, (hsize_t[]){ROWS, ROW}, NULL);
    H5Pset_chunk(dcpl, 2, (hsize_t[]){64, ROW});
    H5Pset_shuffle(dcpl);
    H5Pset_deflate(dcpl, 6);
    H5Dclose(H5Dcreate2(file, "packed", H5T_STD_I16BE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    const hid_t dset = H5Dopen2(file, "packed", H5P_DEFAULT);
    cr_assert(H5Dwrite(dset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0);
    const hid_t text = H5Tcopy(H5T_C_S1), one = H5Screate_simple(1, (hsize_t[]){2}, NULL),
                scalar = H5Screate(H5S_SCALAR);
    H5Tset_size(text, H5T_VARIABLE);
    H5Dclose(H5Dcreate2(file, "names", text, one, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Dclose(H5Dcreate2(file, "group/single", H5T_NATIVE_DOUBLE, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    const hid_t lcpl = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(lcpl, 1);
    H5Dclose(H5Dcreate2(file, "group/single", H5T_NATIVE_DOUBLE, scalar, lcpl, H5P_DEFAULT, H5P_DEFAULT));
    add_field(file, "many", LK_ELEM_I32, 1, (int64_t[]){101}, NULL);
    int32_t many[101];
    for (int i = 0; i < 101; i++)
        many[i] = i;
    EXPECT_OK(lk_h5_write_rows(file, "many", 0, 101, many));
    const hid_t truth = H5Tenum_create(H5T_NATIVE_INT8);
    H5Tenum_insert(truth, "FALSE", &(int8_t){0});
    H5Tenum_insert(truth, "TRUE", &(int8_t){1});
    const hid_t mask = H5Dcreate2(file, "mask", truth, one, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert(H5Dwrite(mask, truth, H5S_ALL, H5S_ALL, H5P_DEFAULT, "\1\1") >= 0);
    EXPECT_OK(lk_h5_close(&file, "b.h5"));

    EXPECT_OK(lk_data_inspect(at("b.h5"), false, &out));
    char line[200];
    snprintf(line, sizeof line, "min 0, max 255, mean %.6g\n", sum / (ROWS * ROW));
    EXPECT_HAS(out.text, line);
    EXPECT_HAS(out.text, "  packed: int16 [5000,300], chunked [64,300] shuffle gzip(6), 2.9 MiB (");
    EXPECT_HAS(out.text, "  names: string [2], contiguous, ");
    EXPECT_HAS(out.text, "  group/single: float64 [], contiguous, 8 B (0 B stored), min 0, max 0, mean 0\n");
    EXPECT_HAS(out.text,
        "  many: int32 [101], contiguous, 404 B, min 0, max 100, mean 50\n  mask"); /* too many to be counted */
    EXPECT_HAS(out.text, "  mask: int8 [2], contiguous, 2 B, min 1, max 1, mean 1\n    1: 2\n");
    lk_buf_fini(&out);
}

/* Rows larger than what is read at a time, several dimensions cut. */
Test(inspect, boxes_cover_every_value_once)
{
    static const int64_t shapes[][4] = {
        {2, 3, 70000, 2}, {1, 1, 1, 400000}, {300000, 1, 2, 1}, {7, 700, 10, 11}, {3, 131072, 1, 1}, {3, 131073, 1, 1}};
    lk_buf out = {0};

    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        const int64_t n = shapes[k][0] * shapes[k][1] * shapes[k][2] * shapes[k][3];
        int32_t *v = malloc((size_t)n * sizeof *v);
        hid_t file = -1;
        char line[100];
        for (int64_t i = 0; i < n; i++)
            v[i] = (int32_t)i;
        EXPECT_OK(lk_h5_create(at("c.h5"), &file));
        add_field(file, "x", LK_ELEM_I32, 4, shapes[k], v);
        EXPECT_OK(lk_h5_close(&file, "c.h5"));
        free(v);
        lk_buf_clear(&out);
        EXPECT_OK(lk_data_inspect(at("c.h5"), false, &out));
        snprintf(line, sizeof line, "min 0, max %ld, mean %.6g\n", (long)n - 1, (double)(n - 1) / 2);
        EXPECT_HAS(out.text, line);
    }
    lk_buf_fini(&out);
}

Test(inspect, refusals_and_verification)
{
    lk_buf out = {0};
    hid_t file = -1;

    EXPECT_FAIL(lk_data_inspect(at("none.h5"), false, &out), LK_E_NOT_FOUND,
        about("DIR/none.h5: open: No such file or directory"));
    write_text("text.h5", "hello", 5);
    EXPECT_FAIL(lk_data_inspect(at("text.h5"), true, &out), LK_E_FORMAT, about("DIR/text.h5: not an HDF5 file"));
    EXPECT_FAIL(lk_data_verify(at("text.h5"), &out), LK_E_FORMAT, about("DIR/text.h5: not an HDF5 file"));
    EXPECT_OK(lk_h5_create(at("empty.h5"), &file));
    EXPECT_OK(lk_h5_close(&file, "empty.h5"));
    EXPECT_FAIL(lk_data_verify(at("empty.h5"), &out), LK_E_NOT_FOUND, about("DIR/empty.h5: no fields"));
    EXPECT_TEXT(lk_buf_text(&out), "");
    EXPECT_OK(lk_data_inspect(at("empty.h5"), false, &out));
    EXPECT_HAS(lk_buf_text(&out), ", 0 fields\n");
    lk_buf_clear(&out);

    write_shard("a.h5", 0, 100);
    EXPECT_OK(lk_data_verify(at("a.h5"), &out));
    EXPECT_TEXT(lk_buf_text(&out), about("DIR/a.h5: 100 samples in 2 fields, all readable\n"));
    lk_buf_clear(&out);
    EXPECT_OK(lk_h5_create(at("b.h5"), &file));
    add_field(file, "a", LK_ELEM_U8, 1, (int64_t[]){3}, "abc");
    add_field(file, "b", LK_ELEM_U8, 1, (int64_t[]){2}, "ab");
    EXPECT_OK(lk_h5_close(&file, "b.h5"));
    EXPECT_FAIL(
        lk_data_verify(at("b.h5"), &out), LK_E_SHAPE, about("DIR/b.h5: field \"b\" has 2 samples, field \"a\" has 3"));

    /* A chunk that does not unpack. */
    static uint8_t rows[4000];
    haddr_t offset = 0;
    hsize_t size = 0, start[1];
    unsigned mask;
    for (int i = 0; i < 4000; i++)
        rows[i] = (uint8_t)(i * i >> 4);
    EXPECT_OK(lk_h5_create(at("z.h5"), &file));
    const hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, (hsize_t[]){4000}, NULL);
    H5Pset_chunk(dcpl, 1, (hsize_t[]){1000});
    H5Pset_deflate(dcpl, 6);
    const hid_t dset = H5Dcreate2(file, "x", H5T_NATIVE_UINT8, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    cr_assert(H5Dwrite(dset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    cr_assert(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    cr_assert(H5Dget_chunk_info(dset, space, 2, start, &mask, &offset, &size) >= 0);
    EXPECT_OK(lk_h5_close(&file, "z.h5"));
    FILE *f = fopen(at("z.h5"), "r+b");
    fseek(f, (long)offset + 5, SEEK_SET);
    fwrite("\xff\xff\xff\xff\xff\xff\xff\xff", 1, 8, f);
    fclose(f);
    EXPECT_FAIL_WITH(
        lk_data_verify(at("z.h5"), &out), LK_E_IO, about("DIR/z.h5: field \"x\": HDF5: can't read data: "));
    EXPECT_FAIL_WITH(
        lk_data_inspect(at("z.h5"), true, &out), LK_E_IO, about("DIR/z.h5: field \"x\": HDF5: can't read data: "));
    EXPECT_TEXT(lk_buf_text(&out), "");
    lk_buf_fini(&out);
}
