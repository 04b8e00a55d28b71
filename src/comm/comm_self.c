/* One rank without MPI. Everything is done when the call returns. */
#include "comm/comm_int.h"

#include "base/mem.h"

#include <string.h>

static lk_status alltoallv_start_self(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    (void)c;
    (void)tag;
    (void)rcount;
    if (scount[0] > 0)
        memmove((char *)recv + rdispl[0], (const char *)send + sdispl[0], (size_t)scount[0]);
    *out = NULL;
    return LK_OK;
}

static lk_status barrier_self(lk_comm *c)
{
    (void)c;
    return LK_OK;
}

static lk_status bcast_self(lk_comm *c, int root, void *data, size_t bytes)
{
    (void)c;
    (void)root;
    (void)data;
    (void)bytes;
    return LK_OK;
}

static lk_status allgather_self(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    (void)c;
    if (bytes > 0)
        memmove(recv, send, bytes);
    return LK_OK;
}

static lk_status allreduce_self(lk_comm *c, void *data, int64_t count, lk_comm_type t)
{
    (void)c;
    (void)data;
    (void)count;
    (void)t;
    return LK_OK;
}

static lk_status wait_self(lk_comm *c, lk_comm_req **req)
{
    (void)c;
    LK_BUG_IF(*req != NULL, "a request on a communicator of one rank");
    return LK_OK;
}

static lk_status test_self(lk_comm *c, lk_comm_req **req, bool *done)
{
    *done = true;
    return wait_self(c, req);
}

static void drop_self(lk_comm *c, lk_comm_req **req)
{
    (void)c;
    (void)req;
}

static lk_status agree_self(lk_comm *c, lk_status local)
{
    (void)c;
    return local;
}

static void destroy_self(lk_comm *c)
{
    (void)c;
}

static const lk_comm_ops ops_self = {
    .barrier = barrier_self,
    .bcast = bcast_self,
    .allgather = allgather_self,
    .allreduce = allreduce_self,
    .alltoallv_start = alltoallv_start_self,
    .test = test_self,
    .wait = wait_self,
    .drop = drop_self,
    .agree = agree_self,
    .destroy = destroy_self,
};

lk_status lk_comm_create_self(lk_comm **out)
{
    lk_comm *c = NULL;

    LK_TRY(lk_alloc(sizeof *c, "communicator", &c));
    const lk_status st = lki_comm_init(c, &ops_self, "self", 0, 1);
    if (st != LK_OK) {
        lk_free(c);
        return st;
    }
    lki_hostname(c->host[0]);
    *out = c;
    return LK_OK;
}
