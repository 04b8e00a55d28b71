/* Pictures as bytes: JPEG and PNG files into pixels, pixels into PNG files. The only place of libjpeg and libpng. */
#ifndef LK_DATA_IMAGE_H
#define LK_DATA_IMAGE_H

#include "base/status.h"
#include <stddef.h>

typedef struct lk_image {
    int width, height, channels; /* 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
    uint8_t *pixels; /* [height, width, channels] */
} lk_image;

/* As many pixels as decoding takes by default. */
#define LK_IMAGE_MAX_PIXELS (INT64_C(1) << 27)

/* Decodes a JPEG or PNG file, told apart by its content, that is in memory. PNG: fewer than 8 bits a channel are spread
 * over 0 to 255, 16 bits are rounded to 8, palettes become colours, a transparent colour becomes alpha; colour profiles
 * and gamma are left alone. JPEG: gray or RGB; CMYK is refused. `name` is for messages. max_pixels 0:
 * LK_IMAGE_MAX_PIXELS. The caller calls lk_image_fini after LK_OK. Local. Errors: LK_E_FORMAT for what is no such file,
 * and for a damaged or cut one (a JPEG that its decoder would only warn about, too); LK_E_UNSUPPORTED for one of more
 * pixels; LK_E_NOMEM. */
LK_MUST_USE lk_status lk_image_decode(
    const char *name, const void *data, size_t bytes, int64_t max_pixels, lk_image *out);
/* The same of a file. Errors: as above; LK_E_NOT_FOUND, LK_E_IO. */
LK_MUST_USE lk_status lk_image_read(const char *path, lk_image *out);
/* A PNG file whose pixels are ids, as they stand in the file, into one channel: gray of up to 8 bits, not spread; or
 * places in a palette, whose colours are not looked at. Else as lk_image_decode. Errors: as above; LK_E_FORMAT for
 * another kind of file, too. */
LK_MUST_USE lk_status lk_image_decode_ids(
    const char *name, const void *data, size_t bytes, int64_t max_pixels, lk_image *out);
LK_MUST_USE lk_status lk_image_read_ids(const char *path, lk_image *out);
void lk_image_fini(lk_image *m);

/* The picture in 1 or 3 channels: alpha is left out; gray is (19595 R + 38470 G + 7471 B) / 65536, rounded: the luma of
 * ITU-R BT.601. */
LK_MUST_USE lk_status lk_image_convert(const lk_image *m, int channels, lk_image *out);
/* The picture in another size. Each side is resampled with a triangle as wide as two pixels of the coarser of both
 * grids: bilinear interpolation where it grows, a weighted mean where it shrinks. Sums in double, each side in one
 * order; rounded to bytes once, at the end. Errors: LK_E_ARG for a side below 1. */
LK_MUST_USE lk_status lk_image_resize(const lk_image *m, int width, int height, lk_image *out);
/* The same without mixing, for ids: an output pixel is the input pixel in which its middle lies, the right or lower one
 * where it lies between two. Errors: as above. */
LK_MUST_USE lk_status lk_image_resize_nearest(const lk_image *m, int width, int height, lk_image *out);

/* Writes pixels [height, width, channels] as a PNG file of 8 bits a channel, beside and renamed. Equal pixels give
 * equal files. Local. Errors: LK_E_ARG for sides below 1 or above 2^24, or channels other than 1 to 4; LK_E_IO;
 * LK_E_NOMEM. */
LK_MUST_USE lk_status lk_png_write(const char *path, int width, int height, int channels, const uint8_t *pixels);

#endif
