#include "importing.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_idx, .init = make_dir, .fini = clean_up);

static unsigned char bytes_of[4096];

/* An idx file in bytes_of; returns its length. */
static size_t make_idx(int type, int ndim, const uint32_t *dim, const void *data, size_t n)
{
    size_t used = 4;

    bytes_of[0] = bytes_of[1] = 0;
    bytes_of[2] = (unsigned char)type;
    bytes_of[3] = (unsigned char)ndim;
    for (int i = 0; i < ndim; i++)
        for (int shift = 24; shift >= 0; shift -= 8)
            bytes_of[used++] = (unsigned char)(dim[i] >> shift);
    memcpy(bytes_of + used, data, n);
    return used + n;
}

static uint8_t pixels[60];

static void write_images(const char *name, uint32_t n)
{
    for (int i = 0; i < 60; i++)
        pixels[i] = (uint8_t)(4 * i);
    write_text(name, bytes_of, make_idx(8, 3, (uint32_t[]){n, 4, 3}, pixels, 12 * n));
}

static void write_labels(const char *name, uint32_t n)
{
    write_text(name, bytes_of, make_idx(8, 1, (uint32_t[]){n}, "\3\1\4\1\5", n));
}

Test(import_idx, images_and_labels)
{
    uint8_t x[60], y[5];

    write_images("images", 5);
    write_labels("labels", 5);
    EXPECT_OK(run_import("idx", "DIR/images DIR/labels DIR/a.h5"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 5 samples, image uint8 [5,1,4,3], label uint8 [5]\n"));
    read_back("a.h5", "image", LK_ELEM_U8, 4, (int64_t[]){5, 1, 4, 3}, x);
    read_back("a.h5", "label", LK_ELEM_U8, 1, (int64_t[]){5}, y);
    cr_expect(memcmp(x, pixels, 60) == 0 && memcmp(y, "\3\1\4\1\5", 5) == 0);
    EXPECT_TEXT(folder(), "a.h5 images labels");

    /* packed, a range of it, in shards */
    const size_t n = make_idx(8, 3, (uint32_t[]){5, 4, 3}, pixels, 60);
    write_gzip("images.gz", bytes_of, n);
    EXPECT_OK(
        run_import("idx", "DIR/images.gz DIR/labels DIR/b --skip 1 --rows 3 --shard-rows 1,rest --input x --label y"));
    read_back("b-000.h5", "x", LK_ELEM_U8, 4, (int64_t[]){1, 1, 4, 3}, x);
    read_back("b-001.h5", "x", LK_ELEM_U8, 4, (int64_t[]){2, 1, 4, 3}, x + 12);
    read_back("b-001.h5", "y", LK_ELEM_U8, 1, (int64_t[]){2}, y);
    cr_expect(memcmp(x, pixels + 12, 36) == 0 && memcmp(y, "\4\1", 2) == 0);

    EXPECT_OK(run_import("idx", "DIR/images none DIR/c.h5"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/c.h5: 5 samples, image uint8 [5,1,4,3]\n"));
}

Test(import_idx, element_types_and_ranks)
{
    static const struct {
        int code;
        lk_elem type;
        unsigned char data[16];
    } types[] = {
        {0x09, LK_ELEM_I8, {1, 0xff}},
        {0x0B, LK_ELEM_I16, {0, 1, 0xff, 0xff}},
        {0x0C, LK_ELEM_I32, {0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}},
        {0x0D, LK_ELEM_F32, {0x3f, 0x80, 0, 0, 0xbf, 0x80, 0, 0}},
        {0x0E, LK_ELEM_F64, {0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0}},
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const size_t size = lk_elem_size(types[i].type);
        union {
            int8_t i8[2];
            int16_t i16[2];
            int32_t i32[2];
            float f32[2];
            double f64[2];
        } v;
        write_text("x", bytes_of, make_idx(types[i].code, 2, (uint32_t[]){1, 2}, types[i].data, 2 * size));
        EXPECT_OK(run_import("idx", "DIR/x none DIR/x.h5"));
        read_back("x.h5", "image", types[i].type, 2, (int64_t[]){1, 2}, &v);
        const double a = size == 1               ? v.i8[0]
                         : size == 2             ? v.i16[0]
                         : size == 8             ? v.f64[0]
                         : types[i].code == 0x0D ? v.f32[0]
                                                 : v.i32[0];
        const double b = size == 1               ? v.i8[1]
                         : size == 2             ? v.i16[1]
                         : size == 8             ? v.f64[1]
                         : types[i].code == 0x0D ? v.f32[1]
                                                 : v.i32[1];
        cr_expect(a == 1 && b == -1, "type 0x%02x: %g and %g", (unsigned)types[i].code, a, b);
    }
    write_text("x", bytes_of, make_idx(8, 4, (uint32_t[]){2, 3, 1, 1}, "abcdef", 6)); /* channels are there already */
    EXPECT_OK(run_import("idx", "DIR/x none DIR/x.h5"));
    read_back("x.h5", "image", LK_ELEM_U8, 4, (int64_t[]){2, 3, 1, 1}, bytes_of);
}

static void expect_refused(const char *line, lk_status code, const char *message)
{
    char before[1024];

    snprintf(before, sizeof before, "%s", folder());
    EXPECT_FAIL(run_import("idx", line), code, about(message));
    EXPECT_TEXT(folder(), before);
}

Test(import_idx, files_that_are_not_what_they_say)
{
    write_images("images", 5);
    write_labels("labels", 5);
    write_labels("labels4", 4);
    expect_refused("DIR/images DIR/labels4 DIR/a.h5", LK_E_FORMAT, "DIR/images has 5 images, DIR/labels4 has 4 labels");
    expect_refused("DIR/labels DIR/images DIR/a.h5", LK_E_FORMAT,
        "DIR/labels: 0x00000801 is idx of one value a sample (labels?), images have two dimensions or more");
    expect_refused("DIR/images DIR/images DIR/a.h5", LK_E_FORMAT,
        "DIR/images: 0x00000803 is not idx of labels: one whole number a sample (0x00000801)");
    write_text("x", "\0\0\x0d\1\0\0\0\5", 8);
    expect_refused("DIR/images DIR/x DIR/a.h5", LK_E_FORMAT,
        "DIR/x: 0x00000d01 is not idx of labels: one whole number a sample (0x00000801)");
    write_text("x", "\x89PNG....", 8);
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT,
        "DIR/x: not an idx file: it begins with 0x89504e47, images with 0x00000803, labels with 0x00000801");
    write_text("x", "\0\0\x0a\3....", 8);
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT,
        "DIR/x: not an idx file: it begins with 0x00000a03, images with 0x00000803, labels with 0x00000801");
    write_text("x", "\0\0\x08\x08....", 8);
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: idx of 8 dimensions, up to 7 are possible");
    write_text("x", "\0\0\x08", 3);
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: truncated: 3 bytes, an idx header has 8 or more");
    write_text("x", "", 0);
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: truncated: 0 bytes, an idx header has 8 or more");
    write_text("x", "\0\0\x08\3\0\0\0\5\0\0", 10);
    expect_refused(
        "DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: truncated: 10 bytes, an idx header of 3 dimensions has 16");
    write_text("x", bytes_of, make_idx(8, 3, (uint32_t[]){0, 4, 3}, "", 0));
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "no samples in DIR/x");
    write_text("x", bytes_of, make_idx(8, 3, (uint32_t[]){5, 0, 3}, "", 0));
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: dimension 2 is 0");
    const uint32_t huge = 0xffffffff;
    write_text("x", bytes_of, make_idx(8, 4, (uint32_t[]){2, huge, huge, huge}, "", 0));
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: more elements than 64 bits can count");
    write_text("x", bytes_of, make_idx(0x0E, 3, (uint32_t[]){huge, huge, 1}, "", 0));
    expect_refused("DIR/x none DIR/a.h5", LK_E_FORMAT, "DIR/x: more bytes than 64 bits can count");
    expect_refused("DIR/none DIR/labels DIR/a.h5", LK_E_NOT_FOUND, "DIR/none: open: No such file or directory");
    expect_refused("DIR/images DIR/labels DIR/a.h5 --rows 6", LK_E_ARG,
        "DIR/images: 6 samples after 0 were asked for, there are 5 in all");
    expect_refused("DIR/images DIR/labels DIR/a.h5 --skip 5", LK_E_ARG,
        "DIR/images: 1 samples after 5 were asked for, there are 5 in all");
    expect_refused("DIR/images DIR/labels DIR/images", LK_E_UNSUPPORTED,
        "DIR/images: it is there and is no HDF5 file, so it is not replaced");
}

Test(import_idx, too_few_and_too_many_bytes)
{
    /* A header that promises 60000 images of which 984 bytes are there, packed as MNIST is. */
    static uint8_t some[984];
    const size_t n = make_idx(8, 3, (uint32_t[]){60000, 28, 28}, some, sizeof some);
    write_gzip("train-images.gz", bytes_of, n);
    expect_refused("DIR/train-images.gz none DIR/a.h5", LK_E_FORMAT,
        "DIR/train-images.gz: truncated: header promises 47040016 bytes, 1000 are there");
    /* The same of a file that was packed whole and then cut. */
    char *whole = NULL;
    size_t bytes = 0;
    write_images("images", 5);
    write_labels("labels", 5);
    write_gzip("images.gz", bytes_of, make_idx(8, 3, (uint32_t[]){5, 4, 3}, pixels, 60));
    EXPECT_OK(lk_file_read(at("images.gz"), 0, &whole, &bytes));
    write_text("images.gz", whole, bytes - 4);
    lk_free(whole);
    expect_refused(
        "DIR/images.gz DIR/labels DIR/a.h5", LK_E_FORMAT, "DIR/images.gz: truncated: its gzip stream has no end");
    /* Cut where no sample is asked for. */
    write_text("x", bytes_of, make_idx(8, 3, (uint32_t[]){5, 4, 3}, pixels, 59));
    expect_refused(
        "DIR/x DIR/labels DIR/a.h5 --rows 2", LK_E_FORMAT, "DIR/x: truncated: header promises 76 bytes, 75 are there");
    /* More than promised. */
    write_text("x", bytes_of, make_idx(8, 1, (uint32_t[]){5}, "\3\1\4\1\5\7", 6));
    expect_refused("DIR/images DIR/x DIR/a.h5", LK_E_FORMAT, "DIR/x: header promises 13 bytes, there are more");
}
