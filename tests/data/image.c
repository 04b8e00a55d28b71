#include "pictures.h"

#include "data/image.h"

TestSuite(image, .init = make_dir, .fini = remove_dir);

static uint8_t pixels[40 * 30 * 4];

/* Smooth, so that JPEG keeps it nearly. */
static void paint(int width, int height, int channels)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                pixels[(y * width + x) * channels + c] = (uint8_t)(20 + 3 * x + 2 * y + 30 * c);
}

static void expect_pixels(const char *name, int width, int height, int channels, const uint8_t *want, int off)
{
    lk_image m = {0};

    EXPECT_OK(lk_image_read(at(name), &m));
    cr_assert(m.width == width && m.height == height && m.channels == channels, "%s: %d x %d, %d channels", name,
        m.width, m.height, m.channels);
    for (int i = 0; i < width * height * channels; i++)
        cr_assert(abs(m.pixels[i] - want[i]) <= off, "%s: %d is %d, expected %d", name, i, m.pixels[i], want[i]);
    lk_image_fini(&m);
}

Test(image, png_files_come_back)
{
    for (int channels = 1; channels <= 4; channels++) {
        for (int i = 0; i < (int)sizeof pixels; i++)
            pixels[i] = (uint8_t)(i * i * 31 + i);
        EXPECT_OK(lk_png_write(at("a.png"), 40, 30, channels, pixels));
        expect_pixels("a.png", 40, 30, channels, pixels, 0);
        EXPECT_OK(lk_png_write(at("b.png"), 1, 1, channels, pixels));
        expect_pixels("b.png", 1, 1, channels, pixels, 0);
    }
    /* equal pixels, equal files; the old one is replaced */
    char *a = NULL, *b = NULL;
    size_t n = 0, m = 0;
    EXPECT_OK(lk_png_write(at("a.png"), 40, 30, 3, pixels));
    EXPECT_OK(lk_png_write(at("b.png"), 40, 30, 3, pixels));
    EXPECT_OK(lk_file_read(at("a.png"), 0, &a, &n));
    EXPECT_OK(lk_file_read(at("b.png"), 0, &b, &m));
    cr_expect(n == m && memcmp(a, b, n) == 0);
    lk_free(a);
    lk_free(b);

    EXPECT_FAIL(lk_png_write("a.png", 0, 1, 3, pixels), LK_E_ARG,
        "a.png: a PNG file of 0 x 1 pixels and 3 channels cannot be written");
    EXPECT_FAIL(lk_png_write("a.png", 1, 1, 5, pixels), LK_E_ARG,
        "a.png: a PNG file of 1 x 1 pixels and 5 channels cannot be written");
    EXPECT_FAIL(lk_png_write(at("no/a.png"), 1, 1, 1, pixels), LK_E_NOT_FOUND, lk_err_last()->message);
}

Test(image, png_of_every_kind)
{
    const png_color palette[] = {{1, 2, 3}, {200, 100, 50}};
    const png_byte alpha[] = {255, 7};

    /* 1 bit: 1010 0000, 0100 0000 */
    write_png_kind("a.png", 3, 2, 1, PNG_COLOR_TYPE_GRAY, 0, NULL, 0, NULL, (uint8_t[]){0xa0, 0x40}, 1);
    expect_pixels("a.png", 3, 2, 1, (uint8_t[]){255, 0, 255, 0, 255, 0}, 0);
    write_png_kind("a.png", 2, 1, 4, PNG_COLOR_TYPE_GRAY, 0, NULL, 0, NULL, (uint8_t[]){0x1f}, 1);
    expect_pixels("a.png", 2, 1, 1, (uint8_t[]){17, 255}, 0);
    write_png_kind("a.png", 2, 1, 8, PNG_COLOR_TYPE_PALETTE, 0, palette, 2, NULL, (uint8_t[]){1, 0}, 2);
    expect_pixels("a.png", 2, 1, 3, (uint8_t[]){200, 100, 50, 1, 2, 3}, 0);
    write_png_kind("a.png", 2, 1, 8, PNG_COLOR_TYPE_PALETTE, 0, palette, 2, alpha, (uint8_t[]){1, 0}, 2);
    expect_pixels("a.png", 2, 1, 4, (uint8_t[]){200, 100, 50, 7, 1, 2, 3, 255}, 0);
    /* 16 bits, rounded: 0x0180 / 257 = 1.49, 0x7fff / 257 = 127.5 */
    write_png_kind(
        "a.png", 3, 1, 16, PNG_COLOR_TYPE_GRAY, 0, NULL, 0, NULL, (uint8_t[]){0x01, 0x80, 0x80, 0x80, 0xff, 0xff}, 6);
    expect_pixels("a.png", 3, 1, 1, (uint8_t[]){1, 128, 255}, 0);
    paint(10, 9, 3);
    write_png_kind("a.png", 10, 9, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, NULL, 0, NULL, pixels, 30);
    expect_pixels("a.png", 10, 9, 3, pixels, 0);
}

Test(image, jpeg_files)
{
    /* quality 100: off by rounding of the colour space and of the cosines; 4:2:0 moves colours by a little more */
    paint(40, 30, 1);
    write_jpeg("a.jpg", 40, 30, 1, pixels, 100, false);
    expect_pixels("a.jpg", 40, 30, 1, pixels, 2);
    paint(39, 29, 3);
    write_jpeg("a.jpg", 39, 29, 3, pixels, 100, false);
    expect_pixels("a.jpg", 39, 29, 3, pixels, 6);
    write_jpeg("a.jpg", 39, 29, 3, pixels, 100, true);
    expect_pixels("a.jpg", 39, 29, 3, pixels, 6);
}

static void expect_refused(const char *name, const void *data, size_t n, lk_status code, const char *begin)
{
    lk_image m = {0};
    const lk_status st = lk_image_decode(name, data, n, 0, &m);

    cr_expect(st == code && strncmp(lk_err_last()->message, begin, strlen(begin)) == 0, "%s, \"%s\", expected \"%s\"",
        lk_status_name(st), st == LK_OK ? "" : lk_err_last()->message, begin);
    lk_image_fini(&m);
}

Test(image, files_that_are_cut_or_damaged)
{
    const int64_t held = lk_mem_bytes();
    char *data = NULL;
    size_t n = 0;

    for (int i = 0; i < 40 * 30 * 3; i++)
        pixels[i] = (uint8_t)(i * i * 31 + i);
    for (int kind = 0; kind < 2; kind++) {
        write_jpeg("a.jpg", 40, 30, 3, pixels, 80, kind == 1);
        EXPECT_OK(lk_file_read(at("a.jpg"), 0, &data, &n));
        for (size_t cut = 3; cut < n; cut += 7)
            expect_refused("a.jpg", data, cut, LK_E_FORMAT, "a.jpg: damaged or truncated JPEG file: ");
        lk_free(data);
    }
    EXPECT_OK(lk_png_write(at("a.png"), 40, 30, 3, pixels));
    EXPECT_OK(lk_file_read(at("a.png"), 0, &data, &n));
    for (size_t cut = 8; cut < n; cut += 7)
        expect_refused("a.png", data, cut, LK_E_FORMAT, "a.png: truncated PNG file: the file ends too soon");
    data[n / 2] ^= 1;
    expect_refused("a.png", data, n, LK_E_FORMAT, "a.png: damaged PNG file: ");
    lk_free(data);

    expect_refused("a", "", 0, LK_E_FORMAT, "a: empty file");
    expect_refused("a", "GIF89a..", 8, LK_E_FORMAT, "a: neither a JPEG nor a PNG file");
    expect_refused("a", "\xff\xd8", 2, LK_E_FORMAT, "a: neither a JPEG nor a PNG file");
    write_jpeg("a.jpg", 8, 8, 4, pixels, 80, false);
    EXPECT_OK(lk_file_read(at("a.jpg"), 0, &data, &n));
    expect_refused(
        "a.jpg", data, n, LK_E_FORMAT, "a.jpg: a JPEG file of 4 components; gray (1) and colour (3) are read");
    lk_free(data);

    lk_image m = {0};
    EXPECT_FAIL(lk_image_read(at("none.png"), &m), LK_E_NOT_FOUND, lk_err_last()->message);
    EXPECT_OK(lk_file_read(at("a.png"), 0, &data, &n));
    EXPECT_FAIL(lk_image_decode("a.png", data, n, 1199, &m), LK_E_UNSUPPORTED,
        "a.png: a picture of 40 x 30 pixels, at most 1199 are taken");
    lk_free(data);
    cr_expect(lk_mem_bytes() == held);
}

Test(image, out_of_memory_at_every_point)
{
    lk_status st = LK_E_NOMEM;
    char *data = NULL;
    size_t n = 0;
    lk_image m = {0};

    paint(8, 8, 3);
    write_jpeg("a.jpg", 8, 8, 3, pixels, 80, false);
    EXPECT_OK(lk_png_write(at("a.png"), 8, 8, 3, pixels));
    for (int kind = 0; kind < 2; kind++) {
        EXPECT_OK(lk_file_read(at(kind == 0 ? "a.jpg" : "a.png"), 0, &data, &n));
        const int64_t held = lk_mem_bytes();
        int at_most = 0;
        for (st = LK_E_NOMEM; st != LK_OK; at_most++) {
            lk_mem_fail_at(at_most + 1);
            st = lk_image_decode("a", data, n, 0, &m);
            lk_mem_fail_at(0);
            cr_assert((st == LK_OK || st == LK_E_NOMEM) && (st == LK_OK || lk_mem_bytes() == held) && at_most < 20);
        }
        cr_expect(at_most == 3, "%d allocations", at_most - 1);
        lk_image_fini(&m);
        cr_expect(lk_mem_bytes() == held);
        lk_free(data);
    }
    const int64_t held = lk_mem_bytes();
    int at_most = 0;
    for (st = LK_E_NOMEM; st != LK_OK; at_most++) {
        lk_mem_fail_at(at_most + 1);
        st = lk_png_write(at("b.png"), 8, 8, 3, pixels);
        lk_mem_fail_at(0);
        cr_assert((st == LK_OK || st == LK_E_NOMEM) && lk_mem_bytes() == held && at_most < 50);
    }
}

/* Ids come as they stand in the file: not spread, no colours, and no alpha. */
Test(image, ids)
{
    const png_color palette[] = {{1, 2, 3}, {200, 100, 50}, {7, 7, 7}};
    const png_byte alpha[] = {255, 7, 0};
    lk_image m = {0};
    char *data = NULL;
    size_t n = 0;

    static const struct {
        int bits, colour, interlace;
        uint8_t row[4];
        uint8_t want[3];
    } kinds[] = {
        {1, PNG_COLOR_TYPE_GRAY, 0, {0xa0}, {1, 0, 1}},
        {2, PNG_COLOR_TYPE_GRAY, 0, {0xd8}, {3, 1, 2}},
        {4, PNG_COLOR_TYPE_GRAY, 0, {0x1f, 0x70}, {1, 15, 7}},
        {8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_ADAM7, {0, 255, 21}, {0, 255, 21}},
        {1, PNG_COLOR_TYPE_PALETTE, 0, {0xa0}, {1, 0, 1}},
        {2, PNG_COLOR_TYPE_PALETTE, 0, {0x98}, {2, 1, 2}},
        {4, PNG_COLOR_TYPE_PALETTE, 0, {0x21, 0x00}, {2, 1, 0}},
        {8, PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_ADAM7, {2, 0, 1}, {2, 0, 1}},
        {8, PNG_COLOR_TYPE_PALETTE, 0, {2, 255, 1}, {2, 255, 1}}, /* beyond the palette's end */
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const bool has_palette = kinds[i].colour == PNG_COLOR_TYPE_PALETTE;
        write_png_kind("a.png", 3, 1, kinds[i].bits, kinds[i].colour, kinds[i].interlace, has_palette ? palette : NULL,
            kinds[i].bits == 1 ? 2 : 3, has_palette ? alpha : NULL, kinds[i].row, sizeof kinds[i].row);
        EXPECT_OK(lk_image_read_ids(at("a.png"), &m));
        cr_assert(m.width == 3 && m.height == 1 && m.channels == 1);
        cr_expect(
            memcmp(m.pixels, kinds[i].want, 3) == 0, "%d: %d %d %d", (int)i, m.pixels[0], m.pixels[1], m.pixels[2]);
        lk_image_fini(&m);
    }

    paint(10, 9, 4);
    static const char *const what[] = {NULL, "gray and alpha, 8", "RGB, 8", "RGB and alpha, 8"};
    for (int channels = 2; channels <= 4; channels++) {
        char message[256];
        snprintf(message, sizeof message,
            "%s: a PNG file of %s bits a channel; ids are gray of up to 8 bits, or places in a palette", at("a.png"),
            what[channels - 1]);
        EXPECT_OK(lk_png_write(at("a.png"), 10, 9, channels, pixels));
        EXPECT_FAIL(lk_image_read_ids(at("a.png"), &m), LK_E_FORMAT, message);
    }
    write_png_kind("a.png", 1, 1, 16, PNG_COLOR_TYPE_GRAY, 0, NULL, 0, NULL, (uint8_t[]){1, 2}, 2);
    EXPECT_OK(lk_file_read(at("a.png"), 0, &data, &n));
    EXPECT_FAIL(lk_image_decode_ids("a", data, n, 0, &m), LK_E_FORMAT,
        "a: a PNG file of gray, 16 bits a channel; ids are gray of up to 8 bits, or places in a palette");
    lk_free(data);
    write_jpeg("a.jpg", 8, 8, 1, pixels, 90, false);
    EXPECT_OK(lk_file_read(at("a.jpg"), 0, &data, &n));
    EXPECT_FAIL(lk_image_decode_ids("a", data, n, 0, &m), LK_E_FORMAT, "a: not a PNG file");
    EXPECT_FAIL(lk_image_decode_ids("a", data, 0, 0, &m), LK_E_FORMAT, "a: empty file");
    lk_free(data);
    EXPECT_OK(lk_png_write(at("a.png"), 10, 9, 1, pixels));
    EXPECT_OK(lk_file_read(at("a.png"), 0, &data, &n));
    EXPECT_FAIL(
        lk_image_decode_ids("a", data, n - 20, 0, &m), LK_E_FORMAT, "a: truncated PNG file: the file ends too soon");
    EXPECT_FAIL(lk_image_decode_ids("a", data, n, 89, &m), LK_E_UNSUPPORTED,
        "a: a picture of 10 x 9 pixels, at most 89 are taken");
    lk_free(data);
    cr_expect(m.pixels == NULL);
}

static void expect_nearest(int w, int h, int c, const uint8_t *from, int w2, int h2, const uint8_t *want)
{
    lk_image m = {.width = w, .height = h, .channels = c, .pixels = (uint8_t *)from}, r = {0};

    EXPECT_OK(lk_image_resize_nearest(&m, w2, h2, &r));
    cr_assert(r.width == w2 && r.height == h2 && r.channels == c);
    for (int i = 0; i < w2 * h2 * c; i++)
        cr_expect(
            r.pixels[i] == want[i], "%d x %d to %d x %d: %d is %d, expected %d", w, h, w2, h2, i, r.pixels[i], want[i]);
    lk_image_fini(&r);
}

Test(image, resize_to_the_nearest)
{
    lk_image m = {.width = 1, .height = 1, .channels = 1, .pixels = pixels}, r = {0};

    paint(20, 10, 3);
    expect_nearest(20, 10, 3, pixels, 20, 10, pixels);
    expect_nearest(2, 1, 1, (uint8_t[]){3, 255}, 5, 1, (uint8_t[]){3, 3, 255, 255, 255});
    expect_nearest(1, 2, 1, (uint8_t[]){3, 255}, 1, 4, (uint8_t[]){3, 3, 255, 255});
    expect_nearest(3, 1, 1, (uint8_t[]){1, 2, 3}, 2, 1, (uint8_t[]){1, 3});
    expect_nearest(4, 1, 1, (uint8_t[]){1, 2, 3, 4}, 2, 1, (uint8_t[]){2, 4}); /* middles between two pixels */
    expect_nearest(5, 1, 1, (uint8_t[]){1, 2, 3, 4, 5}, 1, 1, (uint8_t[]){3});
    expect_nearest(2, 2, 1, (uint8_t[]){1, 2, 3, 4}, 3, 4, (uint8_t[]){1, 2, 2, 1, 2, 2, 3, 4, 4, 3, 4, 4});
    expect_nearest(2, 1, 2, (uint8_t[]){1, 2, 3, 4}, 4, 1, (uint8_t[]){1, 2, 1, 2, 3, 4, 3, 4});
    EXPECT_FAIL(lk_image_resize_nearest(&m, 3, 0, &r), LK_E_ARG, "a picture of 3 x 0 pixels: sides begin at 1");
}

Test(image, gray_and_colour)
{
    const uint8_t rgba[] = {255, 0, 0, 9, 0, 255, 0, 9, 0, 0, 255, 9, 255, 255, 255, 9};
    lk_image m = {.width = 4, .height = 1, .channels = 4, .pixels = (uint8_t *)rgba}, g = {0}, c = {0};

    EXPECT_OK(lk_image_convert(&m, 1, &g)); /* 0.299, 0.587, 0.114 of 255 */
    cr_expect(g.channels == 1 && memcmp(g.pixels, (uint8_t[]){76, 150, 29, 255}, 4) == 0, "%d %d %d %d", g.pixels[0],
        g.pixels[1], g.pixels[2], g.pixels[3]);
    EXPECT_OK(lk_image_convert(&g, 3, &c));
    cr_expect(c.channels == 3 && memcmp(c.pixels, (uint8_t[]){76, 76, 76, 150, 150, 150}, 6) == 0);
    lk_image_fini(&c);
    EXPECT_OK(lk_image_convert(&m, 3, &c));
    cr_expect(memcmp(c.pixels, (uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255}, 9) == 0);
    lk_image_fini(&c);
    lk_image_fini(&g);
    EXPECT_FAIL(lk_image_convert(&m, 2, &c), LK_E_ARG, "a picture in 2 channels: 1 and 3 are possible");
}

static void expect_resized(int w, int h, int c, const uint8_t *from, int w2, int h2, const uint8_t *want)
{
    lk_image m = {.width = w, .height = h, .channels = c, .pixels = (uint8_t *)from}, r = {0};

    EXPECT_OK(lk_image_resize(&m, w2, h2, &r));
    cr_assert(r.width == w2 && r.height == h2 && r.channels == c);
    for (int i = 0; i < w2 * h2 * c; i++)
        cr_expect(
            r.pixels[i] == want[i], "%d x %d to %d x %d: %d is %d, expected %d", w, h, w2, h2, i, r.pixels[i], want[i]);
    lk_image_fini(&r);
}

Test(image, resize)
{
    lk_image m = {0}, r = {0};

    paint(20, 10, 3);
    expect_resized(20, 10, 3, pixels, 20, 10, pixels); /* the same size is the same picture */
    /* twice as wide: pixel centres lie at -0.25, 0.25, 0.75, 1.25 of the old ones; outside the edge goes on */
    expect_resized(2, 1, 1, (uint8_t[]){0, 100}, 4, 1, (uint8_t[]){0, 25, 75, 100});
    expect_resized(1, 2, 1, (uint8_t[]){0, 100}, 1, 4, (uint8_t[]){0, 25, 75, 100});
    expect_resized(2, 1, 2, (uint8_t[]){0, 200, 100, 0}, 4, 1, (uint8_t[]){0, 200, 25, 150, 75, 50, 100, 0});
    /* half as wide: weights 1, 3, 3, 1 of 8; at the edge 3, 3, 1 of 7 */
    expect_resized(4, 1, 1, (uint8_t[]){70, 0, 0, 0}, 2, 1, (uint8_t[]){30, 0});
    expect_resized(6, 1, 1, (uint8_t[]){0, 80, 0, 160, 0, 0}, 3, 1, (uint8_t[]){34, 70, 23});
    expect_resized(3, 3, 1, (uint8_t[]){9, 9, 9, 9, 9, 9, 9, 9, 9}, 7, 1, (uint8_t[]){9, 9, 9, 9, 9, 9, 9});
    memset(pixels, 255, sizeof pixels);
    expect_resized(40, 30, 1, pixels, 7, 11, pixels);
    expect_resized(1, 1, 1, pixels, 5, 5, pixels);
    EXPECT_FAIL(lk_image_resize(&m, 0, 3, &r), LK_E_ARG, "a picture of 0 x 3 pixels: sides begin at 1");
}
