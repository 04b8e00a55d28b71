/* The graph: a network as operations and values with shapes, in the order they were added (which is the order they run in). It knows no
 * backend, no ranks, no files. Shapes are those of one microbatch. */
#ifndef LK_ENGINE_GRAPH_H
#define LK_ENGINE_GRAPH_H

#include "kern/kern.h"

#define LK_MAX_INPUTS 8
#define LK_MAX_LOSSES 4

/* Parameters start at multiples of this in the flat vector, so that norms can be summed over fixed tiles (elements). */
#define LK_TILE 256

typedef struct lk_value {
    lk_shape shape;
    lk_dtype dtype;
    int producer; /* node, or -1: a graph input */
    char *name;   /* graph inputs: their name; else NULL */
    int consumers; /* places where nodes take it as input */
} lk_value;

typedef struct lk_node {
    char *name;  /* unique: "conv1" */
    char *where; /* place in the config: "run.yaml:12:5" */
    lk_opspec spec;
    int in[LK_MAX_IN]; /* values */
    int out;           /* value; -1 for a loss */
    int param[LK_MAX_PARAMS]; /* graph parameters, spec.n_params of them; shared ones belong to the node that came first */
} lk_node;

typedef struct lk_param {
    char *name; /* "conv1.weight" */
    lk_param_info info;
    int node; /* the first that uses it */
    bool frozen; /* not learned: no gradient, no update (statistics: not folded) */
    int64_t first, count; /* place in the flat vector, elements */
    double lr;      /* the rate is multiplied by this; 0 stands for 1 */
    bool has_decay; /* `decay` is its weight decay, whatever its dimensions */
    double decay;
} lk_param;

typedef struct lk_graph {
    int64_t rows;
    lk_node *node;
    int n_nodes;
    lk_value *value;
    int n_values;
    lk_param *param;
    int n_params;
    int output; /* value that predictions are, or -1: what goes into the first loss, or else the last value */
    int64_t flat; /* elements of the flat vector, a multiple of LK_TILE */
    int cap_nodes, cap_values, cap_params;
    int *named, cap_named; /* nodes by the hash of their names, open addressing; -1: free */
} lk_graph;

typedef struct lk_node_def {
    const char *name, *where;
    lk_op op;
    lk_attrs attr;
    int n_in;          /* 0: as many as the operation takes at least */
    int in[LK_MAX_IN]; /* values */
    const char *param_prefix; /* what its parameters are called by; NULL: its name */
    /* NULL, or the name of an earlier node: parameters of the same suffix are that node's (weight tying, a network applied twice). Their
     * gradients are added up; statistics stay those of the first application in a step. */
    const char *share;
} lk_node_def;

/* An empty graph for microbatches of `rows` samples. */
LK_MUST_USE lk_status lk_graph_create(int64_t rows, lk_graph **out);
/* A graph input of shape [rows, sample...]. */
LK_MUST_USE lk_status lk_graph_input(lk_graph *g, const char *name, const lk_shape *sample, lk_dtype dtype, int *value);
/* Adds an operation; *value (may be NULL) gets its output. Errors: LK_E_CONFIG "WHERE: layer NAME (OP): ..." with both shapes and the producing layers' names and places. */
LK_MUST_USE lk_status lk_graph_add(lk_graph *g, const lk_node_def *d, int *value);
/* The node of a name, or -1. */
int lk_graph_find(const lk_graph *g, const char *name);
void lk_graph_destroy(lk_graph **g);

/* Elements of all WEIGHT parameters (what people call the number of parameters). */
int64_t lk_graph_weights(const lk_graph *g);
/* Initial values of the flat vector [g->flat] in float; each draw a function of (seed, parameter name, element). Padding is zero. Errors:
 * LK_E_NOMEM, the vector is then undefined. */
LK_MUST_USE lk_status lk_graph_init_weights(const lk_graph *g, uint64_t seed, float *flat);
/* Hash of structure, names, shapes and attributes: two graphs with the same hash can exchange checkpoints. */
uint64_t lk_graph_hash(const lk_graph *g);

#endif
