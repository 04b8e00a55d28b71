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
    [LKI_MEMORY_MICROBATCHES] = {"microbatch_bytes", "inputs, keys, metrics"},
    [LKI_MEMORY_PACKED] = {"packed_bytes", "packed weights"},
    [LKI_MEMORY_WEIGHTS] = {"weight_bytes", "weights"},
    [LKI_MEMORY_REDUCTION] = {"reduction_bytes", "leaves of the reduction"},
    [LKI_MEMORY_OPTIMIZER] = {"optimizer_bytes", "optimizer state"},
    [LKI_MEMORY_MEAN] = {"mean_bytes", "running mean of weights"},
    [LKI_MEMORY_CARRY] = {"carry_bytes", "carried state"},
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

static int64_t add_up(const int64_t bytes[LKI_MEMORY_KINDS])
{
    int64_t sum = 0;

    for (int k = 0; k < LKI_MEMORY_KINDS; k++)
        sum += bytes[k];
    return sum;
}

int64_t lki_memory_total(const lki_memory *m)
{
    return add_up(m->bytes);
}

int64_t lki_memory_total_device(const lki_memory *m)
{
    return add_up(m->device);
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
    const lk_space *space = r->backend->space;
    const int64_t arena = lk_space_taken(space, e->plan->arena_bytes);
    int64_t *there = worked_on(r, m);

    there[LKI_MEMORY_ACTIVATIONS] += arena * workers;
    there[LKI_MEMORY_MICROBATCHES] += (lk_exec_bytes(e->plan, lanes) - arena) * workers;
    there[LKI_MEMORY_PACKED] += lk_space_taken(space, e->plan->packed_bytes);
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

/* One of the arrays that are kept beside the weights. */
static lk_status kept_bytes(const lk_run *r, bool sharded, int rank, int workers, int64_t *bytes)
{
    *bytes = sharded ? 0 : lk_space_taken(r->backend->space, r->graph->flat * (int64_t)sizeof(float));
    for (int k = 0; sharded && k < r->n_phases; k++) {
        lk_reduce_opts o;
        int64_t *bucket = NULL;

        LK_TRY(lki_reduce_opts(r, &r->phase[k], workers, &bucket, &o));
        *bytes += lk_space_taken(r->backend->space, lk_reduce_own(&o, r->nranks, rank) * (int64_t)sizeof(float));
        lk_free(bucket);
    }
    return LK_OK;
}

/* As prepare_local of phase.c does. */
static lk_status add_optimizer(const lk_run *r, int rank, int workers, lki_memory *m)
{
    const lk_train_opts *t = &r->config->train;
    const lk_space *space = r->backend->space;
    const lk_opt_info *info = lk_opt_get((lk_opt)t->optimizer);
    const int64_t mean = t->ema > 0, flat = r->graph->flat * (int64_t)sizeof(float), tiles = r->graph->flat / LK_TILE * (int64_t)sizeof(double);
    const bool sharded = t->shard_optimizer && r->nranks > 1 && !info->whole;
    int64_t *there = worked_on(r, m), kept = 0;
    size_t scratch = 0;

    for (int k = 0; k < r->n_phases; k++) {
        const lk_optim optim = lki_optim_of(r, &r->phase[k]);
        const size_t bytes = lk_optim_scratch(&optim);

        scratch = bytes > scratch ? bytes : scratch;
        there[LKI_MEMORY_OPTIMIZER] += lk_optim_table_bytes(&optim);
    }
    LK_TRY(kept_bytes(r, sharded, rank, workers, &kept));
    there[LKI_MEMORY_OPTIMIZER] += info->n_state * kept + lk_space_taken(space, workers * (int64_t)scratch);
    there[LKI_MEMORY_MEAN] += mean * kept;
    if (sharded)
        there[LKI_MEMORY_STAGE] += lk_space_taken(space, flat);
    m->bytes[LKI_MEMORY_OPTIMIZER] += 2 * tiles;
    if (!space->host)
        there[LKI_MEMORY_OPTIMIZER] += lk_space_taken(space, tiles);
    if (!space->host || sharded) /* rank 0 has all of it whole on the host */
        m->bytes[LKI_MEMORY_STAGE] += rank == 0 ? (info->n_state + mean) * flat : 0;
    return LK_OK;
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
    int64_t *there = worked_on(r, m), carried = 0, carried_host = 0;

    *m = (lki_memory){.bytes = {[LKI_MEMORY_PROCESS] = r->resident}};
    m->bytes[LKI_MEMORY_WEIGHTS] = r->graph->flat * (int64_t)sizeof(float);
    there[LKI_MEMORY_WEIGHTS] = lk_space_taken(r->backend->space, m->bytes[LKI_MEMORY_WEIGHTS]);
    add_engine(r, &r->evaluator, n, workers, m);
    lki_carry_bytes(r, rank, n, &carried, &carried_host);
    there[LKI_MEMORY_CARRY] += carried;
    m->bytes[LKI_MEMORY_CARRY] += carried_host;
    if (r->mode != LK_RUN_EVAL) {
        for (int k = 0; k < r->n_phases; k++) {
            add_engine(r, &r->phase[k].trainer, n, workers, m);
            LK_TRY(add_reduction(r, &r->phase[k], rank, workers, m));
        }
        LK_TRY(add_optimizer(r, rank, workers, m));
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
        const int64_t more = k == 0 ? 1 : lki_memory_total_device(&m) - lki_memory_total_device(out);
        if (more < 0 || (more == 0 && lki_memory_total(&m) <= lki_memory_total(out)))
            continue;
        *out = m;
        *rank = k;
    }
    return LK_OK;
}

/* "weights 1 MiB, packed weights 2 MiB" */
static void list_kinds(const int64_t bytes[LKI_MEMORY_KINDS], lk_buf *b)
{
    char text[32];

    for (int k = LKI_MEMORY_PROCESS + 1; k < LKI_MEMORY_KINDS; k++)
        if (bytes[k] > 0) {
            lk_format_bytes((double)bytes[k], text, sizeof text);
            lk_buf_printf(b, "%s%s %s", lk_buf_text(b)[0] != 0 ? ", " : "", kinds[k].text, text);
        }
}

static lk_status refuse(const lk_run *r, const lki_memory *mine, int here, int64_t need, int64_t available, const char *by)
{
    lk_buf b = {0};
    char a[32], c[32];

    list_kinds(mine->bytes, &b);
    lk_format_bytes((double)need, a, sizeof a);
    lk_format_bytes((double)available, c, sizeof c);
    const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: the run would not fit into memory: %d rank%s on this host need%s %s more, %s are available (%s); a rank takes: %s. Lower train.batch or run.threads, raise train.microbatches, or use more hosts",
        r->config->path, here, here == 1 ? "" : "s", here == 1 ? "s" : "", a, c, by, lk_buf_text(&b));
    lk_buf_fini(&b);
    return st;
}

/* ---- on a GPU ---- */

lk_status lki_memory_share(lk_run *r)
{
    typedef struct place {
        char bus[LK_CUDA_BUS];
        int64_t free;
    } place;
    const int n = lk_comm_nranks(r->comm);
    lki_gpu_share s = {.ranks = 0};
    place mine = {.free = 0}, *all = NULL;
    lki_memory m;
    int largest;
    lk_status st = lk_space_room(r->backend->space, &mine.free, &s.total);

    if (st == LK_OK)
        st = lk_alloc_array(n, sizeof *all, "GPUs of all ranks", &all);
    LK_TRY_TO(st, end, lk_comm_agree(r->comm, st));
    memcpy(mine.bus, r->gpu.bus, sizeof mine.bus);
    LK_TRY_TO(st, end, lk_comm_allgather(r->comm, &mine, sizeof mine, all));
    s.free = mine.free;
    for (int k = 0; k < n && n == r->nranks && st == LK_OK; k++) {
        if (strcmp(lk_comm_host(r->comm, k), lk_comm_host(r->comm, r->rank)) != 0 || strcmp(all[k].bus, mine.bus) != 0)
            continue;
        st = lki_memory_predict(r, k, &m);
        s.free = all[k].free < s.free ? all[k].free : s.free;
        s.wanted += lki_memory_total_device(&m);
        s.ranks++;
    }
    if (n != r->nranks) { /* planned for others, who are taken to have one each */
        st = lki_memory_largest(r, &largest, &m);
        s.wanted = lki_memory_total_device(&m);
        s.ranks = 1;
    }
    r->share = s;
    st = lk_comm_agree(r->comm, st);
end:
    lk_free(all);
    return st;
}

/* What would make it smaller, of what the config has not done yet. */
static void advise(const lk_run *r, lk_buf *b)
{
    const lk_train_opts *t = &r->config->train;

    lk_buf_add(b, "Lower train.batch or raise train.microbatches");
    if (t->activation_memory == 0)
        lk_buf_add(b, ", set train.activation_memory");
    if (r->backend->value_size == r->backend->real_size)
        lk_buf_add(b, ", set train.precision to bf16");
    if (r->nranks > 1 && !t->shard_optimizer)
        lk_buf_add(b, ", set train.shard_optimizer to true");
    lk_buf_add(b, r->share.ranks > 1 ? ", or start fewer ranks on a GPU" : ", or use more GPUs");
}

static lk_status refuse_gpu(const lk_run *r, const lki_memory *mine)
{
    const lki_gpu_share *s = &r->share;
    lk_buf list = {0}, advice = {0};
    char wanted[32], available[32], total[32];

    list_kinds(mine->device, &list);
    advise(r, &advice);
    lk_format_bytes((double)s->wanted, wanted, sizeof wanted);
    lk_format_bytes((double)s->free, available, sizeof available);
    lk_format_bytes((double)s->total, total, sizeof total);
    const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: rank %d would not fit on GPU %d (%.80s): %d rank%s on it need%s %s (%" PRId64 " bytes), %s (%" PRId64 ") of %s are free; rank %d takes: %s. %s",
        r->config->path, r->rank, r->gpu_index, r->gpu.name, s->ranks, s->ranks == 1 ? "" : "s", s->ranks == 1 ? "s" : "", wanted, s->wanted, available, s->free, total, r->rank, lk_buf_text(&list), lk_buf_text(&advice));
    lk_buf_fini(&list);
    lk_buf_fini(&advice);
    return st;
}

/* ---- before a run ---- */

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
    if (need > available)
        return refuse(r, &mine, here, need, available, by);
    return r->on_gpu && r->share.wanted > r->share.free ? refuse_gpu(r, &mine) : LK_OK;
}
