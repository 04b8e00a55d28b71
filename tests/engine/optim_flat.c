/* An update of many parameters in one call on a CUDA backend, against the same parameter by parameter: the same bits, in few launches. */
#include "cuda/cuda.h"
#include "engine/nets.h"
#include "engine/optim.h"

#include "base/mem.h"
#include "base/rng.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const lk_backend *device;
static uint64_t (*launches)(void); /* of the stand-in; NULL on a GPU */

static void setup(void)
{
    const lk_cuda_module *m = NULL;

    OK(lk_cuda_load(&m));
    OK(m->open(0, LK_PRECISION_FP32, &device));
    void *const handle = dlopen(getenv("LOCKSTEP_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD); /* the same, open already */
    cr_assert(handle != NULL, "%s", dlerror());
    *(void **)&launches = dlsym(handle, "standin_launches");
}

/* Like a GPT: norms, residual sums, layers with and without bias. */
static lk_graph *net_deep(int blocks)
{
    lk_graph *g = NULL;
    int x, t, h;
    char name[32];

    OK(lk_graph_create(2, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {6}}, LK_DT_I64, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {6}}, LK_DT_I64, &t));
    h = net_add(g, "embedding", LK_OP_EMBEDDING, (lk_attrs){.embedding = {.size = 9, .units = 20, .deviation = 1}}, x, 0);
    for (int i = 0; i < blocks; i++) {
        snprintf(name, sizeof name, "norm%d", i);
        int a = net_add(g, name, LK_OP_LAYER_NORM, (lk_attrs){.norm = {.eps = 1e-5, .bias = true}}, h, 0);
        snprintf(name, sizeof name, "up%d", i);
        a = net_add(g, name, LK_OP_LINEAR, LINEAR(64), a, 0);
        snprintf(name, sizeof name, "down%d", i);
        a = net_add(g, name, LK_OP_LINEAR, LINEAR(20), a, 0);
        snprintf(name, sizeof name, "add%d", i);
        h = net_add(g, name, LK_OP_ADD, NO_ATTR, h, a);
    }
    h = net_add(g, "head", LK_OP_LINEAR, LINEAR(9), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* ---- a model's arrays, padding 0 ---- */
enum { WEIGHTS, STATE, SUM = STATE + LK_MAX_OPT_STATE, MEAN, ARRAYS };
typedef struct arrays {
    float *at[ARRAYS]; /* on the device */
} arrays;

static void fill(const lk_graph *g, int which, uint64_t turn, float *x)
{
    memset(x, 0, (size_t)g->flat * sizeof *x);
    for (int i = 0; i < g->n_params; i++)
        for (int64_t e = g->param[i].first; e < g->param[i].first + g->param[i].count; e++) {
            const double v = lk_rng_normal(lk_rng_make(turn, LK_RNG_TEST, (uint64_t)which), (uint64_t)e);

            x[e] = (float)(which == STATE || which == STATE + 1 ? fabs(v) : v); /* squares are among the states */
        }
}

static void bring(const lk_graph *g, arrays *a, int which, uint64_t turn)
{
    const size_t bytes = (size_t)g->flat * sizeof(float);
    float *x = malloc(bytes);

    fill(g, which, turn, x);
    if (a->at[which] == NULL)
        OK(lk_space_alloc(device->space, bytes, "test", &a->at[which]));
    OK(lk_space_copy(device->space, a->at[which], x, bytes, LK_COPY_IN));
    OK(lk_space_wait(device->space));
    free(x);
}

static arrays make_arrays(const lk_graph *g)
{
    arrays a = {{NULL}};

    for (int i = 0; i < ARRAYS; i++)
        bring(g, &a, i, 1);
    return a;
}

static void free_arrays(arrays *a)
{
    for (int i = 0; i < ARRAYS; i++)
        lk_space_free(device->space, a->at[i]);
}

static void update(const lk_optim *o, const lk_optim_step *s, const arrays *a, int64_t first, int64_t end)
{
    lk_optim_update(o, s, first, end, a->at[WEIGHTS] + first, (void *const[]){a->at[STATE] + first, a->at[STATE + 1] + first}, a->at[SUM] + first);
    lk_optim_average(o, 0.9, s->t, first, end, a->at[WEIGHTS] + first, a->at[MEAN] + first);
}

static void same(const lk_graph *g, const arrays *a, const arrays *b, const char *what)
{
    const size_t bytes = (size_t)g->flat * sizeof(float);
    float *x = malloc(bytes), *y = malloc(bytes);

    for (int k = 0; k < ARRAYS; k++) {
        if (k == SUM) /* may be changed on the way */
            continue;
        OK(lk_space_copy(device->space, x, a->at[k], bytes, LK_COPY_OUT));
        OK(lk_space_copy(device->space, y, b->at[k], bytes, LK_COPY_OUT));
        for (int i = 0; i < g->n_params; i++) {
            const lk_param *p = &g->param[i];
            const int64_t next = i + 1 < g->n_params ? g->param[i + 1].first : g->flat;

            for (int64_t e = p->first; e < next; e++) {
                cr_assert(memcmp(&x[e], &y[e], sizeof *x) == 0, "%s: array %d, %s, element %d: %.9g and %.9g", what, k, p->name, (int)(e - p->first), (double)x[e], (double)y[e]);
                if (e >= p->first + p->count)
                    cr_assert(x[e] == 0, "%s: array %d: padding of %s is %g", what, k, p->name, (double)x[e]);
                else
                    cr_assert(isfinite(x[e]), "%s: array %d, %s", what, k, p->name);
            }
        }
    }
    free(x);
    free(y);
}

/* Three steps of both; the table's in slices, as ranks have them. */
static void compare(const lk_graph *g, lk_optim o, const char *what)
{
    const int64_t tiles = g->flat / LK_TILE;
    lk_optim by_table = o;
    arrays a = make_arrays(g), b = make_arrays(g);

    OK(lk_optim_prepare(&by_table));
    cr_assert_not_null(by_table.table, "%s", what);
    for (int64_t t = 1; t <= 3; t++) {
        const lk_optim_step step = {.lr = 0.01 / (double)t, .t = t, .grad_scale = 0.7, .stat_count = 4};

        bring(g, &a, SUM, (uint64_t)t + 1);
        bring(g, &b, SUM, (uint64_t)t + 1);
        update(&o, &step, &a, 0, g->flat);
        for (int64_t from = 0, to; t > 1 && from < tiles; from = to) { /* the first step in one piece */
            to = from + 1 + (int64_t)(lk_rng_word(lk_rng_make(9, LK_RNG_TEST, (uint64_t)t), (uint64_t)from) % 7);
            to = to < tiles ? to : tiles;
            update(&by_table, &step, &b, from * LK_TILE, to * LK_TILE);
        }
        if (t == 1)
            update(&by_table, &step, &b, 0, g->flat);
    }
    same(g, &a, &b, what);
    free_arrays(&a);
    free_arrays(&b);
    lk_optim_fini(&by_table);
}

/* Rates and decays are drawn: of a few groups, or of more than one call takes. */
static void draw_rules(const lk_graph *g, int rates, lk_opt_rule *rule)
{
    for (int i = 0; i < g->n_params; i++) {
        const uint32_t w = lk_rng_word(lk_rng_make(4, LK_RNG_TEST, 4), (uint64_t)i);

        rule[i].lr = 1 + 0.25 * (double)(w % (uint32_t)rates);
        rule[i].weight_decay = w >> 16 & 1 ? 0.1 : 0;
    }
}

Test(optim_flat, same_bits_as_one_parameter_after_the_other, .init = setup)
{
    lk_graph *nets[] = {net_cnn(2), net_deep(4), net_deep(12)};

    for (size_t n = 0; n < sizeof nets / sizeof nets[0]; n++) {
        lk_graph *const g = nets[n];
        lk_opt_rule *rule = NULL;

        OK(lk_optim_rules(g, 0.1, &rule));
        draw_rules(g, n == 2 ? 40 : 2, rule);
        g->param[3].frozen = g->param[g->n_params - 1].frozen = true;
        for (lk_opt kind = 0; kind < LK_OPT_COUNT; kind++)
            for (int noisy = 0; noisy < 2; noisy++) {
                const lk_optim o = {.graph = g, .backend = device, .kind = kind, .rule = rule, .momentum = 0.9, .nesterov = kind == LK_OPT_SGD && noisy, .beta1 = 0.9, .beta2 = 0.99, .clip_value = noisy ? 1.2 : 0, .noise = noisy ? 0.01 : 0, .noise_decay = 0.5, .seed = 5};

                if (lk_opt_get(kind)->whole || (n > 0 && kind != LK_OPT_ADAMW && kind != LK_OPT_SGD))
                    continue;
                compare(g, o, lk_opt_get(kind)->name);
            }
        lk_free(rule);
        lk_graph_destroy(&nets[n]);
    }
}

/* Those that take whole parameters, and backends to whom a call costs nothing, have no table; their update is the usual one. */
Test(optim_flat, not_for_all, .init = setup)
{
    lk_graph *g = net_cnn(2);
    lk_opt_rule *rule = NULL;

    OK(lk_optim_rules(g, 0.1, &rule));
    for (lk_opt kind = 0; kind < LK_OPT_COUNT; kind++) {
        lk_optim on_gpu = {.graph = g, .backend = device, .kind = kind, .rule = rule}, on_cpu = {.graph = g, .backend = &lk_backend_cpu, .kind = kind, .rule = rule};

        OK(lk_optim_prepare(&on_gpu));
        OK(lk_optim_prepare(&on_cpu));
        cr_assert_eq(on_gpu.table == NULL, lk_opt_get(kind)->whole, "%s", lk_opt_get(kind)->name);
        cr_assert_eq(lk_optim_table_bytes(&on_gpu) == 0, lk_opt_get(kind)->whole);
        cr_assert_null(on_cpu.table);
        cr_assert_eq(lk_optim_table_bytes(&on_cpu), 0);
        lk_optim_fini(&on_gpu);
        lk_optim_fini(&on_cpu);
    }
    lk_free(rule);
    lk_graph_destroy(&g);
}

Test(optim_flat, launches_do_not_grow_with_the_parameters, .init = setup)
{
    if (launches == NULL)
        cr_skip_test("launches are counted on the stand-in");
    for (int blocks = 1; blocks <= 16; blocks *= 4)
        for (int noisy = 0; noisy < 2; noisy++) {
            lk_graph *g = net_deep(blocks);
            lk_opt_rule *rule = NULL;
            const lk_optim_step step = {.lr = 0.01, .t = 1, .grad_scale = 1};

            OK(lk_optim_rules(g, 0.1, &rule)); /* two groups */
            lk_optim o = {.graph = g, .backend = device, .kind = LK_OPT_ADAMW, .rule = rule, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .noise = noisy};
            arrays a = make_arrays(g);
            uint64_t before = launches();

            update(&o, &step, &a, 0, g->flat);
            cr_assert_eq(launches() - before, (uint64_t)(g->n_params * (noisy ? 3 : 2)));
            OK(lk_optim_prepare(&o));
            before = launches();
            update(&o, &step, &a, 0, g->flat);
            cr_assert_eq(launches() - before, 2, "%d launches of %d parameters", (int)(launches() - before), g->n_params);
            OK(lk_space_wait(device->space));
            lk_optim_fini(&o);
            free_arrays(&a);
            lk_free(rule);
            lk_graph_destroy(&g);
        }
}
