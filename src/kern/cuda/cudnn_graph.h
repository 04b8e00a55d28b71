/* Graphs of operations for cuDNN 9's graph interface ("backend API"), and the plan that the library makes of one. For .c files of a module that was
 * built with cuDNN. One thread at a time. */
#ifndef LK_KERN_CUDA_CUDNN_GRAPH_H
#define LK_KERN_CUDA_CUDNN_GRAPH_H

#include "kern/cuda/cuda_int.h"

#include <cudnn_graph.h>

/* LK_TRY(LK_CUDNN(cudnnBackendFinalize(...))): LK_E_NOMEM for memory; LK_E_UNSUPPORTED for what the library cannot do, or does not want to be asked;
 * LK_E_LIBRARY for all else. */
lk_status lki_cudnn_status(cudnnStatus_t e, const char *what, const char *file, int line, const char *func);
#define LK_CUDNN(call) lki_cudnn_status((call), #call, __FILE__, __LINE__, __func__)

enum { LKI_CUDNN_DIMS = 4, LKI_CUDNN_OPS = 32, LKI_CUDNN_OWN = 192, LKI_CUDNN_KEY = 24 };

/* A graph while it is made, then a plan with all descriptors that it was made of. All zero: empty. */
typedef struct lki_cudnn_graph lki_cudnn_graph;
struct lki_cudnn_graph {
    cudnnBackendDescriptor_t op[LKI_CUDNN_OPS], own[LKI_CUDNN_OWN], plan;
    int n_op, n_own;
    int64_t inner; /* tensors of its own so far */
    size_t workspace_bytes;
    /* Of a shared one. */
    int64_t key[LKI_CUDNN_KEY];
    int n_key, users;
    lki_cudnn_graph *next;
};

/* Plans are shared by all who ask for the same: some engines are compiled when they are planned. What is asked for is told by numbers, of which the first
 * is one of these. */
enum { LKI_CUDNN_CONV, LKI_CUDNN_ATTENTION };
/* The plan with that key, which has one user more now, or NULL. */
lki_cudnn_graph *lki_cudnn_shared(int n, const int64_t *key);
/* From now on the plan is shared; it has one user. Keeps the graph until the last one has left. */
void lki_cudnn_share(lki_cudnn_graph *g, int n, const int64_t *key);
/* One user less. true: it was the last one; the graph is empty then. */
bool lki_cudnn_leave(lki_cudnn_graph *g);
/* Empties one that is not shared. */
void lki_cudnn_graph_fini(lki_cudnn_graph *g);

/* ---- descriptors: what is returned belongs to the graph ---- */

typedef struct lki_cudnn_tensor {
    int64_t id; /* above 0, as in lki_cudnn_run; 0: the graph's own, between operations */
    cudnnDataType_t type;
    int64_t size[LKI_CUDNN_DIMS], stride[LKI_CUDNN_DIMS];
    bool by_value; /* one number, read from the host when the plan is run */
} lki_cudnn_tensor;

cudnnDataType_t lki_cudnn_type(lki_type t);
/* Errors, of all that follow: as LK_CUDNN. */
LK_MUST_USE lk_status lki_cudnn_tensor_make(lki_cudnn_graph *g, const lki_cudnn_tensor *t, cudnnBackendDescriptor_t *out);
/* For operations that stand nowhere here: made, filled, and then added, which finalizes them. Operations are done in the order in which they are added. */
LK_MUST_USE lk_status lki_cudnn_make(lki_cudnn_graph *g, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out);
LK_MUST_USE lk_status lki_cudnn_set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendAttributeType_t type, int64_t n, const void *value);
LK_MUST_USE lk_status lki_cudnn_set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendDescriptor_t value);
LK_MUST_USE lk_status lki_cudnn_add(lki_cudnn_graph *g, cudnnBackendDescriptor_t op);
/* y = what `mode` makes of x (and b, NULL where the mode has none), in float. */
LK_MUST_USE lk_status lki_cudnn_pointwise(lki_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y);
/* y = the place of each element of x along a dimension, an int32. */
LK_MUST_USE lk_status lki_cudnn_places(lki_cudnn_graph *g, int dimension, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y);
/* y = a >= b, a boolean. */
LK_MUST_USE lk_status lki_cudnn_not_less(lki_cudnn_graph *g, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y);
/* y = which ? x : b */
LK_MUST_USE lk_status lki_cudnn_select(lki_cudnn_graph *g, cudnnBackendDescriptor_t which, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y);
/* c = a b of the last two dimensions, summed in float. The second dimension of b may be a fraction of the others': each of it serves so many neighbours. */
LK_MUST_USE lk_status lki_cudnn_product(lki_cudnn_graph *g, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c);
/* Over what y has fewer of than x: of a dimension of which it has several, so many neighbours each. */
LK_MUST_USE lk_status lki_cudnn_reduce(lki_cudnn_graph *g, cudnnReduceTensorOp_t how, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y);
/* The same numbers, their dimensions in another order. */
LK_MUST_USE lk_status lki_cudnn_reshape(lki_cudnn_graph *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y);

/* ---- plans ---- */

/* Is a configuration with these notes about its numbers one that may be taken? */
typedef bool (*lki_cudnn_accept)(int64_t n, const cudnnBackendNumericalNote_t *notes, const void *arg);
/* The first configuration that the library's heuristic names, of those that are accepted and whose plan works and takes a workspace of at most that much:
 * the same for the same graph on the same device and library. g->plan stays NULL where there is none. Errors: LK_E_NOMEM; LK_E_LIBRARY where cuDNN does
 * not work. */
LK_MUST_USE lk_status lki_cudnn_plan(lki_cudnn_graph *g, size_t most_workspace, lki_cudnn_accept accept, const void *arg);
/* Queues the plan: tensor id[i] is at at[i], aligned to 16 bytes; a number by value on the host, all else on the device. */
LK_MUST_USE lk_status lki_cudnn_run(const lki_cudnn_graph *g, int64_t n, const int64_t *id, const void *const *at, void *workspace);

#endif
