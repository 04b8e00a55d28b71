#include "importing.h"

#include "data/import/import_int.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_cifar, .init = make_dir, .fini = clean_up);

enum { MOST = 700 };
static uint8_t records[MOST * (2 + LKI_CIFAR_PIXELS)];
static uint8_t image[MOST][LKI_CIFAR_PIXELS];
static int64_t label[MOST];

static int pixel(int64_t picture, int place)
{
    return (int)((picture * 7919 + place * 31 + place / 1024) % 251);
}

/* Pictures [first, first + n): of CIFAR-10 with label i % 10, of CIFAR-100 with fine label i % 100 and coarse label
 * i % 20. Returns the bytes. */
static size_t make_records(int64_t first, int n, bool hundred)
{
    uint8_t *at_byte = records;

    for (int64_t i = first; i < first + n; i++) {
        if (hundred)
            *at_byte++ = (uint8_t)(i % 20);
        *at_byte++ = (uint8_t)(i % (hundred ? 100 : 10));
        for (int k = 0; k < LKI_CIFAR_PIXELS; k++)
            *at_byte++ = (uint8_t)pixel(i, k);
    }
    return (size_t)(at_byte - records);
}

static void write_records(const char *name, int64_t first, int n, bool hundred)
{
    write_text(name, records, make_records(first, n, hundred));
}

/* A file has pictures [first, first + n), with the label modulo `classes`. */
static void expect_pictures(const char *name, int64_t first, int n, int classes)
{
    read_back(name, "image", LK_ELEM_U8, 4, (int64_t[]){n, 3, 32, 32}, image);
    read_back(name, "label", LK_ELEM_I64, 1, (int64_t[]){n}, label);
    for (int i = 0; i < n; i++) {
        cr_assert(label[i] == (first + i) % classes, "%s: %d has label %d", name, i, (int)label[i]);
        for (int k = 0; k < LKI_CIFAR_PIXELS; k++)
            cr_assert(image[i][k] == pixel(first + i, k), "%s: byte %d of picture %d", name, k, i);
    }
}

Test(import_cifar, several_files_of_cifar_10)
{
    const char *ten = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

    write_records("1.bin", 0, 3, false);
    write_records("2.bin", 3, 4, false);
    write_gzip("3.bin", records, make_records(7, 5, false));
    write_text("names", ten, strlen(ten));
    EXPECT_OK(run_import("cifar", "DIR/1.bin DIR/2.bin DIR/3.bin DIR/a.h5 --names DIR/names"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 12 samples, image uint8 [12,3,32,32], label int64 [12]\n"));
    expect_pictures("a.h5", 0, 12, 10);
    expect_attr("a.h5", "label", "classes", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck");
    expect_attr("a.h5", ".", "source", "1.bin 2.bin 3.bin");

    /* a range over files, in shards */
    EXPECT_OK(run_import("cifar", "DIR/1.bin DIR/2.bin --skip 2 DIR/3.bin DIR/b --rows 8 --shard-rows 3,rest"));
    EXPECT_TEXT(folder(), "1.bin 2.bin 3.bin a.h5 b-000.h5 b-001.h5 names");
    expect_pictures("b-000.h5", 2, 3, 10);
    expect_pictures("b-001.h5", 5, 5, 10);
    hid_t file = -1;
    int64_t first = 0;
    EXPECT_OK(lk_h5_open(at("b-001.h5"), &file));
    EXPECT_OK(lk_h5_get_i64(file, ".", "first_row", &first));
    cr_expect(first == 5 && !lk_h5_has_attr(file, "label", "classes"));
    EXPECT_OK(lk_h5_close(&file, "b-001.h5"));
    EXPECT_OK(run_import("cifar", "DIR/1.bin DIR/2.bin DIR/c.h5 --skip 6"));
    expect_pictures("c.h5", 6, 1, 10);
}

/* More than is read at a time. */
Test(import_cifar, fine_and_coarse_labels_of_cifar_100)
{
    write_records("train.bin", 0, MOST, true);
    EXPECT_OK(run_import("cifar", "DIR/train.bin DIR/a.h5 --labels fine"));
    expect_pictures("a.h5", 0, MOST, 100);
    EXPECT_OK(run_import("cifar", "DIR/train.bin DIR/b.h5 --labels coarse --skip 100 --rows 500"));
    expect_pictures("b.h5", 100, 500, 20);
}

Test(import_cifar, files_that_are_not_what_they_say)
{
    const size_t n = make_records(0, 3, false);

    write_text("a", records, n);
    expect_import_refused("cifar", "DIR/a DIR/a.h5 --labels fine", LK_E_FORMAT,
        "DIR/a: 9219 bytes are not whole records of CIFAR-100, 3074 bytes each, but of CIFAR-10, 3073 bytes each "
        "(--labels cifar10)");
    write_records("b", 0, 3, true);
    expect_import_refused("cifar", "DIR/a DIR/b DIR/a.h5", LK_E_FORMAT,
        "DIR/b: 9222 bytes are not whole records of CIFAR-10, 3073 bytes each, but of CIFAR-100, 3074 bytes each "
        "(--labels fine, or coarse)");
    const char *neither = "bytes are whole records neither of CIFAR-10, 3073 bytes each, nor of CIFAR-100, 3074 bytes "
                          "each; what is read is the binary version's .bin files, extracted";
    char message[512];
    snprintf(message, sizeof message, "DIR/c: 9218 %s", neither);
    write_text("c", records, n - 1);
    expect_import_refused("cifar", "DIR/a DIR/c DIR/a.h5", LK_E_FORMAT, message);
    /* as few as no record, and beside a label that cannot be */
    snprintf(message, sizeof message, "DIR/c: 7 %s", neither);
    write_text("c", "garbage", 7);
    expect_import_refused("cifar", "DIR/c DIR/a.h5", LK_E_FORMAT, message);
    snprintf(message, sizeof message, "DIR/c: 9220 %s", neither);
    make_records(0, 3, false);
    records[0] = 200;
    write_text("c", records, n + 1);
    expect_import_refused("cifar", "DIR/c DIR/a.h5", LK_E_FORMAT, message);
    write_text("c", "", 0);
    expect_import_refused("cifar", "DIR/a DIR/c DIR/a.h5", LK_E_FORMAT, "DIR/c: empty file");
    /* a packed file that was cut */
    char *packed = NULL;
    size_t bytes = 0;
    write_gzip("c", records, make_records(0, 3, false));
    EXPECT_OK(lk_file_read(at("c"), 0, &packed, &bytes));
    write_text("c", packed, bytes - 4);
    lk_free(packed);
    expect_import_refused("cifar", "DIR/c DIR/a.h5", LK_E_FORMAT, "DIR/c: truncated: its gzip stream has no end");
    expect_import_refused(
        "cifar", "DIR/a DIR/none DIR/a.h5", LK_E_NOT_FOUND, "DIR/none: open: No such file or directory");
    /* a glob for FILES without DEST: the last of them is no HDF5 */
    expect_import_refused(
        "cifar", "DIR/a DIR/a", LK_E_UNSUPPORTED, "DIR/a: it is there and is no HDF5 file, so it is not replaced");
    expect_import_refused("cifar", "DIR/a", LK_E_USAGE, "lockstep data import cifar: DEST is missing");
    expect_import_refused("cifar", "DIR/a DIR/a DIR/a.h5 --skip 5 --rows 2", LK_E_ARG,
        "2 pictures after 5 were asked for, there are 6 in all");
    expect_import_refused(
        "cifar", "DIR/a DIR/a.h5 --skip 3", LK_E_ARG, "1 pictures after 3 were asked for, there are 3 in all");
}

/* Also in records that are not asked for. */
Test(import_cifar, labels_beyond_the_classes)
{
    size_t n = make_records(0, MOST, false);

    records[600 * 3073] = 10;
    write_text("a", records, n);
    expect_import_refused("cifar", "DIR/a DIR/a.h5 --rows 5", LK_E_FORMAT,
        "DIR/a: record 600 (from 0), byte 1843800: label 10, CIFAR-10 has 0 to 9");
    n = make_records(0, 3, true);
    records[2 * 3074] = 20;
    write_text("a", records, n);
    expect_import_refused("cifar", "DIR/a DIR/a.h5 --labels fine", LK_E_FORMAT,
        "DIR/a: record 2 (from 0), byte 6148: coarse label 20, CIFAR-100 has 0 to 19");
    n = make_records(0, 3, true);
    records[3075] = 100;
    write_text("a", records, n);
    expect_import_refused("cifar", "DIR/a DIR/a.h5 --labels coarse", LK_E_FORMAT,
        "DIR/a: record 1 (from 0), byte 3075: fine label 100, CIFAR-100 has 0 to 99");
}

Test(import_cifar, names_that_do_not_fit)
{
    static const struct {
        const char *text, *options, *message;
    } bad[] = {
        {"", "", "DIR/n: 0 names, CIFAR-10 has 10 classes"},
        {"a\nb\nc\n", "", "DIR/n: 3 names, CIFAR-10 has 10 classes"},
        {"a\nb\nc\n", " --labels fine", "DIR/n: 3 names, CIFAR-100 (--labels fine) has 100 classes"},
        {"a\nb\nc\n", " --labels coarse", "DIR/n: 3 names, CIFAR-100 (--labels coarse) has 20 classes"},
        {"a\n\n\nb\n", "", "DIR/n:2: blank line in front of a name"},
    };
    char line[128];

    write_records("a", 0, 1, false);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("n", bad[i].text, strlen(bad[i].text));
        snprintf(line, sizeof line, "DIR/a DIR/a.h5 --names DIR/n%s", bad[i].options);
        expect_import_refused("cifar", line, LK_E_FORMAT, bad[i].message);
    }
    write_text("n", "a\nb\0c\n", 6);
    expect_import_refused(
        "cifar", "DIR/a DIR/a.h5 --names DIR/n", LK_E_FORMAT, "DIR/n:2: a zero byte, which no text has");
    expect_import_refused(
        "cifar", "DIR/a DIR/a.h5 --names DIR/m", LK_E_NOT_FOUND, "DIR/m: open: No such file or directory");
}

Test(import_cifar, out_of_memory_at_every_point)
{
    write_records("a", 0, 3, false);
    write_records("b", 3, 2, false);
    write_text("n", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    expect_out_of_memory_is_fine("cifar", "DIR/a DIR/b DIR/a.h5 --names DIR/n --shard-rows 1,rest");
}
