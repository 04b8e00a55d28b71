#include "importing.h"
#include "pictures.h"

#include "data/image.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_images, .init = make_dir, .fini = clean_up);

static uint8_t pixels[64 * 64 * 4];

/* A PNG file of one colour with `v` in its first channel. */
static void write_flat(const char *name, int width, int height, int channels, int v)
{
    memset(pixels, 100, sizeof pixels);
    for (int i = 0; i < width * height; i++)
        pixels[i * channels] = (uint8_t)v;
    EXPECT_OK(lk_png_write(at(name), width, height, channels, pixels));
}

/* Three of class "ant" (0, 1, 2), two of "bee" (10, 11), one of "cat" (20); things that are no samples. */
static void write_folders(void)
{
    EXPECT_OK(lk_dir_create(at("in/bee")));
    EXPECT_OK(lk_dir_create(at("in/ant")));
    EXPECT_OK(lk_dir_create(at("in/cat")));
    EXPECT_OK(lk_dir_create(at("in/none")));
    EXPECT_OK(lk_dir_create(at("in/.hidden")));
    write_flat("in/ant/0.png", 4, 2, 3, 0);
    write_flat("in/ant/1.PNG", 4, 2, 3, 1);
    write_flat("in/ant/2.png", 4, 2, 4, 2);
    write_flat("in/bee/0.png", 4, 2, 3, 10);
    write_flat("in/bee/1.png", 4, 2, 3, 11);
    write_flat("in/cat/0.png", 4, 2, 1, 20);
    write_flat("in/.hidden/0.png", 9, 9, 3, 0);
    write_flat("in/ant/.0.png", 9, 9, 3, 0);
    write_text("in/none/readme.txt", "no picture", 10);
    write_text("in/readme.txt", "no folder", 9);
}

Test(import_images, folders_are_classes)
{
    uint8_t image[6][3][2][4];
    int64_t label[6];
    bool seen[32] = {0};

    write_folders();
    EXPECT_OK(run_import("images", "DIR/in DIR/a.h5 --split 0.7 --rest DIR/b.h5"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 4 samples, image uint8 [4,3,2,4], label int64 [4]\n"
                                    "DIR/b.h5: 2 samples, image uint8 [2,3,2,4], label int64 [2]\n3 classes\n"));
    expect_attr("b.h5", "label", "classes", "ant\nbee\ncat");
    read_back("a.h5", "image", LK_ELEM_U8, 4, (int64_t[]){4, 3, 2, 4}, image);
    read_back("b.h5", "image", LK_ELEM_U8, 4, (int64_t[]){2, 3, 2, 4}, image[4]);
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){4}, label);
    read_back("b.h5", "label", LK_ELEM_I64, 1, (int64_t[]){2}, label + 4);
    for (int i = 0; i < 6; i++) {
        const int v = image[i][0][0][0];
        cr_assert(v < 32 && !seen[v] && label[i] == v / 10, "%d: %d, class %d", i, v, (int)label[i]);
        seen[v] = true;
        cr_expect(image[i][0][1][3] == v && image[i][1][0][0] == (v == 20 ? 20 : 100) &&
                  image[i][2][1][3] == (v == 20 ? 20 : 100));
    }
    cr_expect(seen[0] && seen[1] && seen[2] && seen[10] && seen[11] && seen[20]);

    /* another order by another seed, the same by the same */
    int64_t again[6];
    EXPECT_OK(run_import("images", "DIR/in DIR/c.h5"));
    read_back("c.h5", "label", LK_ELEM_I64, 1, (int64_t[]){6}, again);
    cr_expect(memcmp(label, again, sizeof label) == 0);
}

Test(import_images, gray_and_size)
{
    uint8_t image[6][2][2];

    write_folders();
    write_flat("in/cat/0.png", 40, 60, 1, 20); /* another size */
    EXPECT_OK(run_import("images", "DIR/in DIR/a.h5 --gray --size 2,2 --shard-rows 5,rest"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a-000.h5: 5 samples, image uint8 [5,1,2,2], label int64 [5]\n"
                                    "DIR/a-001.h5: 1 samples, image uint8 [1,1,2,2], label int64 [1]\n3 classes\n"));
    read_back("a-000.h5", "image", LK_ELEM_U8, 4, (int64_t[]){5, 1, 2, 2}, image);
    read_back("a-001.h5", "image", LK_ELEM_U8, 4, (int64_t[]){1, 1, 2, 2}, image[5]);
    for (int i = 0; i < 6; i++) {
        const int v = image[i][0][0];
        cr_expect(v == image[i][1][1] && (v == 70 || v == 71 || v == 73 || v == 20), "%d", v); /* 0.299 v + 70.1 */
    }
    EXPECT_OK(lk_dir_remove(at("in/ant")));
    EXPECT_OK(lk_dir_remove(at("in/bee")));
    for (int i = 0; i < 64; i++)
        pixels[i] = (uint8_t)(3 * i);
    write_jpeg("in/cat/0.jpeg", 8, 8, 1, pixels, 95, false);
    EXPECT_OK(run_import("images", "DIR/in DIR/b.h5 --size 3,5"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/b.h5: 2 samples, image uint8 [2,3,3,5], label int64 [2]\n1 classes\n"));
}

Test(import_images, what_is_refused)
{
    char *data = NULL;
    size_t n = 0;

    expect_import_refused("images", "DIR/none DIR/a.h5", LK_E_NOT_FOUND, "DIR/none: open: No such file or directory");
    write_text("file", "x", 1);
    expect_import_refused("images", "DIR/file DIR/a.h5", LK_E_FORMAT, "DIR/file: not a folder");
    expect_import_refused(
        "images", "DIR DIR/a.h5", LK_E_FORMAT, "DIR: no folders with *.jpg files in it: a folder a class is expected");
    write_folders();
    write_flat("in/cat/0.png", 5, 2, 3, 0);
    expect_import_refused("images", "DIR/in DIR/a.h5", LK_E_FORMAT,
        "DIR/in/cat/0.png: 5 x 2 pixels, DIR/in/ant/0.png has 4 x 2; --size makes them alike");
    expect_import_refused(
        "images", "DIR/in DIR/a.h5 --size 4", LK_E_ARG, "--size: two numbers, height and width, as in 32,32");
    expect_import_refused("images", "DIR/in DIR/a.h5 --size 4,4 --split 0.9", LK_E_ARG,
        "--split: --rest is missing, the file for the other part");
    /* one picture of many is damaged */
    write_jpeg("in/bee/2.jpg", 4, 2, 3, pixels, 90, false);
    EXPECT_OK(lk_file_read(at("in/bee/2.jpg"), 0, &data, &n));
    write_text("in/bee/2.jpg", data, n / 2);
    lk_free(data);
    const char *line = "DIR/in DIR/a.h5 --size 4,4 --split 0.5 --rest DIR/b.h5";
    cr_expect(run_import("images", line) == LK_E_FORMAT);
    const char *begin = about("DIR/in/bee/2.jpg: damaged or truncated JPEG file: ");
    cr_expect(strncmp(lk_err_last()->message, begin, strlen(begin)) == 0, "%s", lk_err_last()->message);
    EXPECT_TEXT(folder(), "file in");
}

Test(import_images, out_of_memory_at_every_point)
{
    write_folders();
    expect_out_of_memory_is_fine("images", "DIR/in DIR/a.h5 --gray --size 2,2 --split 0.5 --rest DIR/b.h5");
}
