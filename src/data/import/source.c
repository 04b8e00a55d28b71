#include "base/mem.h"
#include "data/import/import_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE = 1 << 30, UNPACK_BUFFER = 1 << 18 };

struct lki_source {
    char *name;
    gzFile file; /* NULL: memory */
    const char *data;
    size_t bytes, at;
    bool cut;
};

lk_status lki_source_open(const char *path, lki_source **out)
{
    lki_source *s = NULL;
    lk_status st;

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_TRY(LK_SYS(fd < 0, "open", path));
    LK_TRY_TO(st, fail, lk_alloc(sizeof *s, "source", &s));
    LK_TRY_TO(st, fail, lk_strdup(path, &s->name));
    s->file = gzdopen(fd, "rb"); /* reads what is not gzip as it is */
    if (s->file == NULL) {
        st = LK_FAIL(LK_E_NOMEM, "%s: out of memory to unpack it", path);
        goto fail;
    }
    gzbuffer(s->file, UNPACK_BUFFER);
    *out = s;
    return LK_OK;

fail:
    lki_source_close(&s);
    close(fd);
    return st;
}

lk_status lki_source_open_memory(const char *name, const void *data, size_t bytes, lki_source **out)
{
    lki_source *s = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *s, "source", &s));
    LK_TRY_TO(st, fail, lk_strdup(name, &s->name));
    s->data = data;
    s->bytes = bytes;
    *out = s;
    return LK_OK;

fail:
    lki_source_close(&s);
    return st;
}

void lki_source_close(lki_source **source)
{
    lki_source *s = *source;

    if (s == NULL)
        return;
    if (s->file != NULL)
        gzclose(s->file);
    lk_free(s->name);
    lk_free(s);
    *source = NULL;
}

const char *lki_source_name(const lki_source *s)
{
    return s->name;
}

bool lki_source_cut(const lki_source *s)
{
    return s->cut;
}

static lk_status read_file(lki_source *s, char *out, size_t bytes, size_t *got)
{
    while (*got < bytes) {
        const size_t rest = bytes - *got;
        const int n = gzread(s->file, out + *got, (unsigned)(rest < PIECE ? rest : PIECE));
        if (n > 0)
            *got += (size_t)n;
        if (n > 0 && (size_t)n == (rest < PIECE ? rest : PIECE))
            continue;
        int e = Z_OK;
        const char *why = gzerror(s->file, &e);
        s->cut = e == Z_BUF_ERROR;
        if (e == Z_ERRNO)
            return LK_FAIL(LK_E_IO, "%s: read: %s", s->name, strerror(errno));
        if (n < 0 && e != Z_BUF_ERROR) {
            const char *text = strncmp(why, "<fd:", 4) == 0 && strstr(why, ": ") != NULL
                                   ? strstr(why, ": ") + 2
                                   : why; /* its name for a file that it was handed open */
            return LK_FAIL(LK_E_FORMAT, "%s: damaged gzip file: %s", s->name, text);
        }
        break;
    }
    return LK_OK;
}

lk_status lki_source_read(lki_source *s, void *out, size_t bytes, size_t *got)
{
    *got = 0;
    if (s->file != NULL)
        return read_file(s, out, bytes, got);
    *got = bytes < s->bytes - s->at ? bytes : s->bytes - s->at;
    if (*got > 0)
        memcpy(out, s->data + s->at, *got);
    s->at += *got;
    return LK_OK;
}
