/* Inside the room: what an implementation of a communicator is made of.
 *
 * comm.c checks arguments, remembers death and calls the table; below the table arguments are right and the
 * communicator is alive. A status of damage COMM or worse from any slot makes comm.c declare the communicator dead. */
#ifndef LK_COMM_COMM_INT_H
#define LK_COMM_COMM_INT_H

#include "comm/comm.h"

enum { LKI_HOST_BYTES = 256 };

typedef struct lk_comm_ops {
    lk_status (*barrier)(lk_comm *c);
    lk_status (*bcast)(lk_comm *c, int root, void *data, size_t bytes);
    lk_status (*allgather)(lk_comm *c, const void *send, size_t bytes, void *recv);
    lk_status (*allreduce)(lk_comm *c, void *data, int64_t count, lk_comm_type t);
    /* May be done at once: then *out is NULL. */
    lk_status (*alltoallv_start)(lk_comm *c, int tag, const void *send, const int64_t *scount, const int64_t *sdispl,
        void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out);
    /* *req is not NULL in these three. Done: the request is given back and *req is NULL. */
    lk_status (*test)(lk_comm *c, lk_comm_req **req, bool *done);
    lk_status (*wait)(lk_comm *c, lk_comm_req **req);
    /* Gives up an exchange that will not complete: its buffers may still be read or written until the process ends. */
    void (*drop)(lk_comm *c, lk_comm_req **req);
    /* `local` has damage below COMM and, unless it is LK_OK, this thread's record. */
    lk_status (*agree)(lk_comm *c, lk_status local);
    /* Optional (NULL: exchanges allocate nothing): makes room for these n exchanges in flight at the same time. `counts`
     * [n][4][nranks]: scount, sdispl, rcount, rdispl of each. */
    lk_status (*reserve)(lk_comm *c, int n, const int64_t *counts);
    /* Optional (NULL: base.deadline is all there is to it). */
    void (*set_deadline)(lk_comm *c, double seconds);
    /* Ends all ranks; returns only when it could not. Optional (NULL: there is only this process). */
    void (*abort)(lk_comm *c, int exit_code);
    /* Frees all but what lki_comm_fini frees, and the struct itself. */
    void (*destroy)(lk_comm *c);
} lk_comm_ops;

/* The first member of every implementation's own struct. */
struct lk_comm {
    const lk_comm_ops *ops;
    char name[32];
    const char *way; /* what data travels over, for people; `name` unless set */
    bool takes_cuda; /* this rank's MPI says that it takes memory of CUDA devices */
    int rank, nranks, local_rank;
    const lk_space *space; /* of exchanges and allreduce */
    char (*host)[LKI_HOST_BYTES]; /* [nranks] */
    double deadline; /* seconds; 0: for ever */
    lk_status dead; /* LK_OK while alive */
    lk_err death; /* what every call on a dead communicator answers */
    void *scratch; /* see lki_comm_scratch */
    int64_t scratch_bytes;
};

/* Fills the base, in the host's space, and allocates host[nranks]. On failure there is nothing to free. */
LK_MUST_USE lk_status lki_comm_init(lk_comm *c, const lk_comm_ops *ops, const char *name, int rank, int nranks);
/* The same for a communicator over another of the same ranks: places, deadline, space and way are the inner one's. */
LK_MUST_USE lk_status lki_comm_init_over(lk_comm *c, const lk_comm_ops *ops, const char *name, const lk_comm *inner);
void lki_comm_fini(lk_comm *c);
/* This machine's name, cut off at LKI_HOST_BYTES. */
void lki_hostname(char out[LKI_HOST_BYTES]);
/* local_rank from the host names. */
void lki_comm_place(lk_comm *c);

/* Every call on a communicator ends here: a failure gets its frame, and one that breaks the communicator is its last. */
LK_MUST_USE lk_status lki_comm_settle(lk_comm *c, lk_status st, const char *file, int line, const char *func);
#define LKI_SETTLE(c, expr) lki_comm_settle((c), (expr), __FILE__, __LINE__, __func__)

/* Memory for the length of one call, kept and grown from call to call so that a step allocates nothing. */
LK_MUST_USE lk_status lki_comm_scratch(lk_comm *c, int64_t bytes, void **out);
LK_MUST_USE lk_status lki_comm_reserve(lk_comm *c, int n, const int64_t *counts);
/* Bytes of pinned memory that a staged communicator takes for these exchanges (counts as in reserve) in flight at the same
 * time. */
int64_t lki_comm_staged_bytes(int nranks, int rank, int n, const int64_t *counts);
/* Gives up an exchange (NULL is fine), and with it the communicator: a message of it could be taken for one of a later
 * exchange. */
void lki_comm_drop(lk_comm *c, lk_comm_req **req);

/* For tests: the most bytes in one message of an mpi communicator; more go in several. */
void lki_comm_mpi_set_piece(lk_comm *c, int64_t bytes);

#endif
