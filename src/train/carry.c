/* State that goes on from step to step: recurrent layers whose rows belong to streams. Each microbatch has its own, on the rank that runs it; a
 * checkpoint has all of them. Only the first phase carries. */
#include "train/run_int.h"

#include "base/mem.h"

#include <string.h>

static const lk_plan_node *first_carrying(const lk_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++)
        if (p->node[i].kp.carry_bytes > 0)
            return &p->node[i];
    return NULL;
}

lk_status lki_carry_check(const lk_run *r)
{
    const lk_plan *p = r->phase[0].trainer.plan;
    char where[256];

    if (p == NULL || p->carry_bytes == 0 || r->config->data.order == LK_ORDER_STREAMS)
        return LK_OK;
    const lk_plan_node *n = first_carrying(p);
    return LK_FAIL(LK_E_CONFIG, "%s: layer %s has `carry: true`, so each row of a batch must go on where it was at the step before: set data.order (%s) to streams", n->where, n->name, lk_config_where(r->config, "data.order", where, sizeof where));
}

lk_status lki_carry_create(lk_run *r)
{
    const lk_space *space = r->backend->space;
    const lk_plan *trainer = r->phase[0].trainer.plan, *evaluator = r->evaluator.plan;

    if (trainer != NULL && trainer->carry_bytes > 0) {
        r->carry_bytes = trainer->carry_bytes;
        const size_t bytes = (size_t)r->n_lanes * (size_t)r->carry_bytes;
        LK_TRY(lk_space_alloc(space, bytes, "carried state", &r->carry));
        LK_TRY(lk_space_alloc(space, bytes, "carried state", &r->carry_next));
        if (!space->host)
            LK_TRY(lk_alloc(bytes, "carried state", &r->carry_host));
        if (r->rank == 0 && r->nranks > 1)
            LK_TRY(lk_alloc_array(r->leaves, (size_t)r->carry_bytes, "carried state of all ranks", &r->carry_all));
        LK_TRY(lk_alloc_array(4 * (int64_t)r->nranks, sizeof *r->carry_exchange, "exchange of carried state", &r->carry_exchange));
    }
    if (evaluator != NULL && evaluator->carry_bytes > 0 && r->config->data.order == LK_ORDER_STREAMS)
        LK_TRY(lk_space_alloc(space, (size_t)r->n_lanes * (size_t)evaluator->carry_bytes, "carried state of the evaluation", &r->eval_carry));
    return LK_OK;
}

void lki_carry_bytes(const lk_run *r, int rank, int n_lanes, int64_t *there, int64_t *host)
{
    const lk_space *space = r->backend->space;
    const lk_plan *trainer = r->phase[0].trainer.plan, *evaluator = r->evaluator.plan;

    *there = *host = 0;
    if (trainer != NULL) {
        *there += 2 * lk_space_taken(space, n_lanes * trainer->carry_bytes);
        *host += trainer->carry_bytes * ((space->host ? 0 : n_lanes) + (rank == 0 && r->nranks > 1 ? r->leaves : 0));
    }
    if (evaluator != NULL && r->config->data.order == LK_ORDER_STREAMS)
        *there += lk_space_taken(space, n_lanes * evaluator->carry_bytes);
}

void lki_carry_destroy(lk_run *r)
{
    lk_space_free(r->backend->space, r->carry);
    lk_space_free(r->backend->space, r->carry_next);
    lk_space_free(r->backend->space, r->eval_carry);
    lk_free(r->carry_host);
    lk_free(r->carry_all);
    lk_free(r->carry_exchange);
}

lk_status lki_carry_begin_step(lk_run *r)
{
    if (r->carry == NULL || r->cursor.step_in_epoch > 0)
        return LK_OK;
    return lk_space_zero(r->backend->space, r->carry, (size_t)(r->n_lanes * r->carry_bytes));
}

lk_status lki_carry_lane(const lk_run *r, const lki_phase *p, int lane, void **out)
{
    const int64_t at = lane * r->carry_bytes;

    *out = NULL;
    if (r->carry == NULL || p != &r->phase[0])
        return LK_OK;
    *out = r->carry_next + at;
    return lk_space_copy(r->backend->space, *out, r->carry + at, (size_t)r->carry_bytes, LK_COPY_WITHIN);
}

/* Of this rank's lanes on the host. */
static char *host_carry(const lk_run *r)
{
    return r->carry_host != NULL ? r->carry_host : r->carry;
}

void lki_carry_end_step(lk_run *r)
{
    char *before = r->carry;

    r->carry = r->carry_next;
    r->carry_next = before;
}

lk_status lki_lanes_move(lk_run *r, int tag, void *mine, void *all, int64_t lane_bytes, bool to_root, int64_t *exchange)
{
    int64_t *scount = exchange, *sdispl = scount + r->nranks, *rcount = sdispl + r->nranks, *rdispl = rcount + r->nranks;
    lk_comm_req *req = NULL;

    for (int k = 0; k < r->nranks; k++) {
        const int64_t first = lk_block_first(r->leaves, r->nranks, k), end = lk_block_end(r->leaves, r->nranks, k);
        const int64_t ours = k == 0 ? r->n_lanes * lane_bytes : 0, theirs = r->rank == 0 ? (end - first) * lane_bytes : 0;

        scount[k] = to_root ? ours : theirs;
        sdispl[k] = to_root ? 0 : first * lane_bytes;
        rcount[k] = to_root ? theirs : ours;
        rdispl[k] = to_root ? first * lane_bytes : 0;
    }
    LK_TRY(lk_comm_alltoallv_start(r->comm, tag, to_root ? mine : all, scount, sdispl, to_root ? all : mine, rcount, rdispl, &req));
    return lk_comm_wait(r->comm, &req);
}

void lki_carry_name(lk_run *r)
{
    r->full.carry = (float *)(r->nranks > 1 ? r->carry_all : host_carry(r));
    r->full.carry_lanes = r->leaves;
    r->full.carry_count = r->carry_bytes / (int64_t)sizeof(float);
}

lk_status lki_carry_move(lk_run *r, bool to_root)
{
    const size_t bytes = (size_t)(r->n_lanes * r->carry_bytes);

    if (r->carry == NULL)
        return LK_OK;
    if (to_root && r->carry_host != NULL)
        LK_TRY(lk_space_copy(r->backend->space, r->carry_host, r->carry, bytes, LK_COPY_OUT));
    if (r->nranks > 1)
        LK_TRY(lki_lanes_move(r, LKI_TAG_CARRY, host_carry(r), r->carry_all, r->carry_bytes, to_root, r->carry_exchange));
    if (!to_root && r->carry_host != NULL)
        LK_TRY(lk_space_copy(r->backend->space, r->carry, r->carry_host, bytes, LK_COPY_IN));
    return LK_OK;
}
