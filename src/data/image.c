#include "data/image.h"
#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

enum { SIDE_MAX = 1 << 24, WHY_BYTES = JMSG_LENGTH_MAX };

void lk_image_fini(lk_image *m)
{
    lk_free(m->pixels);
    *m = (lk_image){0};
}

/* Memory for the pixels, once the header has told how many there are. */
static lk_status make_pixels(const char *name, int64_t width, int64_t height, int channels, int64_t most, lk_image *m)
{
    if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX || width * height > most)
        return LK_FAIL(LK_E_UNSUPPORTED,
            "%s: a picture of %" PRId64 " x %" PRId64 " pixels, at most %" PRId64 " are taken", name, width, height,
            most);
    LK_TRY(lk_alloc_array(width * height, (size_t)channels, "pixels", &m->pixels));
    m->width = (int)width;
    m->height = (int)height;
    m->channels = channels;
    return LK_OK;
}

/* ---- PNG ---- */

/* What the library's callbacks share with us. They leave through longjmp, so all that is to be freed is in here. */
typedef struct png_job {
    const uint8_t *data;
    size_t bytes, at;
    bool ids; /* the pixels are ids, which are not to change */
    bool cut;
    char why[WHY_BYTES];
    lk_image image;
    png_bytep *row;
    lk_buf packed; /* written */
} png_job;

static void png_on_error(png_structp png, png_const_charp text)
{
    png_job *j = png_get_error_ptr(png);

    snprintf(j->why, sizeof j->why, "%s", text);
    png_longjmp(png, 1);
}

static void png_on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void png_take(png_structp png, png_bytep out, size_t n)
{
    png_job *j = png_get_io_ptr(png);

    if (n > j->bytes - j->at) {
        j->cut = true;
        png_error(png, "the file ends too soon");
    }
    memcpy(out, j->data + j->at, n);
    j->at += n;
}

static void png_put(png_structp png, png_bytep data, size_t n)
{
    png_job *j = png_get_io_ptr(png);

    lk_buf_add_n(&j->packed, (const char *)data, n);
}

static void png_flush_nothing(png_structp png)
{
    (void)png;
}

static lk_status index_rows(png_job *j)
{
    LK_TRY(lk_alloc_array(j->image.height, sizeof j->row[0], "rows of a picture", &j->row));
    for (int y = 0; y < j->image.height; y++)
        j->row[y] = j->image.pixels + (size_t)y * (size_t)j->image.width * (size_t)j->image.channels;
    return LK_OK;
}

/* What stands in the file as one byte a pixel or less, and means an id. */
static lk_status check_ids(const char *name, int colour, int bits)
{
    const char *kind = colour == PNG_COLOR_TYPE_GRAY         ? "gray"
                       : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? "gray and alpha"
                       : colour == PNG_COLOR_TYPE_RGB        ? "RGB"
                                                             : "RGB and alpha";

    if (colour == PNG_COLOR_TYPE_PALETTE || (colour == PNG_COLOR_TYPE_GRAY && bits <= 8))
        return LK_OK;
    return LK_FAIL(LK_E_FORMAT,
        "%s: a PNG file of %s, %d bits a channel; ids are gray of up to 8 bits, or places in a palette", name, kind,
        bits);
}

static lk_status png_decode(const char *name, png_job *j, int64_t most, png_structp png, png_infop info)
{
    if (setjmp(png_jmpbuf(png)) != 0)
        return LK_FAIL(LK_E_FORMAT, "%s: %s PNG file: %s", name, j->cut ? "truncated" : "damaged", j->why);
    png_set_user_limits(png, SIDE_MAX, SIDE_MAX);
    png_set_read_fn(png, j, png_take);
    png_read_info(png, info);
    if (j->ids) {
        LK_TRY(check_ids(name, png_get_color_type(png, info), png_get_bit_depth(png, info)));
        png_set_packing(png);
    } else {
        png_set_expand(png);
        png_set_scale_16(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    LK_TRY(make_pixels(name, png_get_image_width(png, info), png_get_image_height(png, info),
        png_get_channels(png, info), most, &j->image));
    LK_TRY(index_rows(j));
    png_read_image(png, j->row);
    png_read_end(png, NULL);
    return LK_OK;
}

static lk_status read_png(const char *name, const void *data, size_t bytes, int64_t most, bool ids, lk_image *out)
{
    png_job j = {.data = data, .bytes = bytes, .ids = ids};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, png_on_error, png_on_warning);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    lk_status st = info != NULL ? png_decode(name, &j, most, png, info)
                                : LK_FAIL(LK_E_NOMEM, "%s: out of memory to decode it", name);

    png_destroy_read_struct(&png, &info, NULL);
    lk_free(j.row);
    if (st != LK_OK)
        lk_image_fini(&j.image);
    else
        *out = j.image;
    return st;
}

static lk_status png_encode(const char *path, png_job *j, png_structp png, png_infop info)
{
    static const int colour[] = {
        PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};

    if (setjmp(png_jmpbuf(png)) != 0)
        return LK_FAIL(LK_E_LIBRARY, "%s: libpng: %s", path, j->why);
    png_set_user_limits(png, SIDE_MAX, SIDE_MAX);
    png_set_write_fn(png, j, png_put, png_flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)j->image.width, (png_uint_32)j->image.height, 8, colour[j->image.channels - 1],
        PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    png_write_image(png, j->row);
    png_write_end(png, NULL);
    return LK_OK;
}

lk_status lk_png_write(const char *path, int width, int height, int channels, const uint8_t *pixels)
{
    /* libpng takes rows that it could write to, and does not */
    png_job j = {.image = {.width = width, .height = height, .channels = channels, .pixels = (uint8_t *)pixels}};
    png_structp png = NULL;
    png_infop info = NULL;
    lk_status st;

    if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX || channels < 1 || channels > 4)
        return LK_FAIL(LK_E_ARG, "%s: a PNG file of %d x %d pixels and %d channels cannot be written", path, width,
            height, channels);
    LK_TRY_TO(st, out, index_rows(&j));
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &j, png_on_error, png_on_warning);
    info = png != NULL ? png_create_info_struct(png) : NULL;
    if (info == NULL) {
        st = LK_FAIL(LK_E_NOMEM, "%s: out of memory to write it", path);
        goto out;
    }
    LK_TRY_TO(st, out, png_encode(path, &j, png, info));
    LK_TRY_TO(st, out, lk_buf_status(&j.packed));
    LK_TRY_TO(st, out, lk_file_write_atomic(path, j.packed.text, j.packed.len));
out:
    png_destroy_write_struct(&png, &info);
    lk_free(j.row);
    lk_buf_fini(&j.packed);
    return st;
}

/* ---- JPEG ---- */

typedef struct jpeg_job {
    struct jpeg_error_mgr errors; /* first: the library hands it back */
    jmp_buf back;
    char why[WHY_BYTES];
    struct jpeg_decompress_struct jpeg;
    lk_image image;
} jpeg_job;

static void jpeg_on_error(j_common_ptr jpeg)
{
    jpeg_job *j = (jpeg_job *)jpeg->err;

    jpeg->err->format_message(jpeg, j->why);
    longjmp(j->back, 1);
}

/* Negative levels are damage that the library would paint over. */
static void jpeg_on_message(j_common_ptr jpeg, int level)
{
    if (level < 0)
        jpeg_on_error(jpeg);
}

static lk_status jpeg_decode(const char *name, jpeg_job *j, const void *data, size_t bytes, int64_t most)
{
    struct jpeg_decompress_struct *jpeg = &j->jpeg;

    if (setjmp(j->back) != 0)
        return LK_FAIL(LK_E_FORMAT, "%s: damaged or truncated JPEG file: %s", name, j->why);
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, data, bytes);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->num_components != 1 && jpeg->num_components != 3)
        return LK_FAIL(LK_E_FORMAT, "%s: a JPEG file of %d components; gray (1) and colour (3) are read", name,
            jpeg->num_components);
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    LK_TRY(make_pixels(name, jpeg->image_width, jpeg->image_height, jpeg->num_components, most, &j->image));
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row =
            j->image.pixels + (size_t)jpeg->output_scanline * (size_t)j->image.width * (size_t)j->image.channels;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
    return LK_OK;
}

static lk_status read_jpeg(const char *name, const void *data, size_t bytes, int64_t most, lk_image *out)
{
    jpeg_job *j = NULL;

    LK_TRY(lk_alloc(sizeof *j, "decoder", &j));
    j->jpeg.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = jpeg_on_error;
    j->errors.emit_message = jpeg_on_message;
    const lk_status st = jpeg_decode(name, j, data, bytes, most);
    jpeg_destroy_decompress(&j->jpeg);
    if (st != LK_OK)
        lk_image_fini(&j->image);
    else
        *out = j->image;
    lk_free(j);
    return st;
}

static bool is_png(const void *data, size_t bytes)
{
    return bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

lk_status lk_image_decode(const char *name, const void *data, size_t bytes, int64_t max_pixels, lk_image *out)
{
    const int64_t most = max_pixels > 0 ? max_pixels : LK_IMAGE_MAX_PIXELS;

    if (bytes == 0)
        return LK_FAIL(LK_E_FORMAT, "%s: empty file", name);
    if (is_png(data, bytes))
        LK_TRY(read_png(name, data, bytes, most, false, out));
    else if (bytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        LK_TRY(read_jpeg(name, data, bytes, most, out));
    else
        return LK_FAIL(LK_E_FORMAT, "%s: neither a JPEG nor a PNG file", name);
    return LK_OK;
}

lk_status lk_image_decode_ids(const char *name, const void *data, size_t bytes, int64_t max_pixels, lk_image *out)
{
    if (!is_png(data, bytes))
        return LK_FAIL(LK_E_FORMAT, bytes == 0 ? "%s: empty file" : "%s: not a PNG file", name);
    return read_png(name, data, bytes, max_pixels > 0 ? max_pixels : LK_IMAGE_MAX_PIXELS, true, out);
}

static lk_status read_file(const char *path, bool ids, lk_image *out)
{
    char *data = NULL;
    size_t bytes = 0;

    LK_TRY(lk_file_read(path, 0, &data, &bytes));
    const lk_status st =
        ids ? lk_image_decode_ids(path, data, bytes, 0, out) : lk_image_decode(path, data, bytes, 0, out);
    lk_free(data);
    return st;
}

lk_status lk_image_read(const char *path, lk_image *out)
{
    return read_file(path, false, out);
}

lk_status lk_image_read_ids(const char *path, lk_image *out)
{
    return read_file(path, true, out);
}

/* ---- another form of the same picture ---- */

lk_status lk_image_convert(const lk_image *m, int channels, lk_image *out)
{
    lk_image to = {0};
    const int64_t n = (int64_t)m->width * m->height;
    const bool from_colour = m->channels >= 3;

    if (channels != 1 && channels != 3)
        return LK_FAIL(LK_E_ARG, "a picture in %d channels: 1 and 3 are possible", channels);
    LK_TRY(make_pixels("picture", m->width, m->height, channels, INT64_MAX, &to));
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = m->pixels + i * m->channels;
        uint8_t *q = to.pixels + i * channels;
        if (channels == 1)
            q[0] = from_colour ? (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16) : p[0];
        else
            for (int c = 0; c < 3; c++)
                q[c] = p[from_colour ? c : 0];
    }
    *out = to;
    return LK_OK;
}

/* The weights of one output pixel: input pixels [first, first + n). */
typedef struct taps {
    int first, n;
    double *weight; /* [n], sum 1 */
} taps;

/* The triangle round each output pixel of a side that goes from `in` to `out` pixels. `weight` has room for
 * out * taps_room(in, out). */
static int taps_room(int in, int out)
{
    return in > out ? (int)(2 * ((int64_t)in + out - 1) / out) + 3 : 4;
}

static void place_taps(int in, int out, taps *t, double *weight)
{
    const double ratio = (double)in / out, reach = ratio > 1 ? ratio : 1;
    const int room = taps_room(in, out);

    for (int i = 0; i < out; i++) {
        const double middle = (i + 0.5) * ratio;
        int first = (int)floor(middle - reach), end = (int)ceil(middle + reach);
        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        double sum = 0;
        t[i] = (taps){.first = first, .n = end - first, .weight = weight + (size_t)i * (size_t)room};
        LK_BUG_IF(t[i].n > room, "%d taps, room for %d", t[i].n, room);
        for (int k = 0; k < t[i].n; k++) {
            const double x = fabs(first + k + 0.5 - middle) / reach;
            t[i].weight[k] = x < 1 ? 1 - x : 0;
            sum += t[i].weight[k];
        }
        for (int k = 0; k < t[i].n; k++)
            t[i].weight[k] /= sum;
    }
}

static lk_status check_sides(int width, int height)
{
    if (width < 1 || height < 1)
        return LK_FAIL(LK_E_ARG, "a picture of %d x %d pixels: sides begin at 1", width, height);
    return LK_OK;
}

lk_status lk_image_resize(const lk_image *m, int width, int height, lk_image *out)
{
    lk_image to = {0};
    taps *tx = NULL, *ty = NULL;
    double *wx = NULL, *wy = NULL, *wide = NULL;
    const int c_n = m->channels;
    lk_status st;

    LK_TRY(check_sides(width, height));
    LK_TRY_TO(st, out, make_pixels("picture", width, height, c_n, INT64_MAX, &to));
    LK_TRY_TO(st, out, lk_alloc_array(width, sizeof *tx, "resize", &tx));
    LK_TRY_TO(st, out, lk_alloc_array(height, sizeof *ty, "resize", &ty));
    LK_TRY_TO(st, out, lk_alloc_array((int64_t)width * taps_room(m->width, width), sizeof *wx, "resize", &wx));
    LK_TRY_TO(st, out, lk_alloc_array((int64_t)height * taps_room(m->height, height), sizeof *wy, "resize", &wy));
    LK_TRY_TO(st, out, lk_alloc_array((int64_t)m->height * width * c_n, sizeof *wide, "resize", &wide));
    place_taps(m->width, width, tx, wx);
    place_taps(m->height, height, ty, wy);
    for (int y = 0; y < m->height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < c_n; c++) {
                const uint8_t *from = m->pixels + ((int64_t)y * m->width + tx[x].first) * c_n + c;
                double sum = 0;
                for (int k = 0; k < tx[x].n; k++)
                    sum += tx[x].weight[k] * from[(int64_t)k * c_n];
                wide[((int64_t)y * width + x) * c_n + c] = sum;
            }
    for (int y = 0; y < height; y++)
        for (int64_t x = 0; x < (int64_t)width * c_n; x++) {
            double sum = 0;
            for (int k = 0; k < ty[y].n; k++)
                sum += ty[y].weight[k] * wide[(int64_t)(ty[y].first + k) * width * c_n + x];
            to.pixels[(int64_t)y * width * c_n + x] = (uint8_t)(sum + 0.5);
        }
    *out = to;
    to = (lk_image){0};
out:
    lk_free(wide);
    lk_free(wy);
    lk_free(wx);
    lk_free(ty);
    lk_free(tx);
    lk_image_fini(&to);
    return st;
}

lk_status lk_image_resize_nearest(const lk_image *m, int width, int height, lk_image *out)
{
    lk_image to = {0};

    LK_TRY(check_sides(width, height));
    LK_TRY(make_pixels("picture", width, height, m->channels, INT64_MAX, &to));
    for (int64_t y = 0; y < height; y++) {
        const int64_t from_y = (2 * y + 1) * m->height / (2 * (int64_t)height);
        for (int64_t x = 0; x < width; x++) {
            const int64_t from_x = (2 * x + 1) * m->width / (2 * (int64_t)width);
            for (int c = 0; c < m->channels; c++)
                to.pixels[(y * width + x) * m->channels + c] =
                    m->pixels[(from_y * m->width + from_x) * m->channels + c];
        }
    }
    *out = to;
    return LK_OK;
}
