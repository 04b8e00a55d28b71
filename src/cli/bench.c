/* lockstep bench step|reduce|products */
#include "cli/cli_int.h"

#include "base/mem.h"
#include "comm/bench.h"
#include "cuda/cuda.h"

#include <inttypes.h>

/* ---- step ---- */

typedef struct step_opts {
    char *config;
    lk_strings set;
    int64_t steps, warmup;
    bool profile, json;
} step_opts;

static const lk_field step_rows[] = {
    LKI_CONFIG_ROW(step_opts),
    LKI_SET_ROW(step_opts),
    LK_FIELD(step_opts, steps, LK_T_INT, .def = "20", .min = 1, .max = 1e6, .help = "Steps that are timed."),
    LK_FIELD(step_opts, warmup, LK_T_INT, .def = "5", .min = 0, .max = 1e6, .help = "Steps before those, not timed."),
    LK_FIELD(step_opts, profile, LK_T_BOOL, .def = "false",
        .help = "Times each operation of a step, too (on one thread of rank 0)."),
    LKI_JSON_ROW(step_opts),
};
static const lk_table step_table = LK_TABLE(step_opts, "lockstep bench step",
    "Times training steps: data, compute, reduction, update. Writes nothing.", step_rows);

/* The plan's operations, each with its time; NULL when memory is out. */
static json_t *profile(const lk_run *run, const lk_bench_step_result *r)
{
    lk_buf text = {0};

    const lk_status st = lk_run_describe(run, true, &text);
    json_t *plan = st == LK_OK ? json_loads(lk_buf_text(&text), 0, NULL) : NULL;
    lk_buf_fini(&text);
    json_t *operations = json_incref(json_object_get(plan, "operations"));
    json_decref(plan);
    for (int i = 0; i < r->n_instr; i++)
        json_object_set_new(json_array_get(operations, (size_t)i), "ms", json_real(r->instr_ms[i]));
    return operations;
}

static void add_profile(json_t *operations, lk_buf *out)
{
    size_t i;
    json_t *op;
    double total = 0;

    json_array_foreach(operations, i, op) total += json_number_value(json_object_get(op, "ms"));
    lk_buf_printf(out, "\n%-10s %-20s %-20s %10s %7s\n", "pass", "layer", "operation", "ms a step", "share");
    json_array_foreach(operations, i, op)
    {
        const double ms = json_number_value(json_object_get(op, "ms"));
        lk_buf_printf(out, "%-10s %-20s %-20s %10.4f %6.1f%%\n", json_string_value(json_object_get(op, "pass")),
            json_string_value(json_object_get(op, "layer")), json_string_value(json_object_get(op, "op")), ms,
            100 * ms / total);
    }
}

static lk_status say_step(const lk_config *c, const lk_run *run, const lk_bench_step_result *r, bool json)
{
    json_t *operations = r->n_instr > 0 ? profile(run, r) : NULL;
    lk_buf b = {0};

    if (json)
        return lki_print_json(json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:o*}", "name", c->run.name,
            "samples_per_s", r->samples_per_s, "ms_median", r->ms_median, "ms_min", r->ms_min, "ms_max", r->ms_max,
            "gflops", r->gflops, "threads", r->threads, "nranks", r->nranks, "profile", operations));
    lk_buf_printf(&b, "%s: %.4g samples/s, %.3f ms a step (%.3f to %.3f), %.1f GFLOP/s on %d rank%s of %d thread%s\n",
        c->run.name, r->samples_per_s, r->ms_median, r->ms_min, r->ms_max, r->gflops, r->nranks,
        r->nranks == 1 ? "" : "s", r->threads, r->threads == 1 ? "" : "s");
    if (operations != NULL)
        add_profile(operations, &b);
    json_decref(operations);
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run_step(const lki_parsed *p)
{
    const step_opts *o = p->opts;
    const lki_session_opts open = {
        .config = o->config, .set = &o->set, .resume = "never", .mode = LK_RUN_BENCH, .json = o->json, .quiet = true};
    lk_bench_step_result r = {0};
    lki_session s;
    lk_status st;

    const int code = lki_session_open(&open, &s);
    if (code != 0)
        return code;
    st = lk_run_bench(s.run, (int)o->warmup, (int)o->steps, o->profile, &r);
    if (st == LK_OK)
        st = lk_comm_agree(s.comm, lk_comm_rank(s.comm) == 0 ? say_step(s.config, s.run, &r, o->json) : LK_OK);
    lk_free(r.instr_ms);
    return lki_session_close(&s, st, LKI_EXIT_OK);
}

/* ---- reduce ---- */

typedef struct reduce_opts {
    lk_ints bytes;
    int64_t iterations;
    bool json;
} reduce_opts;

static const lk_field reduce_rows[] = {
    LK_FIELD(reduce_opts, bytes, LK_T_INTS, .def = "[65536, 1048576, 16777216, 67108864]", .min = 1, .max = 1e12,
        .help = "Sizes of the gradient."),
    LK_FIELD(reduce_opts, iterations, LK_T_INT, .def = "20", .min = 1, .max = 1e6, .help = "How often each is timed."),
    LKI_JSON_ROW(reduce_opts),
};
static const lk_table reduce_table = LK_TABLE(reduce_opts, "lockstep bench reduce",
    "Times the ordered reduction of gradients beside the MPI library's own, which is not repeatable.", reduce_rows);

static json_t *time_json(const char *name, const lk_bench_reduce_result *r, const lk_bench_time *t)
{
    return json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:i, s:i}", "name", name, "bytes", (json_int_t)r->bytes,
        "gb_per_s", 1e-9 * (double)r->bytes / t->median, "ms_median", 1e3 * t->median, "ms_min", 1e3 * t->min, "ms_max",
        1e3 * t->max, "threads", 1, "nranks", r->nranks);
}

static lk_status say_reduce(const lk_bench_reduce_result *r, bool json)
{
    char size[32];
    lk_buf b = {0};

    if (json) {
        LK_TRY(lki_print_json(time_json("reduce", r, &r->ordered)));
        return lki_print_json(time_json("allreduce", r, &r->allreduce));
    }
    lk_format_bytes((double)r->bytes, size, sizeof size);
    lk_buf_printf(&b, "%10s on %d ranks: ordered %.3f ms (%.2f GB/s), library's own %.3f ms, ratio %.2f\n", size,
        r->nranks, 1e3 * r->ordered.median, 1e-9 * (double)r->bytes / r->ordered.median, 1e3 * r->allreduce.median,
        r->ordered.median / r->allreduce.median);
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static lk_status bench_reduce(lk_comm *c, const reduce_opts *o)
{
    lk_bench_reduce_result r;

    for (int i = 0; i < o->bytes.n; i++) {
        LK_TRY(lk_bench_reduce(c, o->bytes.item[i], (int)o->iterations, &r));
        LK_TRY(lk_comm_agree(c, lk_comm_rank(c) == 0 ? say_reduce(&r, o->json) : LK_OK));
    }
    return LK_OK;
}

static int run_reduce(const lki_parsed *p)
{
    lki_session s = {0};

    const lk_status st = lki_comm_open(&s.comm);
    return st != LK_OK ? lki_finish(st) : lki_session_close(&s, bench_reduce(s.comm, p->opts), LKI_EXIT_OK);
}

/* ---- products ---- */

typedef struct products_opts {
    int64_t size;
    int precision;
    bool json;
} products_opts;

static const lk_field products_rows[] = {
    LK_FIELD(products_opts, precision, LK_T_ENUM, .def = "bf16", .choices = LK_PRECISION_CHOICES, .help = "Numbers that are multiplied."),
    LK_FIELD(products_opts, size, LK_T_INT, .def = "8192", .min = 16, .max = 65536, .help = "Rows and columns of the matrices."),
    LKI_JSON_ROW(products_opts),
};
static const lk_table products_table = LK_TABLE(products_opts, "lockstep bench products",
    "Times products of matrices on the first GPU: what a training step's FLOP/s can be held against.", products_rows);

static lk_status say_products(const products_opts *o)
{
    const lk_cuda_module *m = NULL;
    lk_cuda_gpu gpu;
    double rate;
    int n;
    lk_buf b = {0};

    LK_TRY(lk_cuda_load(&m));
    LK_TRY(m->count(&n));
    LK_TRY(m->describe(0, &gpu));
    LK_TRY(m->product_rate((lk_precision)o->precision, o->size, &rate));
    if (o->json)
        return lki_print_json(json_pack("{s:s, s:s, s:s, s:I, s:f}", "name", "products", "gpu", gpu.name, "precision", lk_precision_name((lk_precision)o->precision), "size", (json_int_t)o->size, "gflops", rate / 1e9));
    lk_buf_printf(&b, "%s: %.1f TFLOP/s in products of %" PRId64 " x %" PRId64 " matrices, %s\n", gpu.name, rate / 1e12, o->size, o->size, lk_precision_name((lk_precision)o->precision));
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run_products(const lki_parsed *p)
{
    return lki_finish(say_products(p->opts));
}

static const lki_command sub[] = {
    {.name = "step", .options = &step_table, .run = run_step, .on_ranks = true},
    {.name = "reduce", .options = &reduce_table, .run = run_reduce, .on_ranks = true},
    {.name = "products", .options = &products_table, .run = run_products},
};

const lki_command lki_bench_command = {
    .name = "bench", .help = "Measures.", .sub = sub, .n_sub = sizeof sub / sizeof sub[0]};
