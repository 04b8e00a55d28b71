/* Picture files for tests, written with the libraries themselves. */
#ifndef LK_TESTS_DATA_PICTURES_H
#define LK_TESTS_DATA_PICTURES_H

#include "files.h"

#include <jpeglib.h>
#include <png.h>

/* A JPEG file of pixels [height, width, channels]: 1 gray, 3 RGB, 4 CMYK. */
static inline void write_jpeg(
    const char *name, int width, int height, int channels, const uint8_t *pixels, int quality, bool progressive)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long n = 0;

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &n);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)pixels + (size_t)jpeg.next_scanline * (size_t)width * (size_t)channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    write_text(name, data, n);
    free(data);
}

/* A PNG file of any kind; `row` is in the file's own packing, each `stride` bytes. */
static inline void write_png_kind(const char *name, int width, int height, int bits, int colour, int interlace,
    const png_color *palette, int n_palette, const png_byte *alpha, const uint8_t *rows, size_t stride)
{
    FILE *f = fopen(at(name), "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_bytep row[64];

    cr_assert(f != NULL && height <= 64);
    for (int y = 0; y < height; y++)
        row[y] = (png_bytep)rows + (size_t)y * stride;
    png_init_io(png, f);
    png_set_check_for_invalid_index(png, 0); /* a wrong file is to be written, too */
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, colour, interlace,
        PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (palette != NULL)
        png_set_PLTE(png, info, palette, n_palette);
    if (alpha != NULL)
        png_set_tRNS(png, info, alpha, n_palette, NULL);
    png_set_rows(png, info, row);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

#endif
