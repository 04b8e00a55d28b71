/* Exchanges of a device's memory through a communicator of the host: the pieces for other ranks are copied to pinned
 * host memory, travel through the inner communicator, and are copied from there to their places. Copies are queued in
 * the space; the host looks from time to time (test, wait, and every other call) whether one has been done, and then
 * starts what comes next.
 *
 * Direct: the inner communicator takes the device's memory as it is. It knows nothing of the queue, so all is as above
 * but for the copies: an exchange is started once what was in the queue has been done, and what it received is there
 * when it ends.
 *
 * Two rules keep ranks from waiting for each other in a circle: an exchange is started on the inner communicator as
 * soon as its pieces are here, whichever exchange the caller is looking at; and no call blocks inside of the inner
 * communicator while one is yet to be started. */
#include "comm/comm_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN = 256 };

/* An allreduce goes through memory of this size, piece by piece. */
enum { BOUNCE_BYTES = 4 << 20 };

struct lk_comm_req {
    lk_comm_req *next_all, *next; /* next: of `out`, `draining` or `idle` */
    char *memory; /* [capacity] pinned: what is sent, then what is received */
    int64_t capacity;
    int64_t *count; /* [4][nranks] of the inner exchange, whose own pieces are empty, */
    const char *from; /* and what it sends from and receives to: `memory`; direct: the caller's */
    char *to;
    int tag;
    char *recv; /* the caller's, and where it is wanted there */
    const int64_t *rdispl;
    lk_mark *mark; /* behind what the inner exchange waits for; later behind the copies in */
    bool travels; /* the inner exchange was started */
    lk_comm_req *inner; /* NULL: done */
};

typedef struct line {
    lk_comm_req *first, **end;
} line;

typedef struct comm_staged {
    lk_comm base;
    lk_comm *inner;
    bool direct;
    lk_comm_req *all, *idle;
    line out; /* what the inner exchanges wait for is queued, in this order */
    line draining; /* complete for the caller; copies in are queued, in this order */
    char *bounce; /* [BOUNCE_BYTES] pinned; NULL until there is an allreduce */
    lk_mark *bounced;
} comm_staged;

static void line_init(line *l)
{
    *l = (line){.end = &l->first};
}

static void line_add(line *l, lk_comm_req *q)
{
    q->next = NULL;
    *l->end = q;
    l->end = &q->next;
}

static void line_remove(line *l, lk_comm_req *q)
{
    lk_comm_req **link = &l->first;

    while (*link != NULL && *link != q)
        link = &(*link)->next;
    if (*link == NULL)
        return;
    *link = q->next;
    if (l->end == &q->next)
        l->end = link;
}

/* The others count on this rank: when it cannot go on with an exchange, it has left. */
static lk_status left(lk_status st)
{
    if (st == LK_OK || lk_status_damage(st) >= LK_DAMAGE_COMM)
        return st;
    return LK_FAIL(LK_E_COMM, "cannot take part in an exchange: %s", lk_err_last()->message);
}

/* Where the pieces of an exchange lie in pinned memory, and how much of it they need. `count` [4][nranks] may be NULL.
 * The same piece for several ranks in a row is there once. */
static int64_t lay(int n, int me, const int64_t *scount, const int64_t *sdispl, const int64_t *rcount, int64_t *count)
{
    int64_t end = 0, at = 0;
    int before = -1;

    if (count != NULL)
        memset(count, 0, 4 * (size_t)n * sizeof *count);
    for (int r = 0; r < n; r++) {
        if (r == me || scount[r] == 0)
            continue;
        if (before < 0 || scount[r] != scount[before] || sdispl[r] != sdispl[before]) {
            at = end;
            end += (scount[r] + ALIGN - 1) / ALIGN * ALIGN;
        }
        before = r;
        if (count != NULL) {
            count[r] = scount[r];
            count[n + r] = at;
        }
    }
    for (int r = 0; r < n; r++) {
        if (r == me || rcount[r] == 0)
            continue;
        if (count != NULL) {
            count[2 * n + r] = rcount[r];
            count[3 * n + r] = end;
        }
        end += (rcount[r] + ALIGN - 1) / ALIGN * ALIGN;
    }
    return end;
}

/* Counts of the inner exchange in the caller's memory: all pieces but the own one. */
static void take(int n, int me, const int64_t *scount, const int64_t *sdispl, const int64_t *rcount,
    const int64_t *rdispl, int64_t *count)
{
    const int64_t *const given[4] = {scount, sdispl, rcount, rdispl};

    for (int i = 0; i < 4; i++)
        memcpy(count + (int64_t)i * n, given[i], (size_t)n * sizeof *count);
    count[me] = count[2 * n + me] = 0;
}

int64_t lki_comm_staged_bytes(int nranks, int rank, int n, const int64_t *counts)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++, counts += 4 * (int64_t)nranks)
        sum += lay(nranks, rank, counts, counts + nranks, counts + 2 * nranks, NULL);
    return sum;
}

/* ---- requests: given out and taken back, never freed before the communicator ---- */

static void req_put(comm_staged *s, lk_comm_req *q)
{
    q->next = s->idle;
    s->idle = q;
}

/* Requests whose copies in are done are idle again. */
static lk_status reclaim(comm_staged *s)
{
    while (s->draining.first != NULL) {
        lk_comm_req *q = s->draining.first;
        bool reached = false;
        LK_TRY(lk_mark_test(s->base.space, q->mark, &reached));
        if (!reached)
            return LK_OK;
        line_remove(&s->draining, q);
        req_put(s, q);
    }
    return LK_OK;
}

static lk_comm_req **best_fit(lk_comm_req **link, int64_t bytes)
{
    lk_comm_req **best = NULL;

    for (; *link != NULL; link = &(*link)->next) {
        if ((*link)->capacity >= bytes && (best == NULL || (*link)->capacity < (*best)->capacity))
            best = link;
    }
    return best;
}

static lk_status req_grow(comm_staged *s, lk_comm_req *q, int64_t bytes)
{
    char *memory = NULL;

    LK_TRY(lk_space_alloc_pinned(s->base.space, (size_t)bytes, "memory for exchanges through the host", &memory));
    lk_space_free_pinned(s->base.space, q->memory);
    q->memory = memory;
    q->capacity = bytes;
    return LK_OK;
}

static void req_free(comm_staged *s, lk_comm_req *q)
{
    lk_space_free_pinned(s->base.space, q->memory);
    lk_mark_destroy(s->base.space, &q->mark);
    lk_free(q->count);
    lk_free(q);
}

static lk_status req_add(comm_staged *s)
{
    lk_comm_req *q = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *q, "request", &q));
    LK_TRY_TO(
        st, fail, lk_alloc_array(4 * (int64_t)s->base.nranks, sizeof *q->count, "counts of an exchange", &q->count));
    LK_TRY_TO(st, fail, lk_mark_create(s->base.space, &q->mark));
    q->next_all = s->all;
    s->all = q;
    req_put(s, q);
    return LK_OK;

fail:
    req_free(s, q);
    return st;
}

static lk_comm_req *largest(lk_comm_req *q)
{
    lk_comm_req *best = q;

    for (; q != NULL; q = q->next)
        best = q->capacity > best->capacity ? q : best;
    return best;
}

/* An idle request of so many bytes: the smallest that will do, else one that is about to be idle, else more memory. */
static lk_status req_get(comm_staged *s, int64_t bytes, lk_comm_req **out)
{
    LK_TRY(reclaim(s));
    lk_comm_req **link = best_fit(&s->idle, bytes);
    if (link == NULL && s->draining.first != NULL) {
        lk_comm_req **soon = best_fit(&s->draining.first, bytes);
        if (soon != NULL) {
            LK_TRY(lk_mark_wait(s->base.space, (*soon)->mark));
            LK_TRY(reclaim(s)); /* it, and all in front of it */
            link = best_fit(&s->idle, bytes);
        }
    }
    if (link == NULL) {
        if (s->idle == NULL)
            LK_TRY(req_add(s));
        if (bytes > 0)
            LK_TRY(req_grow(s, largest(s->idle), bytes));
        link = best_fit(&s->idle, bytes);
    }
    LK_BUG_IF(link == NULL, "no request of %" PRId64 " bytes", bytes);
    lk_comm_req *q = *link;
    *link = q->next;
    q->travels = false;
    q->inner = NULL;
    *out = q;
    return LK_OK;
}

static lk_status reserve_staged(lk_comm *c, int n, const int64_t *counts)
{
    comm_staged *s = (comm_staged *)c;
    lk_comm_req *taken = NULL;
    lk_status st = LK_OK;

    for (int i = 0; i < n && st == LK_OK; i++) {
        const int64_t *k = counts + (int64_t)i * 4 * c->nranks;
        const int64_t bytes = lay(c->nranks, c->rank, k, k + c->nranks, k + 2 * c->nranks, NULL);
        lk_comm_req *q = NULL;
        if (bytes > 0)
            st = req_get(s, s->direct ? 0 : bytes, &q);
        if (q != NULL) {
            q->next = taken;
            taken = q;
        }
    }
    while (taken != NULL) {
        lk_comm_req *q = taken;
        taken = q->next;
        req_put(s, q);
    }
    LK_TRY(st);
    return lki_comm_reserve(s->inner, n, counts);
}

/* ---- exchanges ---- */

static lk_status start_inner(comm_staged *s, lk_comm_req *q)
{
    const int n = s->base.nranks;

    line_remove(&s->out, q);
    q->travels = true;
    return left(lk_comm_alltoallv_start(
        s->inner, q->tag, q->from, q->count, q->count + n, q->to, q->count + 2 * n, q->count + 3 * n, &q->inner));
}

/* Starts what is ready to be read. */
static lk_status progress(comm_staged *s)
{
    while (s->out.first != NULL) {
        bool reached = false;
        LK_TRY(left(lk_mark_test(s->base.space, s->out.first->mark, &reached)));
        if (!reached)
            return LK_OK;
        LK_TRY(start_inner(s, s->out.first));
    }
    return LK_OK;
}

/* Waits until all of it is, and starts it: before a call that blocks. */
static lk_status flush(comm_staged *s)
{
    while (s->out.first != NULL) {
        LK_TRY(left(lk_mark_wait(s->base.space, s->out.first->mark)));
        LK_TRY(start_inner(s, s->out.first));
    }
    return LK_OK;
}

static lk_status copy_out(comm_staged *s, lk_comm_req *q, const char *send, const int64_t *sdispl)
{
    const int n = s->base.nranks;
    int64_t before = -1;

    for (int r = 0; r < n; r++) {
        if (q->count[r] == 0 || q->count[n + r] == before)
            continue;
        before = q->count[n + r];
        LK_TRY(lk_space_copy(s->base.space, q->memory + before, send + sdispl[r], (size_t)q->count[r], LK_COPY_LATER));
    }
    return LK_OK;
}

/* What was received goes to its places. */
static lk_status copy_in(comm_staged *s, lk_comm_req *q)
{
    const int n = s->base.nranks;

    for (int r = 0; r < n; r++)
        LK_TRY(left(lk_space_copy(s->base.space, q->recv + q->rdispl[r], q->memory + q->count[3 * n + r],
            (size_t)q->count[2 * n + r], LK_COPY_IN)));
    LK_TRY(left(lk_mark_set(s->base.space, q->mark)));
    line_add(&s->draining, q);
    return LK_OK;
}

/* The inner exchange has ended; now this one has, for what is queued from now on. */
static lk_status complete(comm_staged *s, lk_comm_req **req)
{
    if (s->direct)
        req_put(s, *req);
    else
        LK_TRY(copy_in(s, *req));
    *req = NULL;
    return LK_OK;
}

static lk_status alltoallv_start_staged(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    comm_staged *s = (comm_staged *)c;
    const int me = c->rank;
    const int64_t bytes = lay(c->nranks, me, scount, sdispl, rcount, NULL);
    lk_comm_req *q;

    if (scount[me] > 0)
        LK_TRY(left(lk_space_copy(
            c->space, (char *)recv + rdispl[me], (const char *)send + sdispl[me], (size_t)scount[me], LK_COPY_WITHIN)));
    if (bytes == 0) {
        *out = NULL;
        return LK_OK;
    }
    LK_TRY(left(req_get(s, s->direct ? 0 : bytes, &q)));
    q->tag = tag;
    q->recv = recv;
    q->rdispl = rdispl;
    q->from = s->direct ? send : q->memory;
    q->to = s->direct ? recv : q->memory;
    line_add(&s->out, q);
    if (s->direct) {
        take(c->nranks, me, scount, sdispl, rcount, rdispl, q->count);
    } else {
        lay(c->nranks, me, scount, sdispl, rcount, q->count);
        LK_TRY(left(copy_out(s, q, send, sdispl)));
    }
    LK_TRY(left(lk_mark_set(c->space, q->mark)));
    *out = q;
    return progress(s);
}

static lk_status test_staged(lk_comm *c, lk_comm_req **req, bool *done)
{
    comm_staged *s = (comm_staged *)c;
    bool here = false;

    LK_TRY(progress(s));
    if ((*req)->travels)
        LK_TRY(lk_comm_test(s->inner, &(*req)->inner, &here));
    if (here)
        LK_TRY(complete(s, req));
    *done = here;
    return LK_OK;
}

static lk_status wait_staged(lk_comm *c, lk_comm_req **req)
{
    comm_staged *s = (comm_staged *)c;
    bool done = false;

    for (;;) {
        LK_TRY(test_staged(c, req, &done));
        if (done)
            return LK_OK;
        if (s->out.first == NULL)
            break;
        sched_yield();
    }
    LK_TRY(lk_comm_wait(s->inner, &(*req)->inner)); /* which has the deadline, and knows for whom it waits */
    return complete(s, req);
}

/* The memory of an exchange that was begun is left to the end of the process: others may still read and write it. */
static void abandon(comm_staged *s, lk_comm_req *q)
{
    line_remove(&s->out, q);
    if (!q->travels || q->inner == NULL)
        return;
    lki_comm_drop(s->inner, &q->inner);
    q->memory = NULL;
    q->capacity = 0;
}

static void drop_staged(lk_comm *c, lk_comm_req **req)
{
    abandon((comm_staged *)c, *req); /* the request stays with `all`, out of use */
}

/* ---- what goes to the inner communicator as it is ---- */

static lk_status barrier_staged(lk_comm *c)
{
    comm_staged *s = (comm_staged *)c;

    LK_TRY(flush(s));
    return lk_comm_barrier(s->inner);
}

static lk_status bcast_staged(lk_comm *c, int root, void *data, size_t bytes)
{
    comm_staged *s = (comm_staged *)c;

    LK_TRY(flush(s));
    return lk_comm_bcast(s->inner, root, data, bytes);
}

static lk_status allgather_staged(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    comm_staged *s = (comm_staged *)c;

    LK_TRY(flush(s));
    return lk_comm_allgather(s->inner, send, bytes, recv);
}

static lk_status agree_staged(lk_comm *c, lk_status local)
{
    comm_staged *s = (comm_staged *)c;

    LK_TRY(flush(s));
    return lk_comm_agree(s->inner, local);
}

static lk_status bounce_create(comm_staged *s)
{
    if (s->bounce == NULL)
        LK_TRY(lk_space_alloc_pinned(s->base.space, BOUNCE_BYTES, "memory for sums through the host", &s->bounce));
    return s->bounced == NULL ? lk_mark_create(s->base.space, &s->bounced) : LK_OK;
}

static lk_status allreduce_staged(lk_comm *c, void *data, int64_t count, lk_comm_type t)
{
    comm_staged *s = (comm_staged *)c;
    const int64_t size = (int64_t)lk_comm_type_size(t), most = BOUNCE_BYTES / size;

    if (c->nranks == 1)
        return LK_OK;
    LK_TRY(flush(s));
    if (s->direct) {
        LK_TRY(left(lk_space_wait(c->space)));
        return lk_comm_allreduce(s->inner, data, count, t);
    }
    LK_TRY(left(bounce_create(s)));
    for (int64_t done = 0; done < count; done += most) {
        const int64_t n = count - done < most ? count - done : most;
        char *at = (char *)data + done * size;
        LK_TRY(left(lk_mark_wait(c->space, s->bounced)));
        LK_TRY(left(lk_space_copy(c->space, s->bounce, at, (size_t)(n * size), LK_COPY_OUT)));
        LK_TRY(lk_comm_allreduce(s->inner, s->bounce, n, t));
        LK_TRY(left(lk_space_copy(c->space, at, s->bounce, (size_t)(n * size), LK_COPY_IN)));
        LK_TRY(left(lk_mark_set(c->space, s->bounced)));
    }
    return LK_OK;
}

static void set_deadline_staged(lk_comm *c, double seconds)
{
    lk_comm_set_deadline(((comm_staged *)c)->inner, seconds);
}

static void abort_staged(lk_comm *c, int exit_code)
{
    lk_world_abort(((comm_staged *)c)->inner, exit_code);
}

static void destroy_staged(lk_comm *c)
{
    comm_staged *s = (comm_staged *)c;
    lk_err before;

    lk_err_take(&before);
    for (lk_comm_req *q = s->all; q != NULL; q = q->next_all)
        abandon(s, q);
    if (lk_space_wait(c->space) !=
        LK_OK) /* copies to and from what is freed below; a failure has been told elsewhere */
        (void)!lk_err_give(&before);
    while (s->all != NULL) {
        lk_comm_req *q = s->all;
        s->all = q->next_all;
        req_free(s, q);
    }
    lk_space_free_pinned(c->space, s->bounce);
    lk_mark_destroy(c->space, &s->bounced);
}

static const lk_comm_ops ops_staged = {
    .barrier = barrier_staged,
    .bcast = bcast_staged,
    .allgather = allgather_staged,
    .allreduce = allreduce_staged,
    .alltoallv_start = alltoallv_start_staged,
    .test = test_staged,
    .wait = wait_staged,
    .drop = drop_staged,
    .agree = agree_staged,
    .reserve = reserve_staged,
    .set_deadline = set_deadline_staged,
    .abort = abort_staged,
    .destroy = destroy_staged,
};

bool lk_comm_is_staged(const lk_comm *c)
{
    return c->ops == &ops_staged && !((const comm_staged *)c)->direct;
}

lk_status lk_comm_create_staged(lk_comm *inner, const lk_space *space, bool direct, lk_comm **out)
{
    comm_staged *s = NULL;
    char name[sizeof s->base.name];

    if (!lk_comm_space(inner)->host)
        return LK_FAIL(LK_E_ARG, "exchanges through the host over %s, whose own are in memory of %s", inner->name,
            lk_comm_space(inner)->name);
    snprintf(name, sizeof name, "%s(%.*s)", direct ? "direct" : "staged", (int)sizeof name - 9, inner->name);
    LK_TRY(lk_alloc(sizeof *s, "communicator", &s));
    const lk_status st = lki_comm_init_over(&s->base, &ops_staged, name, inner);
    if (st != LK_OK) {
        lk_free(s);
        return st;
    }
    line_init(&s->out);
    line_init(&s->draining);
    s->base.space = space;
    s->base.way = direct ? "MPI, device memory directly" : "MPI through pinned host memory";
    s->direct = direct;
    s->inner = inner;
    *out = &s->base;
    return LK_OK;
}
