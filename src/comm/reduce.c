/* The ordered reduction. Everything that depends on (leaves, nranks, rank, buckets) alone is laid down in create: which
 * buffer a leaf is written to, which sums each leaf completes, who sends what to whom, and the sum that the owner of a
 * slice finishes. A step then only runs down these lists. */
#include "comm/reduce.h"

#include "comm/comm_int.h"
#include "comm/reduce_tree.h"

#include "base/mem.h"
#include "base/thread.h"

#include <inttypes.h>
#include <string.h>

/* A slice is exchanged and summed in parts of at most this many bytes: while one part is summed the next ones travel,
 * and on the host what has just come in is still in a cache. Elsewhere a copy or a sum must be long enough to be worth
 * its start. */
enum { PART_HOST = 1 << 19, PART_ELSEWHERE = 4 << 20 };

/* Bytes at multiples of which buffers begin. */
enum { ALIGN_HOST = 64, ALIGN_ELSEWHERE = 256 };

/* A part of every rank's slice of one bucket. */
typedef struct part {
    int64_t first, n; /* this rank's own: n elements from first on, maybe none */
    int64_t recv; /* where the pieces of others are in the receive buffer: bytes */
    lk_comm_req **req; /* [max_open] one exchange for the i-th open nodes of all ranks */
    int64_t *count; /* [max_open][4][nranks] bytes: scount, sdispl, rcount, rdispl */
} part;

struct lk_reduce {
    lk_comm *c; /* NULL while it is only planned */
    const lk_space *space; /* of all buffers */
    int rank, nranks, leaves, width, n_buckets;
    bool fast;
    lk_comm_type type;
    int64_t n, tile, size; /* size: bytes of an element */
    int64_t align, part_bytes;
    int64_t *bucket; /* [n_buckets + 1] */

    /* This rank's leaves */
    int first, end;
    int n_buffers;
    int64_t stride; /* bytes from buffer to buffer */
    char *arena; /* [n_buffers] of stride */
    char **buffer; /* [n_buffers] into the arena */
    int *leaf_at; /* [end - first] buffer of a leaf, and of every node that begins with it */
    lki_sum *fold; /* [end - first] what a leaf completes, over buffers */
    int n_open;
    int open_at[LKI_MAX_OPEN]; /* buffer of each open node */

    /* Across ranks */
    int max_open; /* over the ranks */
    int n_nodes; /* open nodes of all ranks, in the order of their leaves: the operands of `last` */
    int own_first; /* number of this rank's first one */
    lki_sum last;
    char **operand; /* [n_nodes], and as many as are needed to hold [n_buffers] */
    char *scratch; /* blocks between the steps of a sum */
    int64_t block, scratch_bytes;
    int n_parts;
    part *part;
    int *part_first; /* [n_buckets + 1] first part of each bucket */
    int64_t *counts; /* of all parts */
    lk_comm_req **reqs;
    char *recv;
    int64_t recv_bytes;

    /* Gather and collect: one exchange a bucket */
    int64_t *gather; /* [n_buckets][4][nranks] as in a part */
    int64_t *collect; /* the same, filled in for each root */
    lk_comm_req **gather_req; /* [n_buckets] */

    /* The running step */
    int *next; /* [n_buckets] leaf that must be ready next; end: the bucket is under way */
    int *queue; /* [n_parts] parts under way, in the order in which they began */
    int n_queued, n_summed;
    double wait_seconds;
};

/* ---- hot: leaves come in, parts go out, sums are finished ---- */

static int64_t *part_count(const lk_reduce *r, const part *p, int node, int which)
{
    return p->count + ((int64_t)node * 4 + which) * r->nranks;
}

static lk_status start_part(lk_reduce *r, int number)
{
    part *p = &r->part[number];

    for (int i = 0; i < r->max_open; i++) {
        const char *send = i < r->n_open ? r->buffer[r->open_at[i]] : r->arena; /* with counts 0 */
        LK_TRY(lk_comm_alltoallv_start(r->c, number * r->max_open + i, send, part_count(r, p, i, 0),
            part_count(r, p, i, 1), r->recv, part_count(r, p, i, 2), part_count(r, p, i, 3), &p->req[i]));
    }
    r->queue[r->n_queued++] = number;
    return LK_OK;
}

static int64_t align_up(const lk_reduce *r, int64_t bytes)
{
    return (bytes + r->align - 1) / r->align * r->align;
}

/* All pieces of a part are here: finishes the tree for it. The result replaces the first own node, whose own slice no
 * one reads. */
static lk_status sum_part(lk_reduce *r, const part *p)
{
    const int64_t piece = align_up(r, p->n * r->size);
    int64_t at = p->recv;

    for (int i = 0; i < r->n_nodes; i++) {
        const int own = i - r->own_first;
        if (own >= 0 && own < r->n_open) {
            r->operand[i] = r->buffer[r->open_at[own]] + p->first * r->size;
        } else {
            r->operand[i] = r->recv + at;
            at += piece;
        }
    }
    return lki_sum_run(&r->last, r->space, r->type, p->n, r->operand, r->scratch, r->block);
}

static lk_status allreduce_bucket(lk_reduce *r, int b)
{
    const int64_t n = r->bucket[b + 1] - r->bucket[b];
    const double start = lk_now();

    LK_TRY(lk_comm_allreduce(r->c, r->buffer[r->open_at[0]] + r->bucket[b] * r->size, n, r->type));
    r->wait_seconds += lk_now() - start;
    return LK_OK;
}

lk_status lk_reduce_ready(lk_reduce *r, int m, int b)
{
    if (b < 0 || b >= r->n_buckets)
        return LK_FAIL(LK_E_ARG, "bucket %d of %d", b, r->n_buckets);
    if (m < r->first || m >= r->end || m != r->next[b])
        return LK_FAIL(LK_E_ARG, "leaf %d is ready on bucket %d, where leaf %d of [%d,%d) was due", m, b, r->next[b],
            r->first, r->end);
    r->next[b]++;
    const lki_sum *fold = &r->fold[m - r->first];
    if (fold->n_steps > 0) {
        for (int i = 0; i < r->n_buffers; i++)
            r->operand[i] = r->buffer[i] + r->bucket[b] * r->size;
        LK_TRY(lki_sum_run(
            fold, r->space, r->type, r->bucket[b + 1] - r->bucket[b], r->operand, r->scratch, r->block));
    }
    if (r->next[b] < r->end || r->nranks == 1)
        return LK_OK;
    if (r->fast)
        return allreduce_bucket(r, b);
    for (int i = r->part_first[b]; i < r->part_first[b + 1]; i++)
        LK_TRY(start_part(r, i));
    return LK_OK;
}

lk_status lk_reduce_poll(lk_reduce *r)
{
    /* The oldest first and no further: a part that overtakes it is found when its turn comes, and a poll stays cheap.
     */
    while (r->n_summed < r->n_queued) {
        part *p = &r->part[r->queue[r->n_summed]];
        for (int i = 0; i < r->max_open; i++) {
            bool done = false;
            LK_TRY(lk_comm_test(r->c, &p->req[i], &done));
            if (!done)
                return LK_OK;
        }
        LK_TRY(sum_part(r, p));
        r->n_summed++;
    }
    return LK_OK;
}

lk_status lk_reduce_finish(lk_reduce *r)
{
    for (int b = 0; b < r->n_buckets; b++) {
        if (r->next[b] != r->end)
            return LK_FAIL(LK_E_ARG, "finish, but leaf %d is not ready on bucket %d", r->next[b], b);
    }
    while (r->n_summed < r->n_queued) {
        part *p = &r->part[r->queue[r->n_summed]];
        const double start = lk_now();
        for (int i = 0; i < r->max_open; i++)
            LK_TRY(lk_comm_wait(r->c, &p->req[i]));
        r->wait_seconds += lk_now() - start;
        LK_TRY(sum_part(r, p));
        r->n_summed++;
    }
    r->n_queued = r->n_summed = 0;
    for (int b = 0; b < r->n_buckets; b++)
        r->next[b] = r->first;
    return LK_OK;
}

void *lk_reduce_leaf(lk_reduce *r, int m)
{
    LK_BUG_IF(m < r->first || m >= r->end, "leaf %d of a rank that has [%d,%d)", m, r->first, r->end);
    return r->buffer[r->leaf_at[m - r->first]];
}

const void *lk_reduce_sum(const lk_reduce *r)
{
    return r->buffer[r->open_at[0]];
}

/* ---- slices to all, or to one ---- */

static lk_status exchange_slices(lk_reduce *r, const int64_t *counts, void *flat)
{
    const int64_t stride = 4 * (int64_t)r->nranks;
    const double start = lk_now();

    for (int b = 0; b < r->n_buckets; b++) {
        const int64_t *k = counts + b * stride;
        LK_TRY(lk_comm_alltoallv_start(r->c, r->n_parts * r->max_open + b, flat, k, k + r->nranks, flat,
            k + 2 * r->nranks, k + 3 * r->nranks, &r->gather_req[b]));
    }
    for (int b = 0; b < r->n_buckets; b++)
        LK_TRY(lk_comm_wait(r->c, &r->gather_req[b]));
    r->wait_seconds += lk_now() - start;
    return LK_OK;
}

static lk_status check_idle(const lk_reduce *r, const char *what)
{
    if (r->n_queued > 0)
        return LK_FAIL(LK_E_ARG, "%s during a step: finish comes first", what);
    return LK_OK;
}

lk_status lk_reduce_gather(lk_reduce *r, void *flat)
{
    LK_TRY(check_idle(r, "gather"));
    if (r->nranks == 1)
        return LK_OK;
    return exchange_slices(r, r->gather, flat);
}

lk_status lk_reduce_collect(lk_reduce *r, int root, void *flat)
{
    LK_TRY(check_idle(r, "collect"));
    if (root < 0 || root >= r->nranks)
        return LK_FAIL(LK_E_ARG, "collect: root %d of %d ranks", root, r->nranks);
    if (r->nranks == 1)
        return LK_OK;
    memcpy(r->collect, r->gather, (size_t)r->n_buckets * 4 * (size_t)r->nranks * sizeof *r->collect);
    for (int b = 0; b < r->n_buckets; b++) {
        int64_t *scount = r->collect + (int64_t)b * 4 * r->nranks, *rcount = scount + 2 * r->nranks;
        for (int k = 0; k < r->nranks; k++) {
            if (k != root)
                scount[k] = 0;
            if (r->rank != root)
                rcount[k] = 0;
        }
    }
    return exchange_slices(r, r->collect, flat);
}

void lk_reduce_slice(const lk_reduce *r, int b, int rank, int64_t *first, int64_t *end)
{
    LK_BUG_IF(b < 0 || b >= r->n_buckets || rank < 0 || rank >= r->nranks, "slice of bucket %d, rank %d", b, rank);
    lki_slice(r->bucket[b], r->bucket[b + 1], r->tile, b, r->nranks, rank, first, end);
}

double lk_reduce_wait_seconds(const lk_reduce *r)
{
    return r->wait_seconds;
}

int64_t lk_reduce_buffer_bytes(const lk_reduce *r)
{
    return r->n_buffers * r->stride + r->recv_bytes + (r->space->host ? 0 : r->scratch_bytes);
}

/* ---- small records ---- */

lk_status lk_reduce_small(lk_comm *c, int leaves, int k, const double *local_rows, double *sum)
{
    const int nranks = lk_comm_nranks(c), rank = lk_comm_rank(c);
    const int first = lk_block_first(leaves, nranks, rank), end = lk_block_end(leaves, nranks, rank);
    void *memory;
    int64_t block, total;

    if (leaves < 0 || k < 0)
        return LK_FAIL(LK_E_ARG, "reduction of %d rows of %d numbers", leaves, k);
    LK_TRY(lk_mul_i64((leaves + (int64_t)nranks - 1) / nranks, k, &block)); /* the longest block of rows */
    LK_TRY(lk_mul_i64(block, (nranks + (int64_t)1) * (int64_t)sizeof(double), &total));
    if (total == 0) {
        lk_tree_sum(0, k, NULL, sum);
        return LK_OK;
    }
    if (lki_comm_scratch(c, total, &memory) != LK_OK) /* the others will wait for this rank in vain */
        return lk_comm_agree(c, LK_FAIL(LK_E_COMM, "cannot take part in a reduction: %s", lk_err_last()->message));
    double *rows = memory, *own = rows + nranks * block;
    const size_t own_bytes = (size_t)(end - first) * (size_t)k * sizeof(double);
    if (own_bytes > 0)
        memcpy(own, local_rows, own_bytes);
    memset((char *)own + own_bytes, 0, (size_t)block * sizeof(double) - own_bytes);
    LK_TRY(lk_comm_allgather(c, own, (size_t)block * sizeof(double), rows));
    for (int r = 1; r < nranks; r++) { /* closes the gaps; a block never moves up */
        const int64_t from = lk_block_first(leaves, nranks, r), n = lk_block_end(leaves, nranks, r) - from;
        memmove(rows + from * k, rows + r * block, (size_t)(n * k) * sizeof(double));
    }
    lk_tree_sum(leaves, k, rows, sum);
    return LK_OK;
}

/* ---- laying it all down ---- */

/* Where a node of this rank is while leaf `leaf` comes in: done earlier, or the leaf itself, or still to be summed. */
typedef struct local_view {
    const lk_reduce *r;
    int leaf;
} local_view;

static int local_operand(const void *arg, int a, int b)
{
    const local_view *v = arg;

    return b <= v->leaf || (a == v->leaf && b == a + 1) ? v->r->leaf_at[a - v->r->first] : -1;
}

/* First leaf of the largest node inside this rank's block that ends with leaf m. */
static int node_completed_by(const lk_reduce *r, int m)
{
    int a = 0, b = r->leaves;

    while (a < r->first || b != m + 1) {
        const int mid = lki_tree_mid(a, b);
        if (m < mid)
            b = mid;
        else
            a = mid;
    }
    return a;
}

/* Gives each leaf a buffer: in each wave the lowest free ones. A buffer is free again in the wave after the one that
 * folds its content into a node further left; the first leaf of a node keeps its buffer, and the node has it. */
static lk_status assign_buffers(lk_reduce *r)
{
    const int n = r->end - r->first;
    int *holder = NULL; /* [buffers] leaf whose node is there, or -1 */

    LK_TRY(lk_alloc_array(n, sizeof *holder, "buffers of leaves", &holder));
    for (int from = 0; from < n; from += r->width) {
        const int to = n - from < r->width ? n : from + r->width;
        int b = 0;
        for (int i = from; i < to; i++) {
            while (b < r->n_buffers && holder[b] >= 0)
                b++;
            r->n_buffers += b == r->n_buffers;
            holder[b] = i;
            r->leaf_at[i] = b;
        }
        for (int i = from; i < to; i++) {
            const int a = node_completed_by(r, r->first + i) - r->first;
            for (b = 0; b < r->n_buffers; b++) {
                if (holder[b] > a && holder[b] <= i)
                    holder[b] = -1;
            }
        }
        if (to == n)
            break; /* from + width might overflow */
    }
    lk_free(holder);
    return LK_OK;
}

static lk_status lay_fold(lk_reduce *r)
{
    const int n = r->end - r->first;
    int starts[LKI_MAX_OPEN], ends[LKI_MAX_OPEN];

    LK_TRY(lk_alloc_array(n, sizeof *r->leaf_at, "buffers of leaves", &r->leaf_at));
    LK_TRY(lk_alloc_array(n, sizeof *r->fold, "sums of leaves", &r->fold));
    LK_TRY(assign_buffers(r));
    for (int m = r->first; m < r->end; m++) {
        const local_view view = {.r = r, .leaf = m};
        const int a = node_completed_by(r, m);
        LK_TRY(lki_sum_init(
            &r->fold[m - r->first], a, m + 1, r->n_buffers, r->leaf_at[a - r->first], local_operand, &view));
    }
    r->n_open = lki_open_nodes(r->leaves, r->first, r->end, starts, ends);
    for (int i = 0; i < r->n_open; i++)
        r->open_at[i] = r->leaf_at[starts[i] - r->first];
    return LK_OK;
}

/* The open nodes of all ranks, by their first leaf. */
typedef struct global_view {
    const int *number, *end; /* [leaves] number -1: no open node begins here */
} global_view;

static int global_operand(const void *arg, int a, int b)
{
    const global_view *v = arg;

    return v->number[a] >= 0 && v->end[a] == b ? v->number[a] : -1;
}

static lk_status lay_last(lk_reduce *r, int *n_open)
{
    int starts[LKI_MAX_OPEN], ends[LKI_MAX_OPEN], *number = NULL, *end;

    LK_TRY(lk_alloc_array(2 * (int64_t)r->leaves, sizeof *number, "open nodes", &number));
    end = number + r->leaves;
    for (int i = 0; i < r->leaves; i++)
        number[i] = -1;
    for (int k = 0; k < r->nranks; k++) {
        n_open[k] = lki_open_nodes(
            r->leaves, lk_block_first(r->leaves, r->nranks, k), lk_block_end(r->leaves, r->nranks, k), starts, ends);
        if (n_open[k] > r->max_open)
            r->max_open = n_open[k];
        if (k == r->rank)
            r->own_first = r->n_nodes;
        for (int i = 0; i < n_open[k]; i++) {
            number[starts[i]] = r->n_nodes++;
            end[starts[i]] = ends[i];
        }
    }
    const global_view view = {.number = number, .end = end};
    const lk_status st = lki_sum_init(&r->last, 0, r->leaves, r->n_nodes, r->own_first, global_operand, &view);
    lk_free(number);
    return st;
}

/* In `fast` the open nodes of a rank are added from left to right; that goes behind the last leaf's sum. */
static lk_status lay_fast(lk_reduce *r)
{
    lki_sum *s = &r->fold[r->end - 1 - r->first];

    LK_TRY(lk_realloc_array(s->n_steps, s->n_steps + r->n_open - 1, sizeof *s->step, "steps of a sum", &s->step));
    for (int i = 1; i < r->n_open; i++) {
        const int to = r->open_at[0], from = r->open_at[i];
        s->step[s->n_steps++] = (lki_step){.form = LK_SUM_2, .dst = to, .src = {to, from, to, to}};
    }
    return LK_OK;
}

static int64_t longest_slice(const lk_reduce *r, int b)
{
    int64_t longest = 0;

    for (int k = 0; k < r->nranks; k++) {
        int64_t first, end;
        lk_reduce_slice(r, b, k, &first, &end);
        if (end - first > longest)
            longest = end - first;
    }
    return longest;
}

/* Part i of rank k's slice. */
static void slice_part(const lk_reduce *r, int b, int k, int64_t i, int64_t *first, int64_t *n)
{
    const int64_t most = r->part_bytes / r->size;
    int64_t a, end;

    lk_reduce_slice(r, b, k, &a, &end);
    *first = end - a < i * most ? end : a + i * most;
    *n = end - *first < most ? end - *first : most;
}

static void lay_part(lk_reduce *r, part *p, int b, int64_t i, const int *n_open)
{
    slice_part(r, b, r->rank, i, &p->first, &p->n);
    p->recv = r->recv_bytes;
    for (int k = 0; k < r->nranks; k++) {
        int64_t first, n;
        slice_part(r, b, k, i, &first, &n);
        for (int j = 0; j < r->max_open && k != r->rank; j++) {
            part_count(r, p, j, 0)[k] = j < r->n_open ? n * r->size : 0;
            part_count(r, p, j, 1)[k] = first * r->size;
            part_count(r, p, j, 2)[k] = j < n_open[k] ? p->n * r->size : 0;
            part_count(r, p, j, 3)[k] = r->recv_bytes;
            if (j < n_open[k])
                r->recv_bytes += align_up(r, p->n * r->size);
        }
    }
}

static lk_status lay_parts(lk_reduce *r, const int *n_open)
{
    const int64_t most = r->part_bytes / r->size, counts = 4 * (int64_t)r->max_open * r->nranks;
    int64_t n_parts = 0;

    LK_TRY(lk_alloc_array(r->n_buckets + 1, sizeof *r->part_first, "parts of buckets", &r->part_first));
    for (int b = 0; b < r->n_buckets; b++) {
        n_parts += (longest_slice(r, b) + most - 1) / most;
        LK_TRY(lk_cast_int(n_parts * r->max_open + r->n_buckets, &r->n_parts)); /* numbers of exchanges are tags */
        r->part_first[b + 1] = (int)n_parts;
    }
    r->n_parts = (int)n_parts;
    LK_TRY(lk_alloc_array(n_parts, sizeof *r->part, "parts of buckets", &r->part));
    LK_TRY(lk_alloc_array(n_parts, sizeof *r->queue, "parts of buckets", &r->queue));
    LK_TRY(lk_alloc_array(n_parts * counts, sizeof *r->counts, "counts of exchanges", &r->counts));
    LK_TRY(lk_alloc_array(n_parts * r->max_open, sizeof *r->reqs, "exchanges", &r->reqs));
    for (int b = 0; b < r->n_buckets; b++) {
        for (int i = r->part_first[b]; i < r->part_first[b + 1]; i++) {
            r->part[i].count = r->counts + i * counts;
            r->part[i].req = r->reqs + (int64_t)i * r->max_open;
            lay_part(r, &r->part[i], b, i - r->part_first[b], n_open);
        }
    }
    return LK_OK;
}

static lk_status lay_gather(lk_reduce *r)
{
    const int64_t counts = 4 * (int64_t)r->nranks * r->n_buckets;

    LK_TRY(lk_alloc_array(counts, sizeof *r->gather, "counts of exchanges", &r->gather));
    LK_TRY(lk_alloc_array(counts, sizeof *r->collect, "counts of exchanges", &r->collect));
    LK_TRY(lk_alloc_array(r->n_buckets, sizeof *r->gather_req, "exchanges", &r->gather_req));
    for (int b = 0; b < r->n_buckets; b++) {
        int64_t *scount = r->gather + 4 * (int64_t)r->nranks * b, *sdispl = scount + r->nranks;
        int64_t *rcount = sdispl + r->nranks, *rdispl = rcount + r->nranks;
        int64_t own, own_end, first, end;
        lk_reduce_slice(r, b, r->rank, &own, &own_end);
        for (int k = 0; k < r->nranks; k++) {
            if (k == r->rank)
                continue;
            lk_reduce_slice(r, b, k, &first, &end);
            scount[k] = (own_end - own) * r->size;
            sdispl[k] = own * r->size;
            rcount[k] = (end - first) * r->size;
            rdispl[k] = first * r->size;
        }
    }
    return LK_OK;
}

static lk_status lay_across(lk_reduce *r)
{
    int *n_open = NULL;
    lk_status st;

    LK_TRY(lk_alloc_array(r->nranks, sizeof *n_open, "open nodes", &n_open));
    LK_TRY_TO(st, end, lay_last(r, n_open));
    LK_TRY_TO(st, end, lay_parts(r, n_open));
end:
    lk_free(n_open);
    return st;
}

/* Blocks for the sum that needs the most of them; none is longer than the longest sum. */
static void lay_scratch(lk_reduce *r)
{
    int n = r->last.n_scratch;
    int64_t longest = 0;

    for (int i = 0; i < r->end - r->first; i++)
        n = r->fold[i].n_scratch > n ? r->fold[i].n_scratch : n;
    for (int b = 0; b < r->n_buckets; b++)
        longest = r->bucket[b + 1] - r->bucket[b] > longest ? r->bucket[b + 1] - r->bucket[b] : longest;
    r->block = align_up(r, (longest > 0 ? longest : 1) * r->size);
    if (r->block > lki_sum_block(r->space))
        r->block = lki_sum_block(r->space);
    r->scratch_bytes = n * r->block;
}

static lk_status lay_memory(lk_reduce *r)
{
    const int n_operands = r->n_buffers > r->n_nodes ? r->n_buffers : r->n_nodes;
    int64_t bytes;

    LK_TRY(lk_alloc_array(n_operands, sizeof *r->operand, "operands of sums", &r->operand));
    LK_TRY(lk_alloc_array(r->n_buffers, sizeof *r->buffer, "buffers of leaves", &r->buffer));
    LK_TRY(lk_mul_i64(r->n_buffers, r->stride, &bytes));
    LK_TRY(lk_space_alloc(r->space, (size_t)bytes, "gradient buffers", &r->arena));
    LK_TRY(lk_space_alloc(r->space, (size_t)r->recv_bytes, "receive buffer of the reduction", &r->recv));
    LK_TRY(lk_space_alloc(r->space, (size_t)r->scratch_bytes, "scratch of the reduction", &r->scratch));
    for (int i = 0; i < r->n_buffers; i++)
        r->buffer[i] = r->arena + i * r->stride;
    LK_TRY(lki_comm_reserve(r->c, r->n_parts * r->max_open, r->counts));
    return r->nranks > 1 ? lki_comm_reserve(r->c, r->n_buckets, r->gather) : LK_OK;
}

/* All but the memory of the numbers: needs no communicator. */
static lk_status lay_plan(lk_reduce *r, const lk_reduce_opts *o)
{
    LK_TRY(lk_alloc_array(o->n_buckets + 1, sizeof *r->bucket, "buckets", &r->bucket));
    memcpy(r->bucket, o->bucket, ((size_t)o->n_buckets + 1) * sizeof *r->bucket);
    LK_TRY(lk_alloc_array(r->n_buckets, sizeof *r->next, "buckets", &r->next));
    for (int b = 0; b < r->n_buckets; b++)
        r->next[b] = r->first;
    LK_TRY(lay_fold(r));
    if (r->fast && r->n_open > 1)
        LK_TRY(lay_fast(r));
    if (r->nranks > 1) {
        LK_TRY(lay_gather(r));
        if (!r->fast)
            LK_TRY(lay_across(r));
    }
    lay_scratch(r);
    return LK_OK;
}

static lk_status check_opts(int nranks, const lk_space *space, const lk_reduce_opts *o)
{
    if (o->leaves < 1 || o->width < 1)
        return LK_FAIL(LK_E_ARG, "a reduction of %d leaves, %d at a time", o->leaves, o->width);
    if (nranks > o->leaves)
        return LK_FAIL(LK_E_ARG, "%d ranks, but train.microbatches is %d: raise it or start at most %d rank%s", nranks,
            o->leaves, o->leaves, o->leaves == 1 ? "" : "s");
    if (o->type != LK_COMM_F32 && o->type != LK_COMM_F64)
        return LK_FAIL(LK_E_ARG, "a reduction of neither f32 nor f64");
    if (o->type != LK_COMM_F32 && !space->host)
        return LK_FAIL(LK_E_ARG, "a reduction of f64 in memory of %s, which has sums of f32 only", space->name);
    if (o->tile < 1 || o->n < 0 || o->n % o->tile != 0 || o->n > INT64_MAX / 64)
        return LK_FAIL(LK_E_ARG, "a reduction of %" PRId64 " elements in tiles of %" PRId64, o->n, o->tile);
    if (o->n_buckets < 1 || o->bucket[0] != 0 || o->bucket[o->n_buckets] != o->n)
        return LK_FAIL(LK_E_ARG, "%d buckets do not span the %" PRId64 " elements", o->n_buckets, o->n);
    for (int b = 0; b < o->n_buckets; b++) {
        if (o->bucket[b + 1] < o->bucket[b] || o->bucket[b + 1] % o->tile != 0)
            return LK_FAIL(LK_E_ARG, "bucket %d is [%" PRId64 ",%" PRId64 ") and tiles have %" PRId64 " elements", b,
                o->bucket[b], o->bucket[b + 1], o->tile);
    }
    return LK_OK;
}

static void set_opts(lk_reduce *r, const lk_reduce_opts *o, const lk_space *space, int nranks, int rank)
{
    r->space = space;
    r->align = space->host ? ALIGN_HOST : ALIGN_ELSEWHERE;
    r->part_bytes = space->host ? PART_HOST : PART_ELSEWHERE;
    r->rank = rank;
    r->nranks = nranks;
    r->leaves = o->leaves;
    r->width = o->width;
    r->fast = o->fast;
    r->type = o->type;
    r->n = o->n;
    r->tile = o->tile;
    r->size = (int64_t)lk_comm_type_size(o->type);
    r->stride = align_up(r, (o->n > 0 ? o->n : 1) * r->size); /* so that nobody meets a NULL */
    r->n_buckets = o->n_buckets;
    r->first = lk_block_first(o->leaves, nranks, rank);
    r->end = lk_block_end(o->leaves, nranks, rank);
}

int64_t lk_reduce_own(const lk_reduce_opts *o, int nranks, int rank)
{
    int64_t own = 0, first, end;

    for (int b = 0; b < o->n_buckets; b++) {
        lki_slice(o->bucket[b], o->bucket[b + 1], o->tile, b, nranks, rank, &first, &end);
        own += end - first;
    }
    return own;
}

lk_status lk_reduce_predict(
    const lk_reduce_opts *o, const lk_space *space, int nranks, int rank, int64_t *bytes, int64_t *pinned)
{
    lk_reduce *r = NULL;

    LK_TRY(check_opts(nranks, space, o));
    LK_TRY(lk_alloc(sizeof *r, "reduction", &r));
    set_opts(r, o, space, nranks, rank);
    const lk_status st = lay_plan(r, o);
    if (st == LK_OK) {
        *bytes = lk_reduce_buffer_bytes(r);
        *pinned = lki_comm_staged_bytes(nranks, rank, r->n_parts * r->max_open, r->counts);
        if (nranks > 1)
            *pinned += lki_comm_staged_bytes(nranks, rank, r->n_buckets, r->gather);
    }
    lk_reduce_destroy(&r);
    return st;
}

lk_status lk_reduce_create(lk_comm *c, const lk_reduce_opts *o, lk_reduce **out)
{
    lk_reduce *r = NULL;

    LK_TRY(check_opts(lk_comm_nranks(c), lk_comm_space(c), o)); /* the same on all ranks */
    lk_status st = lk_alloc(sizeof *r, "reduction", &r);
    if (st == LK_OK) {
        r->c = c;
        set_opts(r, o, lk_comm_space(c), lk_comm_nranks(c), lk_comm_rank(c));
        st = lay_plan(r, o);
    }
    if (st == LK_OK)
        st = lay_memory(r);
    st = lk_comm_agree(c, st);
    if (st != LK_OK) {
        lk_reduce_destroy(&r);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    *out = r;
    return LK_OK;
}

/* Gives up what is under way; true when there was something. */
static bool drop_exchanges(lk_comm *c, lk_comm_req **req, int64_t n)
{
    bool any = false;

    for (int64_t i = 0; req != NULL && i < n; i++) {
        any = any || req[i] != NULL;
        lki_comm_drop(c, &req[i]);
    }
    return any;
}

void lk_reduce_destroy(lk_reduce **reduce)
{
    lk_reduce *r = *reduce;

    if (r == NULL)
        return;
    const bool part_dropped = drop_exchanges(r->c, r->reqs, (int64_t)r->n_parts * r->max_open);
    if (!part_dropped) {
        /* What others may still read or write outlives this object; it goes with the process. */
        lk_space_free(r->space, r->arena);
        lk_space_free(r->space, r->recv);
    }
    lk_space_free(r->space, r->scratch);
    drop_exchanges(r->c, r->gather_req, r->n_buckets);
    for (int i = 0; r->fold != NULL && i < r->end - r->first; i++)
        lki_sum_fini(&r->fold[i]);
    lki_sum_fini(&r->last);
    lk_free(r->buffer);
    lk_free(r->leaf_at);
    lk_free(r->fold);
    lk_free(r->operand);
    lk_free(r->part);
    lk_free(r->part_first);
    lk_free(r->counts);
    lk_free(r->reqs);
    lk_free(r->queue);
    lk_free(r->gather);
    lk_free(r->collect);
    lk_free(r->gather_req);
    lk_free(r->next);
    lk_free(r->bucket);
    lk_free(r);
    *reduce = NULL;
}
