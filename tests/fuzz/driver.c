/* Runs a fuzz target as an ordinary test: over each file of a corpus folder, and over mutations of it that are the same
 * on every machine. usage: fuzz_NAME CORPUS_DIR [MUTATIONS_PER_FILE]. A target that finds something wrong traps; what
 * it was given then lies in fuzz-NAME.last in the current folder (written only when the environment has LK_FUZZ_KEEP,
 * as it costs time). */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MUTATIONS = 2000, GROWTH = 256, EDITS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct source {
    lk_rng rng;
    uint64_t next;
} source;

/* A number in [0,n); n >= 1. */
static size_t draw(source *s, size_t n)
{
    return lk_rng_word(s->rng, s->next++) % n;
}

/* One small change of data[0..n) in place; there is room for GROWTH / EDITS_MAX more bytes. Gives the new length. */
static size_t edit(source *s, uint8_t *data, size_t n)
{
    static const char *const words[] = {": ", "- ", "\n", "\n  ", "[", "]", "{", "}", "\"", "'", "&a ", "*a", "!!str ",
        "|\n", ">\n", "? ", "---\n", "...\n", "#", ",", "%", "\\", "\t", "\xef\xbb\xbf", "\xe2\x80\xa8"};
    const size_t at = draw(s, n + 1);

    switch (draw(s, 6)) {
    case 0: /* another byte */
        if (at < n)
            data[at] = (uint8_t)draw(s, 256);
        return n;
    case 1: /* a flipped bit */
        if (at < n)
            data[at] ^= (uint8_t)(1u << draw(s, 8));
        return n;
    case 2: { /* a piece cut out */
        const size_t gone = draw(s, 16) < n - at ? draw(s, n - at + 1) : n - at;
        memmove(data + at, data + at + gone, n - at - gone);
        return n - gone;
    }
    case 3: { /* a piece twice */
        size_t again = draw(s, GROWTH / EDITS_MAX);
        again = again < n - at ? again : n - at;
        memmove(data + at + again, data + at, n - at);
        return n + again;
    }
    case 4: { /* a word that means something */
        const char *w = words[draw(s, sizeof words / sizeof words[0])];
        memmove(data + at + strlen(w), data + at, n - at);
        memcpy(data + at, w, strlen(w));
        return n + strlen(w);
    }
    default: /* the end is missing */
        return at;
    }
}

static void keep(const char *corpus, const uint8_t *data, size_t n)
{
    char path[256];
    const char *name = strrchr(corpus, '/');

    if (getenv("LK_FUZZ_KEEP") == NULL)
        return;
    snprintf(path, sizeof path, "fuzz-%s.last", name != NULL ? name + 1 : corpus);
    if (lk_file_write_atomic(path, data, n) != LK_OK)
        fprintf(stderr, "%s\n", lk_err_last()->message);
}

/* The target gets a block of its very size, so that a read past the end is seen. */
static lk_status run_one(const char *corpus, const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);

    if (exact == NULL)
        return LK_FAIL(LK_E_NOMEM, "out of memory for %zu bytes of input", n);
    memcpy(exact, data, n);
    keep(corpus, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return LK_OK;
}

static lk_status run_file(const char *corpus, const char *name, uint64_t file, int64_t mutations)
{
    char *path = NULL, *text = NULL;
    uint8_t *data = NULL;
    size_t n = 0;
    lk_status st;

    LK_TRY_TO(st, out, lk_path_join(corpus, name, &path));
    LK_TRY_TO(st, out, lk_file_read(path, 0, &text, &n));
    LK_TRY_TO(st, out, lk_alloc(n + GROWTH, "mutation", &data));
    LK_TRY_TO(st, out, run_one(corpus, (const uint8_t *)text, n));
    for (int64_t i = 0; i < mutations; i++) {
        source s = {.rng = lk_rng_make((uint64_t)i, LK_RNG_TEST, file)};
        size_t len = n;
        memcpy(data, text, n);
        for (size_t edits = 1 + draw(&s, EDITS_MAX); edits > 0; edits--)
            len = edit(&s, data, len);
        LK_TRY_TO(st, out, run_one(corpus, data, len));
    }
out:
    lk_free(data);
    lk_free(text);
    lk_free(path);
    return st;
}

int main(int argc, char **argv)
{
    int64_t mutations = MUTATIONS;
    char **names = NULL;
    int n = 0;

    if (argc < 2 || argc > 3 || (argc == 3 && !lk_parse_i64(argv[2], &mutations))) {
        fprintf(stderr, "usage: %s CORPUS_DIR [MUTATIONS_PER_FILE]\n", argv[0]);
        return 2;
    }
    lk_status st = lk_dir_list(argv[1], &names, &n);
    for (int i = 0; i < n && st == LK_OK; i++)
        st = run_file(argv[1], names[i], (uint64_t)i, mutations);
    if (st != LK_OK)
        fprintf(stderr, "%s\n", lk_err_last()->message);
    else if (n == 0)
        fprintf(stderr, "%s: no files\n", argv[1]);
    else
        printf("%d files, %lld mutations each\n", n, (long long)mutations);
    lk_strings_free(&names, n);
    return st != LK_OK || n == 0;
}
