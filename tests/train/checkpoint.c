#include "train/checkpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char room[] = "/tmp/lockstep-test-checkpoint.XXXXXX";

static void enter(void)
{
    cr_assert(mkdtemp(room) != NULL);
    cr_assert(chdir(room) == 0);
}

static void leave(void)
{
    lk_mem_fail_at(0);
    cr_assert(chdir("/") == 0);
    EXPECT_OK(lk_dir_remove(room));
}

TestSuite(checkpoint, .init = enter, .fini = leave);

/* ---- a small network, filled in by hand, and states of it ---- */

enum { PARAMS = 8, FLAT_MAX = 12 * LK_TILE };

typedef struct net {
    lk_graph graph;
    lk_node node[3];
    lk_param param[PARAMS + 1];
    char name[PARAMS + 1][32]; /* of parameters */
} net;

/* "conv1.weight"; what parameters are called by is what a layer's node is called. */
static void name_params(net *n)
{
    for (int i = 0; i < n->graph.n_params; i++) {
        lk_param *p = &n->param[i];

        snprintf(n->name[i], sizeof n->name[i], "%s.%s", n->node[p->node].name, p->info.suffix);
        p->name = n->name[i];
    }
}

static void add_param(net *n, int node, const char *suffix, lk_param_kind kind, lk_shape shape)
{
    lk_param *p = &n->param[n->graph.n_params++];

    *p = (lk_param){.node = node, .info = {.shape = shape, .kind = kind}, .first = n->graph.flat, .count = 1};
    snprintf(p->info.suffix, sizeof p->info.suffix, "%s", suffix);
    for (int i = 0; i < shape.ndim; i++)
        p->count *= shape.dim[i];
    n->graph.flat += (p->count + LK_TILE - 1) / LK_TILE * LK_TILE;
    name_params(n);
}

static void make_net(net *n, int64_t filters)
{
    static char name[][16] = {"linear1", "conv1", "batch_norm1"};

    memset(n, 0, sizeof *n);
    n->graph.node = n->node;
    n->graph.param = n->param;
    n->graph.n_nodes = 3;
    for (int i = 0; i < 3; i++)
        n->node[i].name = name[i];
    add_param(n, 1, "weight", LK_PARAM_WEIGHT, (lk_shape){4, {filters, 1, 3, 3}});
    add_param(n, 1, "bias", LK_PARAM_WEIGHT, (lk_shape){1, {filters}});
    add_param(n, 2, "weight", LK_PARAM_WEIGHT, (lk_shape){1, {filters}});
    add_param(n, 2, "bias", LK_PARAM_WEIGHT, (lk_shape){1, {filters}});
    add_param(n, 2, "running_mean", LK_PARAM_STATISTIC, (lk_shape){1, {filters}});
    add_param(n, 2, "running_var", LK_PARAM_STATISTIC, (lk_shape){1, {filters}});
    add_param(n, 0, "weight", LK_PARAM_WEIGHT, (lk_shape){2, {10, 36}});
    add_param(n, 0, "bias", LK_PARAM_WEIGHT, (lk_shape){1, {10}});
    cr_assert(n->graph.flat <= FLAT_MAX);
}

typedef struct memory {
    float weights[FLAT_MAX], state[LK_MAX_OPT_STATE][FLAT_MAX];
} memory;

static lk_state state_in(memory *m)
{
    memset(m, 0, sizeof *m);
    return (lk_state){
        .weights = m->weights,
        .n_state = 2,
        .state_name = {"exp_avg", "exp_avg_sq"},
        .state = {m->state[0], m->state[1]},
    };
}

/* Arbitrary numbers, by `salt`; padding zero, optimizer state of statistics zero. Some are no plain numbers. */
static lk_state filled(const net *n, memory *m, int64_t step, uint32_t salt)
{
    lk_state s = state_in(m);

    s.cursor = (lk_cursor){.epoch = step / 100, .step = step, .step_in_epoch = step % 100};
    for (int i = 0; i < n->graph.n_params; i++) {
        const lk_param *p = &n->param[i];
        for (int k = 0; k < 3; k++) {
            float *flat = k == 0 ? s.weights : s.state[k - 1];
            for (int64_t e = 0; e < p->count && (k == 0 || p->info.kind == LK_PARAM_WEIGHT); e++)
                flat[p->first + e] = (float)(int32_t)((salt + (uint32_t)(3 * (p->first + e) + k)) * 2654435761u) * 0x1p-31f;
        }
    }
    static const uint32_t odd[] = {0x80000000u, 0x7f800000u, 0x7fc01234u, 0x00000001u};
    memcpy(s.weights, odd, sizeof odd);
    return s;
}

static const lk_checkpoint_meta meta = {
    .seed = 17, .model_hash = 0x0123456789abcdefu, .samples = 1000, .batch = 64, .microbatches = 8, .config = "run: {name: t}\n", .reduction = "exact"};

static net small;

static char *write_step(int64_t step, int64_t keep)
{
    static memory m;
    char *path = NULL;
    const lk_state s = filled(&small, &m, step, (uint32_t)step);

    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, keep, &path));
    return path;
}

static void write_steps(int64_t first, int64_t last, int64_t keep)
{
    make_net(&small, 4);
    for (int64_t step = first; step <= last; step++)
        lk_free(write_step(step, keep));
}

static void expect_names(const char *dir, const char *want)
{
    char **names = NULL;
    int n = 0;
    lk_buf b = {0};

    EXPECT_OK(lk_dir_list(dir, &names, &n));
    for (int i = 0; i < n; i++)
        lk_buf_printf(&b, "%s%s", i > 0 ? " " : "", names[i]);
    EXPECT_TEXT(lk_buf_text(&b), want);
    lk_buf_fini(&b);
    lk_strings_free(&names, n);
}

/* ---- damage ---- */

static void flip(const char *path, int64_t bit)
{
    unsigned char byte;
    const int fd = open(path, O_RDWR);

    cr_assert(fd >= 0);
    cr_assert(pread(fd, &byte, 1, bit / 8) == 1);
    byte = (unsigned char)(byte ^ 1u << bit % 8);
    cr_assert(pwrite(fd, &byte, 1, bit / 8) == 1);
    close(fd);
}

static int64_t size_of(const char *path)
{
    struct stat s;

    cr_assert(stat(path, &s) == 0);
    return s.st_size;
}

/* What goes to standard error while f runs, at most 4 KiB. */
static char said[4096];
static void hear(void)
{
    const int fd = open("said", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    fflush(stderr);
    cr_assert(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    close(fd);
}
static const char *heard(int saved)
{
    const int fd = open("said", O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(fd, said, sizeof said - 1);

    close(fd);
    unlink("said");
    said[n > 0 ? n : 0] = 0;
    dup2(saved, STDERR_FILENO);
    close(saved);
    return said;
}

/* The newest good one must be `want` (NULL: none); what is said on the way is in `said`. */
static void expect_found(const char *want)
{
    char *path = NULL;
    const int saved = dup(STDERR_FILENO);

    hear();
    const lk_status st = lk_checkpoint_find("c", &path);
    heard(saved);
    EXPECT_OK(st);
    EXPECT_TEXT(path != NULL ? path : "none", want != NULL ? want : "none");
    lk_free(path);
}

/* ---- tests ---- */

Test(checkpoint, comes_back_bit_by_bit)
{
    static memory out, back;
    static char config[100000];
    char *path = NULL;
    lk_checkpoint_meta m = meta;

    make_net(&small, 4);
    memset(config, 'c', sizeof config - 1);
    m.config = config;
    m.reduction = "fast";
    m.normalization = "0.5 0.25";
    const lk_state s = filled(&small, &out, 1234, 7);
    EXPECT_OK(lk_checkpoint_write("runs/a/checkpoints", &small.graph, &s, &m, 3, &path));
    EXPECT_TEXT(path, "runs/a/checkpoints/step-00001234");
    expect_names("runs/a/checkpoints", "LATEST step-00001234");
    expect_names(path, "manifest.json state.h5");
    EXPECT_OK(lk_checkpoint_verify(path));
    EXPECT_OK(lk_checkpoint_verify("runs/a/checkpoints/step-00001234/state.h5"));

    lk_checkpoint_meta got;
    lk_state r = state_in(&back);
    memset(&back, 0xff, sizeof back);
    EXPECT_OK(lk_checkpoint_read(path, &small.graph, &r, &got));
    cr_expect(memcmp(back.weights, out.weights, (size_t)small.graph.flat * sizeof(float)) == 0);
    for (int k = 0; k < 2; k++)
        cr_expect(memcmp(back.state[k], out.state[k], (size_t)small.graph.flat * sizeof(float)) == 0);
    cr_expect(r.cursor.step == 1234 && r.cursor.epoch == 12 && r.cursor.step_in_epoch == 34);
    cr_expect(got.seed == 17 && got.model_hash == meta.model_hash && got.samples == 1000 && got.batch == 64 && got.microbatches == 8);
    EXPECT_TEXT(got.reduction, "fast");
    EXPECT_TEXT(got.normalization, "0.5 0.25");
    lk_free((char *)got.normalization);

    /* The weights alone, for evaluation. */
    memset(&back, 0xff, sizeof back);
    r.n_state = 0;
    EXPECT_OK(lk_checkpoint_read("runs/a/checkpoints/step-00001234/state.h5", &small.graph, &r, NULL));
    cr_expect(memcmp(back.weights, out.weights, (size_t)small.graph.flat * sizeof(float)) == 0);

    char *resolved = NULL;
    EXPECT_OK(lk_checkpoint_resolve("runs/a", &resolved));
    EXPECT_FAIL_WITH(lk_checkpoint_resolve("runs", &resolved), LK_E_NOT_FOUND, "runs: there is no good checkpoint in it");
    EXPECT_TEXT(resolved, path);
    lk_free(resolved);
    EXPECT_OK(lk_checkpoint_resolve(path, &resolved));
    EXPECT_TEXT(resolved, path);
    lk_free(resolved);
    EXPECT_OK(lk_checkpoint_resolve("runs/a/checkpoints/step-00001234/state.h5", &resolved));
    EXPECT_TEXT(resolved, path);
    lk_free(resolved);
    lk_free(path);
}

/* Larger than what is moved at a time. */
Test(checkpoint, large_arrays_go_in_pieces)
{
    static net large;
    const int64_t row = INT64_C(6) << 20;
    float *back = NULL;
    lk_state s = {.cursor = {.step = 1}};

    large.graph = (lk_graph){.node = large.node, .param = large.param};
    large.node[0].name = (char[]){"linear1"};
    add_param(&large, 0, "weight", LK_PARAM_WEIGHT, (lk_shape){2, {3, row}});
    EXPECT_OK(lk_alloc_array(3 * row, sizeof(float), "weights", &s.weights));
    EXPECT_OK(lk_alloc_array(3 * row, sizeof(float), "weights", &back));
    for (int64_t i = 0; i < 3 * row; i++)
        s.weights[i] = (float)(i % 1000003);
    EXPECT_OK(lk_checkpoint_write("c", &large.graph, &s, &meta, 0, NULL));
    float *const written = s.weights;
    s.weights = back;
    EXPECT_OK(lk_checkpoint_read("c/step-00000001", &large.graph, &s, NULL));
    cr_expect(memcmp(back, written, (size_t)(3 * row) * sizeof *back) == 0);
    lk_free(written);
    lk_free(back);
}

/* The definition, done by hand. */
static void add_named(lk_hasher *h, const char *name, const lk_shape *shape, const float *data, int64_t count)
{
    const int64_t ndim = shape->ndim;

    lk_hasher_add(h, name, strlen(name) + 1);
    lk_hasher_add(h, &ndim, 8);
    lk_hasher_add(h, shape->dim, (size_t)ndim * 8);
    lk_hasher_add(h, data, (size_t)count * 4);
}

Test(checkpoint, digest_is_what_its_definition_says)
{
    static memory m;
    lk_hash a, b, file;
    lk_cursor cursor;
    lk_hasher *h = NULL;
    char *path = NULL;
    char text[2][LK_HASH_TEXT];

    make_net(&small, 4);
    lk_state s = filled(&small, &m, 250, 3);
    EXPECT_OK(lk_state_digest(&small.graph, &s, &a));
    static const char *const order[] = {"batch_norm1/bias", "batch_norm1/running_mean", "batch_norm1/running_var", "batch_norm1/weight", "conv1/bias",
        "conv1/weight", "linear1/bias", "linear1/weight"};
    static const int param[] = {3, 4, 5, 2, 1, 0, 7, 6};
    static const char *const folder[] = {"optimizer/exp_avg/", "optimizer/exp_avg_sq/", "weights/"};
    EXPECT_OK(lk_hasher_create(&h));
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < PARAMS; i++) {
            const lk_param *p = &small.param[param[i]];
            char name[64];
            if (k < 2 && p->info.kind != LK_PARAM_WEIGHT)
                continue;
            snprintf(name, sizeof name, "%s%s", folder[k], order[i]);
            add_named(h, name, &p->info.shape, (k < 2 ? s.state[k] : s.weights) + p->first, p->count);
        }
    }
    lk_hasher_add(h, &s.cursor.epoch, 8);
    lk_hasher_add(h, &s.cursor.step, 8);
    lk_hash_print(a, text[0]);
    lk_hash_print(lk_hasher_get(h), text[1]);
    EXPECT_TEXT(text[0], text[1]);
    lk_hasher_destroy(&h);

    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 0, &path));
    EXPECT_OK(lk_checkpoint_digest(path, &file, &cursor));
    cr_expect(lk_hash_equal(a, file));
    cr_expect(cursor.step == 250 && cursor.epoch == 2);
    lk_free(path);

    s.weights[small.param[0].first + small.param[0].count] = 3; /* padding */
    s.state[1][small.param[4].first] = 3;                       /* a statistic has no optimizer state */
    EXPECT_OK(lk_state_digest(&small.graph, &s, &b));
    cr_expect(lk_hash_equal(a, b));
    s.cursor.step_in_epoch++;
    EXPECT_OK(lk_state_digest(&small.graph, &s, &b));
    cr_expect(lk_hash_equal(a, b));
    s.cursor.step++;
    EXPECT_OK(lk_state_digest(&small.graph, &s, &b));
    cr_expect(!lk_hash_equal(a, b));
    s.cursor.step--;
    s.state[0][small.param[6].first + 359] += 1;
    EXPECT_OK(lk_state_digest(&small.graph, &s, &b));
    cr_expect(!lk_hash_equal(a, b));
}

Test(checkpoint, equal_states_give_equal_files)
{
    static memory m;
    lk_hash a, b;
    int64_t n;

    make_net(&small, 4);
    const lk_state s = filled(&small, &m, 5, 5);
    EXPECT_OK(lk_checkpoint_write("a", &small.graph, &s, &meta, 0, NULL));
    EXPECT_OK(lk_checkpoint_write("b", &small.graph, &s, &meta, 0, NULL));
    EXPECT_OK(lk_file_hash("a/step-00000005/state.h5", &a, &n));
    EXPECT_OK(lk_file_hash("b/step-00000005/state.h5", &b, &n));
    cr_expect(lk_hash_equal(a, b));
}

Test(checkpoint, every_flipped_bit_is_seen)
{
    static const char manifest[] = "c/step-00000001/manifest.json", state[] = "c/step-00000001/state.h5";

    write_steps(1, 1, 0);
    const int64_t in_manifest = 8 * size_of(manifest), in_state = 8 * size_of(state);
    for (int64_t bit = 0; bit < in_manifest; bit++) {
        flip(manifest, bit);
        cr_expect(lk_checkpoint_verify("c/step-00000001") == LK_E_DATA, "manifest.json, bit %" PRId64, bit);
        flip(manifest, bit);
    }
    for (int64_t bit = 0; bit < in_state; bit += bit < 4096 ? 1 : 61) { /* 61 is prime to 8: every place in a byte */
        flip(state, bit);
        cr_expect(lk_checkpoint_verify("c/step-00000001") == LK_E_DATA, "state.h5, bit %" PRId64, bit);
        flip(state, bit);
    }
    EXPECT_OK(lk_checkpoint_verify("c/step-00000001"));
}

/* Cuts the file to every `stride`-th length, and makes it longer. */
static void expect_cuts_seen(const char *path, int64_t stride)
{
    char *whole = NULL;
    size_t n = 0;

    EXPECT_OK(lk_file_read(path, 0, &whole, &n));
    for (int64_t at = 0; at < (int64_t)n; at += stride) {
        cr_assert(truncate(path, at) == 0);
        cr_expect(lk_checkpoint_verify("c/step-00000001") == LK_E_DATA, "%s cut at %" PRId64, path, at);
        EXPECT_OK(lk_file_write_atomic(path, whole, n));
    }
    cr_assert(truncate(path, (off_t)n + 1) == 0);
    cr_expect(lk_checkpoint_verify("c/step-00000001") == LK_E_DATA, "%s with a byte more", path);
    EXPECT_OK(lk_file_write_atomic(path, whole, n));
    EXPECT_OK(lk_checkpoint_verify("c/step-00000001"));
    lk_free(whole);
}

Test(checkpoint, every_cut_is_seen)
{
    write_steps(1, 1, 0);
    expect_cuts_seen("c/step-00000001/manifest.json", 1);
    expect_cuts_seen("c/step-00000001/state.h5", 499);
}

Test(checkpoint, damage_is_named)
{
    static const char folder[] = "c/step-00000001";
    lk_buf want = {0};

    write_steps(1, 1, 0);
    const int64_t n = size_of("c/step-00000001/state.h5");
    cr_assert(truncate("c/step-00000001/state.h5", 1000) == 0);
    lk_buf_printf(&want, "c/step-00000001: damaged: state.h5: 1000 bytes, manifest says %" PRId64, n);
    EXPECT_FAIL(lk_checkpoint_verify(folder), LK_E_DATA, lk_buf_text(&want));
    EXPECT_FAIL(lk_checkpoint_verify("c/step-00000001/state.h5"), LK_E_DATA, lk_buf_text(&want));
    lk_buf_fini(&want);
    cr_assert(unlink("c/step-00000001/state.h5") == 0);
    EXPECT_FAIL(lk_checkpoint_verify(folder), LK_E_DATA, "c/step-00000001: damaged: state.h5 is missing");
    cr_assert(unlink("c/step-00000001/manifest.json") == 0);
    EXPECT_FAIL(lk_checkpoint_verify(folder), LK_E_DATA, "c/step-00000001: damaged: manifest.json is missing");
    EXPECT_FAIL(lk_checkpoint_verify("c/step-00000002"), LK_E_NOT_FOUND, "c/step-00000002: open checkpoint: No such file or directory");
    EXPECT_FAIL(lk_checkpoint_verify("c/LATEST"), LK_E_FORMAT, "c/LATEST: no checkpoint: neither a step folder nor the state.h5 in one");

    write_steps(3, 3, 0);
    flip("c/step-00000003/state.h5", 8 * 5000);
    EXPECT_FAIL_WITH(lk_checkpoint_verify("c/step-00000003"), LK_E_DATA, "c/step-00000003: damaged: state.h5: its content has the hash ");
}

/* A file that fits its manifest, with an array that does not fit its own hash: written so, by broken memory for instance. */
Test(checkpoint, arrays_are_checked_one_by_one)
{
    static const char state[] = "c/step-00000001/state.h5";
    static memory m, back;
    char *whole = NULL;
    size_t n = 0;
    lk_hash h;
    int64_t bytes;
    char hash[LK_HASH_TEXT];
    lk_buf manifest = {0};

    write_steps(1, 1, 0);
    const lk_state s = filled(&small, &m, 1, 1);
    const float *bias = s.weights + small.param[7].first;
    EXPECT_OK(lk_file_read(state, 0, &whole, &n));
    char *at = memmem(whole, n, bias, 10 * sizeof *bias);
    cr_assert(at != NULL);
    flip(state, 8 * (at - whole));
    lk_free(whole);
    EXPECT_OK(lk_file_hash(state, &h, &bytes));
    lk_hash_print(h, hash);
    lk_buf_printf(&manifest, "{\"file\":\"state.h5\",\"bytes\":%" PRId64 ",\"xxh3\":\"%s\"", bytes, hash);
    lk_hash_print(lk_hash128(manifest.text, manifest.len), hash);
    lk_buf_printf(&manifest, ",\"manifest\":\"%s\"}\n", hash);
    EXPECT_OK(lk_file_write_atomic("c/step-00000001/manifest.json", manifest.text, manifest.len));
    lk_buf_fini(&manifest);

    EXPECT_FAIL_WITH(lk_checkpoint_verify("c/step-00000001"), LK_E_DATA, "damaged: state.h5: array \"weights/linear1/bias\" has the hash ");
    lk_state r = state_in(&back);
    EXPECT_FAIL_WITH(lk_checkpoint_read("c/step-00000001", &small.graph, &r, NULL), LK_E_DATA, "array \"weights/linear1/bias\" has the hash ");
    cr_expect(lk_checkpoint_digest("c/step-00000001", &h, NULL) == LK_E_DATA);
}

Test(checkpoint, the_newest_good_one_is_found)
{
    lk_buf want = {0};

    expect_found(NULL); /* no folder yet */
    write_steps(118, 120, 0);
    expect_found("c/step-00000120");
    EXPECT_TEXT(said, "");

    const int64_t n = size_of("c/step-00000120/state.h5");
    cr_assert(truncate("c/step-00000120/state.h5", 1023) == 0);
    expect_found("c/step-00000119");
    lk_buf_printf(&want, "lockstep: checkpoint c/step-00000120 is damaged (state.h5: 1023 bytes, manifest says %" PRId64 "); taking the one before\n", n);
    EXPECT_TEXT(said, lk_buf_text(&want));

    flip("c/step-00000119/manifest.json", 100);
    expect_found("c/step-00000118");
    EXPECT_HAS(said, "is damaged (manifest.json: its ");
    cr_assert(unlink("c/step-00000118/manifest.json") == 0);
    expect_found(NULL);
    EXPECT_HAS(said, "checkpoint c/step-00000118 is damaged (manifest.json is missing); there is none before it\n");
    lk_buf_fini(&want);
}

static void put(const char *path, const char *text)
{
    EXPECT_OK(lk_file_write_atomic(path, text, strlen(text)));
}

Test(checkpoint, latest_says_where_to_begin)
{
    write_steps(99999998, 100000001, 0); /* beyond eight digits the names do not sort */
    expect_found("c/step-100000001");
    put("c/LATEST", "step-99999999\n");
    expect_found("c/step-99999999");
    EXPECT_TEXT(said, "");
    put("c/LATEST", "step-100000007");
    expect_found("c/step-100000001");
    EXPECT_TEXT(said, "lockstep: c/LATEST names step-100000007, which is not there; taking the newest good one\n");
    put("c/LATEST", "../../elsewhere");
    expect_found("c/step-100000001");
    EXPECT_TEXT(said, "lockstep: c/LATEST does not name a checkpoint; taking the newest good one\n");
    put("c/LATEST", "");
    expect_found("c/step-100000001");
    cr_assert(unlink("c/LATEST") == 0);
    expect_found("c/step-100000001");
    EXPECT_TEXT(said, "");
    put("c/LATEST", "step-00000001\n"); /* all there are come after it: a broken LATEST must not restart a run */
    expect_found("c/step-100000001");
    EXPECT_HAS(said, "which is not there");

    /* Training again from an earlier point: what lies beyond does not count, and is not removed. */
    write_steps(50, 51, 1);
    expect_found("c/step-00000051");
    expect_names("c", "LATEST step-00000051 step-100000000 step-100000001 step-99999998 step-99999999");
}

Test(checkpoint, the_newest_ones_are_kept)
{
    write_steps(1, 5, 2);
    expect_names("c", "LATEST step-00000004 step-00000005");
    write_steps(6, 8, 0);
    expect_names("c", "LATEST step-00000004 step-00000005 step-00000006 step-00000007 step-00000008");

    /* A damaged one is no good one: with two to keep, 9 and 7 stay. */
    flip("c/step-00000008/state.h5", 8 * 3000);
    write_steps(9, 9, 2);
    expect_names("c", "LATEST step-00000007 step-00000008 step-00000009");
    write_steps(10, 10, 1);
    expect_names("c", "LATEST step-00000010");
}

Test(checkpoint, the_same_step_is_replaced)
{
    static memory m;
    lk_hash is, want;

    write_steps(4, 5, 0);
    flip("c/step-00000005/state.h5", 8 * 3000);
    const lk_state s = filled(&small, &m, 5, 1000);
    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 0, NULL));
    expect_names("c", "LATEST step-00000004 step-00000005");
    EXPECT_OK(lk_state_digest(&small.graph, &s, &want));
    EXPECT_OK(lk_checkpoint_digest("c/step-00000005", &is, NULL));
    cr_expect(lk_hash_equal(is, want));
}

Test(checkpoint, another_model_is_refused)
{
    static net other;
    static memory m, before;
    lk_state s = state_in(&m);

    write_steps(1, 1, 0);
    memset(&m, 0x11, sizeof m);
    memcpy(&before, &m, sizeof m);
    make_net(&other, 6);
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &other.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another model: weights/batch_norm1/bias is [4] in it and [6] by the config");
    make_net(&other, 4);
    other.param[0].info.shape = (lk_shape){2, {4, 9}};
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &other.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another model: weights/conv1/weight is [4,1,3,3] in it and [4,9] by the config");
    make_net(&other, 4);
    other.node[1].name = (char[]){"conv9"};
    name_params(&other);
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &other.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another model: it holds weights/conv1/bias [4], which the config has no place for");
    make_net(&other, 4);
    other.graph.n_params--;
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &other.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another model: it holds weights/linear1/bias [10], which the config has no place for");
    make_net(&other, 4);
    add_param(&other, 0, "scale", LK_PARAM_WEIGHT, (lk_shape){1, {10}});
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &other.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another model: weights/linear1/scale [10] of the config is not in it");
    s.n_state = 1;
    s.state_name[0] = "momentum_buffer";
    EXPECT_FAIL(lk_checkpoint_read("c/step-00000001", &small.graph, &s, NULL), LK_E_CONFIG,
        "c/step-00000001: made by another optimizer: it holds optimizer/exp_avg/batch_norm1/bias [4], which the config has no place for");
    cr_expect(memcmp(&m, &before, sizeof m) == 0 && s.cursor.step == 0);
}

Test(checkpoint, leftovers_of_dead_writers_go)
{
    char name[4][64];
    const pid_t gone = fork();

    if (gone == 0)
        _exit(0);
    cr_assert(waitpid(gone, NULL, 0) == gone);
    snprintf(name[0], sizeof name[0], "c/step-00000009.tmp.%d", (int)gone);
    snprintf(name[1], sizeof name[1], "c/step-00000008.old.tmp.%d", (int)gone);
    snprintf(name[2], sizeof name[2], "c/LATEST.tmp.%d", (int)gone);
    snprintf(name[3], sizeof name[3], "c/step-00000007.tmp.%d", (int)getppid());
    EXPECT_OK(lk_dir_create(name[0]));
    EXPECT_OK(lk_dir_create(name[1]));
    EXPECT_OK(lk_dir_create(name[3]));
    EXPECT_OK(lk_dir_create("c/step-notes.tmp.x"));
    put("c/x", "x");
    cr_assert(rename("c/x", name[2]) == 0);
    write_steps(1, 1, 1);
    cr_expect(!lk_file_exists(name[0]) && !lk_file_exists(name[1]) && !lk_file_exists(name[2]));
    cr_expect(lk_file_exists(name[3]) && lk_file_exists("c/step-notes.tmp.x"));
}

static void expect_no_leftover(void)
{
    char **names = NULL;
    int n = 0;

    EXPECT_OK(lk_dir_list("c", &names, &n));
    for (int i = 0; i < n; i++)
        cr_expect(strstr(names[i], ".tmp.") == NULL, "%s is left", names[i]);
    lk_strings_free(&names, n);
}

Test(checkpoint, a_failed_write_leaves_the_old_one)
{
    static memory m;
    int64_t failed = 0;

    put("plain", "x");
    make_net(&small, 4);
    lk_state s = filled(&small, &m, 1, 1);
    EXPECT_FAIL_WITH(lk_checkpoint_write("plain/c", &small.graph, &s, &meta, 1, NULL), LK_E_IO, "plain");

    write_steps(1, 1, 1);
    s = filled(&small, &m, 2, 2);
    const int64_t bytes = lk_mem_bytes();
    const int64_t count = lk_mem_count();
    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 0, NULL));
    const int64_t allocations = lk_mem_count() - count;
    const int saved = dup(STDERR_FILENO);
    hear(); /* a cleaning up that fails is told, and is not the failure */
    for (int64_t n = 1; n <= allocations + 1; n++) {
        char *path = NULL;
        EXPECT_OK(lk_dir_remove("c/step-00000002"));
        put("c/LATEST", "step-00000001\n");
        lk_mem_fail_at(n);
        const lk_status st = lk_checkpoint_write("c", &small.graph, &s, &meta, 1, &path);
        lk_mem_fail_at(0);
        failed += st != LK_OK;
        cr_expect(st == LK_OK || (st == LK_E_NOMEM && path == NULL), "allocation %" PRId64 ": %s", n, lk_err_last()->message);
        expect_no_leftover();
        lk_free(path);
        if (st == LK_OK)
            lk_free(write_step(1, 0)); /* keep 1 has removed it */
        EXPECT_OK(lk_checkpoint_verify("c/step-00000001"));
    }
    heard(saved);
    cr_expect(failed > allocations / 2, "%" PRId64 " of %" PRId64, failed, allocations);
    cr_expect(lk_mem_bytes() == bytes, "%" PRId64 " bytes are lost", lk_mem_bytes() - bytes);
}

/* A full disk; the limit on the size of files stands for it. In a process of its own, since HDF5 keeps the memory of a file that it could
 * not close. */
static int write_to_full_disk(rlim_t limit, const lk_state *s)
{
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit}) != 0)
        return 1;
    if (lk_checkpoint_write("c", &small.graph, s, &meta, 1, NULL) != LK_E_IO)
        return 2;
    const char *says = lk_err_last()->message;
    return strstr(says, "state.h5: write: File too large") != NULL && strchr(says, '\n') == NULL ? 0 : 3;
}

Test(checkpoint, a_full_disk_leaves_the_old_one)
{
    static memory m;
    static const rlim_t limit[] = {0, 3000, 12000};

    write_steps(1, 1, 1);
    const lk_state s = filled(&small, &m, 2, 2);
    for (int i = 0; i < 3; i++) {
        const pid_t child = fork();
        int status;

        if (child == 0)
            _exit(write_to_full_disk(limit[i], &s));
        cr_assert(waitpid(child, &status, 0) == child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "limit %d: status %x", (int)limit[i], (unsigned)status);
        expect_names("c", "LATEST step-00000001");
        EXPECT_OK(lk_checkpoint_verify("c/step-00000001"));
    }
    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 1, NULL));
    expect_names("c", "LATEST step-00000002");
}

/* Whenever the writer is killed, the newest one it had finished, or the next, is found, and nothing needs repair. */
Test(checkpoint, killed_at_any_moment)
{
    int64_t first = 2;

    write_steps(1, 1, 2);
    for (int i = 0; i < 20; i++) {
        char *path = NULL;
        const pid_t child = fork();

        if (child == 0) {
            for (int64_t step = first;; step++)
                write_steps(step, step, 2);
        }
        usleep(2000 + 3331 * (useconds_t)i);
        cr_assert(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        const int saved = dup(STDERR_FILENO);
        hear();
        const lk_status st = lk_checkpoint_find("c", &path);
        heard(saved);
        EXPECT_OK(st);
        EXPECT_TEXT(said, "");
        cr_assert(path != NULL);
        const int64_t step = atoll(strrchr(path, '-') + 1);
        cr_expect(step >= first - 1, "%s, after step %" PRId64, path, first - 1);
        first = step + 1;
        lk_free(path);
    }
    write_steps(first, first, 2);
    expect_no_leftover();
}

Test(checkpoint, show_tells_what_is_in_it)
{
    lk_buf text = {0}, json = {0};
    lk_hash h;
    char digest[LK_HASH_TEXT];

    write_steps(1234, 1234, 0);
    EXPECT_OK(lk_checkpoint_digest("c/step-00001234", &h, NULL));
    lk_hash_print(h, digest);
    EXPECT_OK(lk_checkpoint_show("c/step-00001234", false, &text));
    EXPECT_HAS(text.text, "checkpoint c/step-00001234: good\n  step        1234 (34 of epoch 12)\n");
    EXPECT_HAS(text.text, digest);
    EXPECT_HAS(text.text, "  batch       64 in 8 microbatches, of 1000 samples\n");
    EXPECT_HAS(text.text, "  weights/conv1/bias                       [4]");
    EXPECT_HAS(text.text, "  weights/conv1/weight                     [4,1,3,3]");
    EXPECT_HAS(text.text, "  optimizer/exp_avg_sq/linear1/weight      [10,36]");
    EXPECT_HAS(text.text, ", 2 not finite\n");
    EXPECT_OK(lk_checkpoint_show("c/step-00001234/state.h5", true, &json));
    EXPECT_HAS(json.text, "{\"checkpoint\":\"c/step-00001234\",\"step\":1234,\"epoch\":12,\"step_in_epoch\":34,\"digest\":\"");
    EXPECT_HAS(json.text, "\"config\":\"run: {name: t}\\n\"");
    EXPECT_HAS(json.text, "{\"name\":\"weights/linear1/weight\",\"shape\":[10,36],\"count\":360,\"xxh3\":\"");
    cr_expect(strchr(json.text, '\n') == json.text + json.len - 1);
    flip("c/step-00001234/state.h5", 8 * 3000);
    cr_expect(lk_checkpoint_show("c/step-00001234", false, &text) == LK_E_DATA);
    lk_buf_fini(&text);
    lk_buf_fini(&json);
}

Test(checkpoint, diff_tells_what_differs)
{
    static memory m;
    static net other;
    lk_buf text = {0};
    bool same = false;

    make_net(&small, 4);
    lk_state s = filled(&small, &m, 5, 5);
    EXPECT_OK(lk_checkpoint_write("a", &small.graph, &s, &meta, 0, NULL));
    EXPECT_OK(lk_checkpoint_write("b", &small.graph, &s, &meta, 0, NULL));
    EXPECT_OK(lk_checkpoint_diff("a/step-00000005", "b/step-00000005", false, &text, &same));
    cr_expect(same);
    EXPECT_HAS(text.text, "the same: 20 arrays, step 5, digest ");
    lk_buf_clear(&text);
    EXPECT_OK(lk_checkpoint_diff("a/step-00000005", "b/step-00000005", true, &text, &same));
    EXPECT_TEXT(text.text, "{\"same\":true,\"step\":[5,5],\"epoch\":[0,0],\"arrays\":20,\"differ\":[]}\n");

    s.weights[small.param[7].first] = 0.5f;
    s.weights[small.param[7].first + 1] = 0;
    EXPECT_OK(lk_checkpoint_write("a", &small.graph, &s, &meta, 0, NULL));
    s.weights[small.param[7].first] = 0.75f;
    s.weights[small.param[7].first + 1] = -0.0f; /* other bits, no distance */
    s.weights[0] = NAN;
    s.cursor.step = 6;
    EXPECT_OK(lk_checkpoint_write("b", &small.graph, &s, &meta, 0, NULL));
    lk_buf_clear(&text);
    EXPECT_OK(lk_checkpoint_diff("a/step-00000005", "b/step-00000006", false, &text, &same));
    cr_expect(!same);
    EXPECT_TEXT(text.text,
        "step 5, epoch 0 against step 6, epoch 0\n"
        "  weights/conv1/weight                     [4,1,3,3]  1 of 36 elements differ, by up to inf\n"
        "  weights/linear1/bias                     [10]       2 of 10 elements differ, by up to 0.25\n"
        "2 of 20 arrays differ\n");
    lk_buf_clear(&text);
    EXPECT_OK(lk_checkpoint_diff("a/step-00000005", "b/step-00000006", true, &text, &same));
    EXPECT_HAS(text.text, "{\"name\":\"weights/conv1/weight\",\"a\":[4,1,3,3],\"b\":[4,1,3,3],\"elements\":1,\"largest\":null}");
    EXPECT_HAS(text.text, "{\"name\":\"weights/linear1/bias\",\"a\":[10],\"b\":[10],\"elements\":2,\"largest\":0.25}");

    make_net(&other, 4);
    other.param[6].info.shape = (lk_shape){2, {36, 10}};
    other.node[1].name = (char[]){"conv2"};
    name_params(&other);
    s.n_state = 0;
    EXPECT_OK(lk_checkpoint_write("d", &other.graph, &s, &meta, 0, NULL));
    lk_buf_clear(&text);
    EXPECT_OK(lk_checkpoint_diff("b/step-00000006", "d/step-00000006", false, &text, &same));
    cr_expect(!same);
    EXPECT_HAS(text.text, "  weights/conv1/bias                       [4]        only in the first\n");
    EXPECT_HAS(text.text, "  weights/conv2/bias                       [4]        only in the second\n");
    EXPECT_HAS(text.text, "  weights/linear1/weight                   [10,36]    against [36,10]\n");
    EXPECT_HAS(text.text, "17 of 22 arrays differ\n");
    lk_buf_fini(&text);
}

Test(checkpoint, other_tools_read_it)
{
    char line[256];
    lk_buf out = {0};

    write_steps(1, 1, 0);
    if (system("h5ls -V >/dev/null 2>&1") != 0)
        cr_skip_test("h5ls is not installed (package hdf5-tools)");
    FILE *p = popen("h5ls -r c/step-00000001/state.h5 && h5dump -a /digest -a /config -a /weights/linear1/bias/xxh3 c/step-00000001/state.h5", "r");
    cr_assert(p != NULL);
    while (fgets(line, sizeof line, p) != NULL)
        lk_buf_add(&out, line);
    cr_expect(pclose(p) == 0);
    EXPECT_HAS(out.text, "/optimizer/exp_avg/conv1/weight Dataset {4, 1, 3, 3}");
    EXPECT_HAS(out.text, "/weights/batch_norm1/running_var Dataset {4}");
    EXPECT_HAS(out.text, "run: {name: t}");
    lk_buf_fini(&out);
}

/* ---- what evaluations have led to ---- */
Test(checkpoint, the_best_stay_and_are_named)
{
    static memory m, back;
    char *latest = NULL;

    make_net(&small, 4);
    for (int64_t step = 1; step <= 6; step++) {
        lk_state s = filled(&small, &m, step, (uint32_t)step);
        s.watch = (lk_watch){.lr_factor = 0.125, .lr_best = INFINITY, .lr_since = 3, .stop_best = -0.1, .stop_since = 2};
        s.watch.n_best = step < 2 ? 0 : step < 4 ? 1 : 2; /* 2 is the best, 4 the next */
        s.watch.best[0].step = 2;
        s.watch.best[0].score = 0.1;
        s.watch.best[1].step = 4;
        s.watch.best[1].score = 1 / 3.0;
        EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 1, NULL));
    }
    expect_names("c", "BEST LATEST step-00000002 step-00000004 step-00000006");
    lk_state r = state_in(&back);
    EXPECT_OK(lk_checkpoint_read("c/step-00000006", &small.graph, &r, NULL));
    const lk_watch *w = &r.watch;
    cr_assert(w->lr_factor == 0.125 && w->lr_best == INFINITY && w->lr_since == 3 && w->stop_best == -0.1 && w->stop_since == 2);
    cr_assert(w->n_best == 2 && w->best[0].step == 2 && w->best[0].score == 0.1 && w->best[1].step == 4 && w->best[1].score == 1 / 3.0);
    EXPECT_OK(lk_file_read("c/BEST", 0, &latest, NULL));
    cr_assert_str_eq(latest, "step-00000002\n");
    lk_free(latest);
}

/* Running means: for weights alone, in the digest, refused where the config is another. */
Test(checkpoint, running_means)
{
    static memory m, back;
    static float ema[FLAT_MAX], ema_back[FLAT_MAX];
    lk_hash without, with;
    char *path = NULL;

    make_net(&small, 4);
    lk_state s = filled(&small, &m, 3, 3), r = state_in(&back);
    EXPECT_OK(lk_state_digest(&small.graph, &s, &without));
    for (int i = 0; i < FLAT_MAX; i++)
        ema[i] = (float)i * 0.5f;
    s.ema = ema;
    EXPECT_OK(lk_state_digest(&small.graph, &s, &with));
    cr_assert(!lk_hash_equal(with, without));
    EXPECT_OK(lk_checkpoint_write("c", &small.graph, &s, &meta, 1, &path));
    EXPECT_OK(lk_checkpoint_verify(path));
    EXPECT_FAIL_WITH(lk_checkpoint_read(path, &small.graph, &r, NULL), LK_E_CONFIG,
        "c/step-00000003: holds running means of the weights (ema/batch_norm1/bias): it was made with train.ema, which the config does not set");
    r.ema = ema_back;
    EXPECT_OK(lk_checkpoint_read(path, &small.graph, &r, NULL));
    for (int i = 0; i < small.graph.n_params; i++) {
        const lk_param *p = &small.param[i];
        const float *want = p->info.kind == LK_PARAM_WEIGHT ? ema : m.weights;
        cr_assert(memcmp(ema_back + p->first, want + p->first, (size_t)p->count * sizeof(float)) == 0, "%s", p->info.suffix);
    }
    /* To evaluate, without the optimizer's state. */
    memset(ema_back, 0, sizeof ema_back);
    r.n_state = 0;
    EXPECT_OK(lk_checkpoint_read(path, &small.graph, &r, NULL));
    cr_assert(memcmp(ema_back + small.param[0].first, ema + small.param[0].first, (size_t)small.param[0].count * sizeof(float)) == 0);
    r.ema = NULL;
    EXPECT_OK(lk_checkpoint_read(path, &small.graph, &r, NULL));
    lk_free(path);

    s.ema = NULL;
    EXPECT_OK(lk_checkpoint_write("d", &small.graph, &s, &meta, 1, &path));
    r.ema = ema_back;
    EXPECT_FAIL_WITH(lk_checkpoint_read(path, &small.graph, &r, NULL), LK_E_CONFIG,
        "d/step-00000003: holds no running means of the weights (ema/batch_norm1/bias): it was made without train.ema");
    lk_free(path);
}
