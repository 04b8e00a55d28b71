/* Picture files as rows of one size. One picture is in memory at a time. */
#include "base/mem.h"
#include "data/image.h"
#include "data/import/import_int.h"

const char *const lki_picture_endings[] = {".jpg", ".jpeg", ".png", NULL};

lk_status lki_pictures_init(lki_pictures *p, const lk_ints *size, bool gray, const char *first)
{
    lk_image m = {0};

    *p = (lki_pictures){.channels = gray ? 1 : 3};
    if (size->n == 0) {
        LK_TRY(lk_image_read(first, &m));
        p->first = first;
        p->height = m.height;
        p->width = m.width;
        lk_image_fini(&m);
    } else if (size->n == 2) {
        p->height = (int)size->item[0];
        p->width = (int)size->item[1];
    } else {
        return LK_FAIL(LK_E_ARG, "--size: two numbers, height and width, as in 32,32");
    }
    LK_TRY(lk_alloc_array((int64_t)p->height * p->width, (size_t)p->channels, "picture", &p->row));
    return LK_OK;
}

void lki_pictures_fini(lki_pictures *p)
{
    lk_free(p->row);
    *p = (lki_pictures){0};
}

/* Puts `next` in the place of m. */
static void replace(lk_image *m, lk_image next)
{
    lk_image_fini(m);
    *m = next;
}

lk_status lki_pictures_read(lki_pictures *p, const char *path)
{
    lk_image m = {0}, next = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_image_read(path, &m));
    p->file_height = m.height;
    p->file_width = m.width;
    if (p->first != NULL && (m.height != p->height || m.width != p->width)) {
        st = LK_FAIL(LK_E_FORMAT, "%s: %d x %d pixels, %s has %d x %d; --size makes them alike", path, m.width,
            m.height, p->first, p->width, p->height);
        goto out;
    }
    if (m.channels != p->channels) {
        LK_TRY_TO(st, out, lk_image_convert(&m, p->channels, &next));
        replace(&m, next);
    }
    if (m.height != p->height || m.width != p->width) {
        LK_TRY_TO(st, out, lk_image_resize(&m, p->width, p->height, &next));
        replace(&m, next);
    }
    const int64_t n = (int64_t)m.height * m.width;
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < n; i++)
            p->row[c * n + i] = m.pixels[i * p->channels + c];
out:
    lk_image_fini(&m);
    return st;
}
