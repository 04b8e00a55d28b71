#include "importing.h"
#include "pictures.h"

#include "data/image.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_masks, .init = make_dir, .fini = clean_up);

static uint8_t pixels[64 * 64 * 4];

/* A picture of 4 x 2 pixels, all of them `v`. */
static void write_picture(const char *name, int channels, int v)
{
    memset(pixels, v, 4 * 2 * (size_t)channels);
    EXPECT_OK(lk_png_write(at(name), 4, 2, channels, pixels));
}

static void write_mask(const char *name, const uint8_t *ids)
{
    EXPECT_OK(lk_png_write(at(name), 4, 2, 1, ids));
}

/* Pictures "0", "0-b", "1.c" and "2" of 10, 11, 12, 13; in their masks the first pixel is 0, 1, 2, 3, the last 255.
 * Their endings and cases differ, so that names with and without them come in different orders. */
static void write_folders(void)
{
    const png_color palette[] = {{1, 2, 3}, {200, 100, 50}, {7, 7, 7}, {8, 8, 8}};

    EXPECT_OK(lk_dir_create(at("in")));
    EXPECT_OK(lk_dir_create(at("ids")));
    write_picture("in/0.png", 3, 10);
    write_picture("in/0-b.PNG", 1, 11);
    write_picture("in/1.c.png", 4, 12);
    write_picture("in/2.png", 3, 13);
    write_mask("ids/0.PNG", (uint8_t[]){0, 0, 0, 0, 1, 1, 1, 255});
    write_mask("ids/0-b.png", (uint8_t[]){1, 1, 0, 0, 1, 1, 1, 255});
    write_mask("ids/1.c.png", (uint8_t[]){2, 0, 2, 0, 1, 1, 1, 255});
    write_png_kind("ids/2.png", 4, 2, 2, PNG_COLOR_TYPE_PALETTE, 0, palette, 4, NULL, (uint8_t[]){0xe4, 0x57}, 1);
    write_text("in/notes.txt", "no picture", 10);
    write_text("ids/.0.png", "hidden", 6);
    write_text("ids/notes.jpg", "no mask", 7);
}

static const uint8_t want[4][8] = {
    {0, 0, 0, 0, 1, 1, 1, 255}, {1, 1, 0, 0, 1, 1, 1, 255}, {2, 0, 2, 0, 1, 1, 1, 255}, {3, 2, 1, 0, 1, 1, 1, 3}};

Test(import_masks, pairs)
{
    uint8_t image[4][3][2][4], mask[4][8], again[4][8];
    bool seen[4] = {0};

    write_folders();
    EXPECT_OK(run_import("masks", "DIR/in DIR/ids DIR/a.h5 --split 0.8 --rest DIR/b.h5 --classes 4 --ignore 255"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 3 samples, image uint8 [3,3,2,4], mask uint8 [3,2,4]\n"
                                            "DIR/b.h5: 1 samples, image uint8 [1,3,2,4], mask uint8 [1,2,4]\n"
                                            "classes 0 to 3, 255\n"));
    expect_attr("a.h5", ".", "source", "in");
    read_back("a.h5", "image", LK_ELEM_U8, 4, (int64_t[]){3, 3, 2, 4}, image);
    read_back("b.h5", "image", LK_ELEM_U8, 4, (int64_t[]){1, 3, 2, 4}, image[3]);
    read_back("a.h5", "mask", LK_ELEM_U8, 3, (int64_t[]){3, 2, 4}, mask);
    read_back("b.h5", "mask", LK_ELEM_U8, 3, (int64_t[]){1, 2, 4}, mask[3]);
    for (int i = 0; i < 4; i++) {
        const int k = image[i][0][0][0] - 10;
        cr_assert(k >= 0 && k < 4 && !seen[k], "%d: %d", i, k);
        seen[k] = true;
        cr_expect(image[i][2][1][3] == 10 + k && memcmp(mask[i], want[k], 8) == 0, "%d", k);
    }
    /* the same by the same seed, another order by another */
    EXPECT_OK(run_import("masks", "DIR/in DIR/ids DIR/c.h5"));
    read_back("c.h5", "mask", LK_ELEM_U8, 3, (int64_t[]){4, 2, 4}, again);
    cr_expect(memcmp(mask, again, sizeof mask) == 0);
    EXPECT_OK(run_import("masks", "DIR/in DIR/ids DIR/c.h5 --seed 2"));
    read_back("c.h5", "mask", LK_ELEM_U8, 3, (int64_t[]){4, 2, 4}, again);
    cr_expect(memcmp(mask, again, sizeof mask) != 0);
}

/* Masks keep their ids where pictures are mixed. */
Test(import_masks, size_gray_and_shards)
{
    uint8_t image[2][1][4][2], mask[2][4][2];

    EXPECT_OK(lk_dir_create(at("in")));
    EXPECT_OK(lk_dir_create(at("ids")));
    EXPECT_OK(lk_png_write(at("in/a.png"), 4, 2, 1, (uint8_t[]){0, 0, 200, 200, 0, 0, 200, 200}));
    EXPECT_OK(lk_png_write(at("in/b.png"), 2, 2, 1, (uint8_t[]){40, 60, 40, 60}));
    EXPECT_OK(lk_png_write(at("ids/a.png"), 4, 2, 1, (uint8_t[]){1, 2, 3, 4, 5, 6, 7, 255}));
    EXPECT_OK(lk_png_write(at("ids/b.png"), 2, 2, 1, (uint8_t[]){8, 9, 8, 8}));
    EXPECT_OK(run_import("masks", "DIR/in DIR/ids DIR/x --gray --size 4,2 --shard-rows 1,rest"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/x-000.h5: 1 samples, image uint8 [1,1,4,2], mask uint8 [1,4,2]\n"
                                            "DIR/x-001.h5: 1 samples, image uint8 [1,1,4,2], mask uint8 [1,4,2]\n"
                                            "classes 2, 4, 6, 8 to 9, 255\n"));
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "x-000.h5" : "x-001.h5";
        read_back(name, "image", LK_ELEM_U8, 4, (int64_t[]){1, 1, 4, 2}, image[i]);
        read_back(name, "mask", LK_ELEM_U8, 3, (int64_t[]){1, 4, 2}, mask[i]);
    }
    const int a = mask[0][0][0] == 2 ? 0 : 1;
    cr_expect(memcmp(mask[a], (uint8_t[]){2, 4, 2, 4, 6, 255, 6, 255}, 8) == 0);
    cr_expect(memcmp(mask[1 - a], (uint8_t[]){8, 9, 8, 9, 8, 8, 8, 8}, 8) == 0);
    cr_expect(image[a][0][0][0] == 29 && image[a][0][3][1] == 171, "%d %d", image[a][0][0][0],
        image[a][0][3][1]); /* of 3/4, 3/4 and 1/4 of three pixels one is another: 200 / 7 */
    cr_expect(image[1 - a][0][0][0] == 40 && image[1 - a][0][3][1] == 60);
}

/* Only what a list names is looked at. */
Test(import_masks, a_list)
{
    uint8_t mask[2][8];

    write_folders();
    write_picture("in/3.png", 3, 14); /* no mask */
    write_text("ids/4.png", "damaged, no picture", 19);
    write_text("list", "1.c\r\n0\n\n", 8);
    EXPECT_OK(run_import("masks", "DIR/in DIR/ids DIR/a.h5 --list DIR/list"));
    read_back("a.h5", "mask", LK_ELEM_U8, 3, (int64_t[]){2, 2, 4}, mask);
    const int a = mask[0][0] == 0 ? 0 : 1;
    cr_expect(memcmp(mask[a], want[0], 8) == 0 && memcmp(mask[1 - a], want[2], 8) == 0);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"0\n1.c\n5\n", "DIR/list:3: there is no file \"5\" in DIR/in"},
        {"0\n3\n", "DIR/list:2: there is no file \"3\" in DIR/ids"},
        {"0\n2\n0\n", "DIR/list:3: \"0\" for the second time"},
        {"\n", "DIR/list: no names in it"},
        {"", "DIR/list: no names in it"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("list", bad[i].text, strlen(bad[i].text));
        expect_import_refused("masks", "DIR/in DIR/ids DIR/b.h5 --list DIR/list", LK_E_FORMAT, bad[i].message);
    }
    expect_import_refused("masks", "DIR/in DIR/ids DIR/b.h5 --list DIR/none", LK_E_NOT_FOUND,
        "DIR/none: open: No such file or directory");
}

Test(import_masks, what_is_refused)
{
    char *data = NULL;
    size_t n = 0;
    const char *line = "DIR/in DIR/ids DIR/a.h5";

    expect_import_refused("masks", line, LK_E_NOT_FOUND, "DIR/in: open: No such file or directory");
    EXPECT_OK(lk_dir_create(at("in")));
    EXPECT_OK(lk_dir_create(at("ids")));
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/in: no *.jpg files in it");
    write_picture("in/0.png", 3, 1);
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/ids: no *.png files in it");

    write_folders();
    write_picture("in/0.jpg", 3, 1); /* whatever is in it */
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/in/0.jpg and DIR/in/0.png: two files of one name");
    cr_assert(unlink(at("in/0.jpg")) == 0);
    write_picture("in/1.png", 3, 1);
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/in/1.png: DIR/ids has no 1.png, its mask");
    cr_assert(unlink(at("in/1.png")) == 0);
    write_picture("in/3.png", 3, 1);
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/in/3.png: DIR/ids has no 3.png, its mask");
    cr_assert(unlink(at("in/3.png")) == 0);
    write_mask("ids/3.png", want[0]);
    expect_import_refused("masks", line, LK_E_FORMAT, "DIR/ids/3.png: DIR/in has no 3.jpg or .png, its picture");
    cr_assert(unlink(at("ids/3.png")) == 0);

    expect_import_refused("masks", "DIR/in DIR/ids DIR/a.h5 --classes 3 --ignore 255", LK_E_FORMAT,
        "DIR/ids/2.png: pixel in column 0 of row 0 (from 0): class 3; --classes 3 takes 0 to 2, --ignore 255 only "
        "that");
    cr_assert(unlink(at("ids/2.png")) == 0);
    cr_assert(unlink(at("in/2.png")) == 0);
    cr_assert(unlink(at("ids/0-b.png")) == 0);
    cr_assert(unlink(at("in/0-b.PNG")) == 0);
    cr_assert(unlink(at("ids/1.c.png")) == 0);
    cr_assert(unlink(at("in/1.c.png")) == 0);
    expect_import_refused("masks", "DIR/in DIR/ids DIR/a.h5 --classes 3", LK_E_FORMAT,
        "DIR/ids/0.PNG: pixel in column 3 of row 1 (from 0): class 255; --classes 3 takes 0 to 2");
    expect_import_refused("masks", "DIR/in DIR/ids DIR/a.h5 --ignore 255", LK_E_ARG,
        "--ignore: --classes is missing; without it any class is taken");

    EXPECT_OK(lk_png_write(at("ids/0.PNG"), 2, 4, 1, want[0]));
    expect_import_refused("masks", "DIR/in DIR/ids DIR/a.h5 --size 2,2", LK_E_FORMAT,
        "DIR/ids/0.PNG: 2 x 4 pixels, its picture DIR/in/0.png has 4 x 2");
    write_picture("ids/0.PNG", 3, 1);
    expect_import_refused("masks", line, LK_E_FORMAT,
        "DIR/ids/0.PNG: a PNG file of RGB, 8 bits a channel; ids are gray of up to 8 bits, or places in a palette");
    write_mask("ids/0.PNG", want[0]);
    EXPECT_OK(lk_png_write(at("in/1.png"), 2, 4, 1, want[0]));
    EXPECT_OK(lk_png_write(at("ids/1.png"), 2, 4, 1, want[0]));
    expect_import_refused(
        "masks", line, LK_E_FORMAT, "DIR/in/1.png: 2 x 4 pixels, DIR/in/0.png has 4 x 2; --size makes them alike");
    expect_import_refused(
        "masks", "DIR/in DIR/ids DIR/a.h5 --size 4", LK_E_ARG, "--size: two numbers, height and width, as in 32,32");

    /* one mask of many is cut */
    EXPECT_OK(lk_file_read(at("ids/1.png"), 0, &data, &n));
    write_text("ids/1.png", data, n / 2);
    lk_free(data);
    cr_expect(run_import("masks", "DIR/in DIR/ids DIR/a.h5 --size 4,4 --split 0.5 --rest DIR/b.h5") == LK_E_FORMAT);
    const char *begin = about("DIR/ids/1.png: truncated PNG file: ");
    cr_expect(strncmp(lk_err_last()->message, begin, strlen(begin)) == 0, "%s", lk_err_last()->message);
    EXPECT_TEXT(folder(), "ids in");
}

Test(import_masks, out_of_memory_at_every_point)
{
    write_folders();
    write_text("list", "0\n1.c\n2\n", 8);
    expect_out_of_memory_is_fine(
        "masks", "DIR/in DIR/ids DIR/a.h5 --gray --size 2,2 --split 0.5 --rest DIR/b.h5 --list DIR/list");
}
