/* What a rank will take of memory, said before it is taken. Each row here is what some function allocates; where that has a formula of its own
 * (loader, reduction) it is asked. */
#include "train/run_int.h"

#include "base/buf.h"
#include "base/machine.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *key, *text;
} kinds[LKI_MEMORY_KINDS] = {
    [LKI_MEMORY_PROCESS] = {"process_bytes", "program, libraries, plans"},
    [LKI_MEMORY_ACTIVATIONS] = {"arena_bytes", "activations and gradients"},
    [LKI_MEMORY_PACKED] = {"packed_bytes", "packed weights"},
    [LKI_MEMORY_WEIGHTS] = {"weight_bytes", "weights"},
    [LKI_MEMORY_REDUCTION] = {"reduction_bytes", "leaves of the reduction"},
    [LKI_MEMORY_OPTIMIZER] = {"optimizer_bytes", "optimizer state"},
    [LKI_MEMORY_STAGE] = {"stage_bytes", "state for checkpoints"},
    [LKI_MEMORY_BATCHES] = {"loader_bytes", "batches ahead, blocks"},
    [LKI_MEMORY_EVALUATION] = {"evaluation_bytes", "evaluation"},
};

const char *lki_memory_key(lki_memory_kind k)
{
    return kinds[k].key;
}

const char *lki_memory_text(lki_memory_kind k)
{
    return kinds[k].text;
}

int64_t lki_memory_total(const lki_memory *m)
{
    int64_t sum = 0;

    for (int k = 0; k < LKI_MEMORY_KINDS; k++)
        sum += m->bytes[k];
    return sum;
}

/* Where what kernels work on lies. */
static int64_t *worked_on(const lk_run *r, lki_memory *m)
{
    return r->backend->space->host ? m->bytes : m->device;
}

static void add_engine(const lk_run *r, const lki_engine *e, int lanes, int workers, lki_memory *m)
{
    if (e->plan == NULL)
        return;
    worked_on(r, m)[LKI_MEMORY_ACTIVATIONS] += lk_exec_bytes(e->plan, lanes) * workers;
    worked_on(r, m)[LKI_MEMORY_PACKED] += e->plan->packed_bytes;
}

static lk_status add_reduction(const lk_run *r, const lki_phase *p, int rank, int workers, lki_memory *m)
{
    lk_reduce_opts o;
    int64_t *bucket = NULL, bytes = 0, pinned = 0;

    LK_TRY(lki_reduce_opts(r, p, workers, &bucket, &o));
    const lk_status st = lk_reduce_predict(&o, r->backend->space, r->nranks, rank, &bytes, &pinned);
    lk_free(bucket);
    worked_on(r, m)[LKI_MEMORY_REDUCTION] += bytes;
    m->bytes[LKI_MEMORY_REDUCTION] += lk_comm_is_staged(r->wire) ? pinned : 0;
    return st;
}

/* As prepare_local of phase.c does. */
static void add_optimizer(const lk_run *r, int rank, int workers, lki_memory *m)
{
    const lk_train_opts *t = &r->config->train;
    const lk_opt_info *info = lk_opt_get((lk_opt)t->optimizer);
    const int64_t kept = info->n_state + (t->ema > 0), flat = r->graph->flat * (int64_t)sizeof(float);
    const bool sharded = t->shard_optimizer && r->nranks > 1 && !info->whole;
    int64_t *there = worked_on(r, m);
    size_t scratch = 0;

    for (int i = 0; i < r->graph->n_params; i++) {
        const size_t bytes = lk_opt_scratch((lk_opt)t->optimizer, &r->graph->param[i].info.shape, r->backend->real_size);

        scratch = bytes > scratch ? bytes : scratch;
    }
    m->bytes[LKI_MEMORY_OPTIMIZER] += 2 * r->graph->flat / LK_TILE * (int64_t)sizeof(double);
    there[LKI_MEMORY_OPTIMIZER] += workers * (int64_t)scratch;
    if (there != m->bytes) /* tile squares; the weights and, on rank 0, all else whole on the host */
        there[LKI_MEMORY_OPTIMIZER] += r->graph->flat / LK_TILE * (int64_t)sizeof(double);
    if (there != m->bytes || sharded)
        m->bytes[LKI_MEMORY_STAGE] += rank == 0 ? kept * flat : 0;
    if (!sharded) {
        there[LKI_MEMORY_OPTIMIZER] += kept * flat;
        return;
    }
    for (int k = 0; k < r->n_phases; k++) {
        const lk_plan *p = r->phase[k].trainer.plan;

        there[LKI_MEMORY_OPTIMIZER] += kept * ((p->grad_end - p->grad_first) / r->nranks + LK_TILE * p->n_buckets) * (int64_t)sizeof(float);
    }
    there[LKI_MEMORY_STAGE] += flat;
}

static lk_status add_loader(const lk_run *r, bool training, int first, int n, int64_t *sum)
{
    lk_loader_opts o = lki_loader_opts(r, training);
    int64_t bytes = 0;

    o.first_lane = first;
    o.n_lanes = n;
    LK_TRY(lk_loader_predict(&o, &bytes));
    *sum += bytes;
    return LK_OK;
}

lk_status lki_memory_predict(const lk_run *r, int rank, lki_memory *m)
{
    const int first = lk_block_first(r->leaves, r->nranks, rank), n = lk_block_end(r->leaves, r->nranks, rank) - first;
    const int workers = r->on_gpu ? 1 : r->config->run.threads < n ? (int)r->config->run.threads : n;
    int64_t *there = worked_on(r, m);

    *m = (lki_memory){.bytes = {[LKI_MEMORY_PROCESS] = r->resident}};
    m->bytes[LKI_MEMORY_WEIGHTS] = r->graph->flat * (int64_t)sizeof(float);
    there[LKI_MEMORY_WEIGHTS] = m->bytes[LKI_MEMORY_WEIGHTS];
    add_engine(r, &r->evaluator, n, workers, m);
    there[LKI_MEMORY_ACTIVATIONS] += lki_carry_bytes(r, rank, n);
    if (r->mode != LK_RUN_EVAL) {
        for (int k = 0; k < r->n_phases; k++) {
            add_engine(r, &r->phase[k].trainer, n, workers, m);
            LK_TRY(add_reduction(r, &r->phase[k], rank, workers, m));
        }
        add_optimizer(r, rank, workers, m);
        LK_TRY(add_loader(r, true, first, n, &m->bytes[LKI_MEMORY_BATCHES]));
    }
    if (r->valid_data != NULL && r->mode != LK_RUN_BENCH) {
        /* Sums of this rank and of all, and what they are exchanged in. */
        const int64_t row = r->valid_sampler.steps * LKI_SUMS * (int64_t)sizeof(double);

        m->bytes[LKI_MEMORY_EVALUATION] += (n + 1) * row + (r->leaves + (int64_t)r->nranks - 1) / r->nranks * (r->nranks + 1) * row;
        LK_TRY(add_loader(r, false, first, n, &m->bytes[LKI_MEMORY_EVALUATION]));
    }
    return LK_OK;
}

lk_status lki_memory_largest(const lk_run *r, int *rank, lki_memory *out)
{
    for (int k = 0; k < r->nranks; k++) {
        lki_memory m;

        LK_TRY(lki_memory_predict(r, k, &m));
        if (k > 0 && lki_memory_total(&m) <= lki_memory_total(out))
            continue;
        *out = m;
        *rank = k;
    }
    return LK_OK;
}

static lk_status refuse(const lk_run *r, const lki_memory *mine, int here, int64_t need, int64_t available, const char *by)
{
    lk_buf b = {0};
    char a[32], c[32];

    for (int k = LKI_MEMORY_PROCESS + 1; k < LKI_MEMORY_KINDS; k++)
        if (mine->bytes[k] > 0) {
            lk_format_bytes((double)mine->bytes[k], a, sizeof a);
            lk_buf_printf(&b, "%s%s %s", lk_buf_text(&b)[0] != 0 ? ", " : "", kinds[k].text, a);
        }
    lk_format_bytes((double)need, a, sizeof a);
    lk_format_bytes((double)available, c, sizeof c);
    const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: the run would not fit into memory: %d rank%s on this host need%s %s more, %s are available (%s); a rank takes: %s. Lower train.batch or run.threads, raise train.microbatches, or use more hosts",
        r->config->path, here, here == 1 ? "" : "s", here == 1 ? "s" : "", a, c, by, lk_buf_text(&b));
    lk_buf_fini(&b);
    return st;
}

lk_status lki_memory_check(const lk_run *r)
{
    char by[LK_AVAILABLE_TEXT];
    const int64_t available = lk_available_bytes("", by);
    lki_memory m, mine = {.bytes = {0}};
    int64_t need = 0;
    int here = 0;

    for (int k = 0; k < r->nranks; k++) {
        if (strcmp(lk_comm_host(r->comm, k), lk_comm_host(r->comm, r->rank)) != 0)
            continue;
        LK_TRY(lki_memory_predict(r, k, &m));
        need += lki_memory_total(&m) - m.bytes[LKI_MEMORY_PROCESS];
        here++;
        if (k == r->rank)
            mine = m;
    }
    return need > available ? refuse(r, &mine, here, need, available, by) : LK_OK;
}
