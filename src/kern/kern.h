/* Operations on memory: what an operation is (shape rule, parameters, what its backward pass reads), and what a backend does for
 * it. `ref` is double precision in plain loops, the oracle; `cpu` is float. A backend's kernel never allocates, never draws state
 * from anywhere but its call, and gives the same bits for the same call.
 *
 * An operation is one row in ops.h, one file op/NAME.c (lk_op_NAME: the rules), one file a backend (lk_kern_ref_NAME,
 * lk_kern_cpu_NAME) and one row in tests/kern/cases.h.
 *
 * Dimension letters: B rows (samples) of a microbatch, C channels or features, L length, D H W depth, height and width, K classes. */
#ifndef LK_KERN_KERN_H
#define LK_KERN_KERN_H

#include "base/rng.h"
#include "base/space.h"
#include "kern/ops.h"

#define LK_MAX_DIMS 6
#define LK_MAX_AXES 3 /* of a convolution or a pooling window */
#define LK_MAX_IN 6
#define LK_MAX_PARAMS 8
#define LK_MAX_METRICS 8
#define LK_MAX_CLASS_WEIGHTS 64

/* Sizes, dim[0] the rows of the microbatch. */
typedef struct lk_shape {
    int ndim;
    int64_t dim[LK_MAX_DIMS];
} lk_shape;

/* Order in memory of a value [B,C,L], [B,C,H,W] or [B,C,D,H,W]; the shape is always written so. Values of other rank are plain. */
typedef enum lk_layout { LK_LAYOUT_PLAIN /* B C H W */, LK_LAYOUT_NHWC /* B H W C: channels last */ } lk_layout;

/* What a value is made of. REAL is the backend's own: double in ref, float in cpu, float or 16 bits in cuda. */
typedef enum lk_dtype { LK_DT_REAL, LK_DT_I64 } lk_dtype;

/* Functions of one number. `alpha` is the slope left of 0 in leaky_relu, the depth in elu; the others have none. */
typedef enum lk_act {
    LK_ACT_NONE,
    LK_ACT_RELU,
    LK_ACT_LEAKY_RELU,
    LK_ACT_ELU,
    LK_ACT_GELU,
    LK_ACT_GELU_TANH,
    LK_ACT_SILU,
    LK_ACT_SIGMOID,
    LK_ACT_TANH,
    LK_ACT_SOFTPLUS,
    LK_ACT_COUNT
} lk_act;

/* ---- attributes, one struct an operation; `act` is an activation that the plan fused behind the operation ---- */
typedef struct lk_attr_linear {
    int64_t units;
    bool bias;
    lk_act act;
    double alpha;
} lk_attr_linear;
/* Lists go by axis: L, or H W, or D H W. */
typedef struct lk_attr_conv { /* conv, conv_transpose (the convolution whose input gradient it is) */
    int64_t filters;
    int64_t kernel[LK_MAX_AXES], stride[LK_MAX_AXES];
    int64_t dilation[LK_MAX_AXES]; /* distance of the kernel's elements; 0: 1 */
    int64_t pad_before[LK_MAX_AXES], pad_after[LK_MAX_AXES]; /* front, top, left; back, bottom, right; zeros */
    int64_t output_pad[LK_MAX_AXES]; /* conv_transpose: places more at the end of the output */
    int64_t groups; /* channels and filters in so many parts that see only each other; 0: 1 */
    bool bias;
    lk_act act; /* NONE or RELU */
} lk_attr_conv;
typedef struct lk_attr_batch_norm {
    double eps, momentum; /* running = (1-momentum) running + momentum batch, as in PyTorch */
    bool running; /* training, too, takes the running statistics and leaves them as they are (frozen layers) */
    lk_act act;           /* NONE or RELU */
} lk_attr_batch_norm;
typedef struct lk_attr_activation {
    lk_act act; /* not NONE */
    double alpha;
} lk_attr_activation;
typedef struct lk_attr_pool { /* max_pool, avg_pool */
    int64_t kernel[LK_MAX_AXES], stride[LK_MAX_AXES];
    int64_t pad[LK_MAX_AXES]; /* on both sides; average counts the padding, as in PyTorch; max ignores it */
} lk_attr_pool;
typedef struct lk_attr_resize { /* adaptive_avg_pool, upsample */
    int64_t size[LK_MAX_AXES];   /* adaptive_avg_pool: of the output */
    int64_t factor[LK_MAX_AXES]; /* upsample */
    bool linear; /* upsample: between places, corners not aligned; else the nearest place */
} lk_attr_resize;
typedef struct lk_attr_norm { /* layer_norm, rms_norm, group_norm */
    double eps;
    int64_t groups; /* group_norm: of neighbouring channels */
    bool bias;      /* layer_norm */
} lk_attr_norm;
typedef struct lk_attr_glu {
    lk_act act; /* of the gate: sigmoid (glu), silu (swiglu), gelu (geglu) */
} lk_attr_glu;
/* What is dropped as one: an element, a channel of a sample of [B,C,...], a sample. */
typedef enum lk_drop_unit { LK_DROP_ELEMENT, LK_DROP_CHANNEL, LK_DROP_SAMPLE } lk_drop_unit;
typedef struct lk_attr_dropout {
    double rate; /* share dropped, in [0,1) */
    lk_drop_unit unit;
} lk_attr_dropout;
typedef struct lk_attr_scale {
    double factor;
} lk_attr_scale;
/* Dimensions are counted with the rows: 0, which no operation changes. */
typedef struct lk_attr_axis { /* concat, slice */
    int axis;
    int64_t start, length; /* slice */
} lk_attr_axis;
typedef struct lk_attr_reshape {
    lk_shape sample; /* without rows */
} lk_attr_reshape;
typedef struct lk_attr_permute {
    int order[LK_MAX_DIMS]; /* dimension i of the output is order[i] of the input; order[0] = 0 */
} lk_attr_permute;
typedef struct lk_attr_pad {
    int64_t before[LK_MAX_DIMS], after[LK_MAX_DIMS];
    double value;
} lk_attr_pad;
typedef struct lk_attr_reduce {
    bool mean;     /* else the sum */
    bool keep;     /* the axes stay with size 1 */
    unsigned axes; /* bit i: dimension i */
} lk_attr_reduce;
typedef struct lk_attr_add {
    lk_act act;
    double alpha;
} lk_attr_add;
typedef struct lk_attr_embedding {
    int64_t size, units; /* ids in [0, size); units of output each */
    double deviation;    /* of the first weights */
} lk_attr_embedding;
typedef struct lk_attr_positions {
    int64_t max;      /* learned: the longest sequence that has weights */
    bool sinusoidal;  /* no weights, any length */
    double deviation; /* learned: of the first weights */
} lk_attr_positions;
/* Losses: `scale` is the loss's share, which LK_METRIC_LOSS and the gradient are multiplied by; 0 stands for 1. */
typedef struct lk_attr_loss { /* mse, mae, hinge, kl_normal */
    double scale;
} lk_attr_loss;
typedef struct lk_attr_cross_entropy {
    double scale;
    double smoothing;  /* share of the target that is spread over all classes, in [0,1) */
    bool has_ignored;
    int64_t ignored;   /* a class id that counts for nothing */
    int n_weights;     /* 0, or as many as classes */
    double weight[LK_MAX_CLASS_WEIGHTS];
} lk_attr_cross_entropy;
typedef struct lk_attr_bce_logits {
    double scale, positive; /* weight of the positive targets; 0 stands for 1 */
} lk_attr_bce_logits;
typedef struct lk_attr_huber {
    double scale, delta; /* where the square becomes a line; 0 stands for 1 */
} lk_attr_huber;
typedef enum lk_gan_kind { LK_GAN_NON_SATURATING, LK_GAN_LEAST_SQUARES, LK_GAN_WASSERSTEIN, LK_GAN_HINGE } lk_gan_kind;
typedef enum lk_gan_role { LK_GAN_REAL /* scores of true samples */, LK_GAN_FAKE /* of made-up ones */, LK_GAN_GENERATOR /* of made-up ones, for who makes them */ } lk_gan_role;
typedef struct lk_attr_gan {
    double scale;
    lk_gan_kind kind;
    lk_gan_role role;
} lk_attr_gan;
typedef struct lk_attr_spectral_norm {
    lk_shape weight; /* of the layer in front: [outputs, ...] */
    int axis;        /* of the input: that of the outputs */
} lk_attr_spectral_norm;
typedef struct lk_attr_noise {
    int ndim; /* 0: the shape of the input */
    int64_t dim[LK_MAX_DIMS - 1]; /* of a sample */
} lk_attr_noise;
typedef struct lk_attr_attention {
    int64_t heads, kv_heads; /* of queries; of keys and values, which divides it: each serves heads / kv_heads neighbours; 0: heads */
    bool causal;             /* query i sees keys 0 to i */
    bool rotary;             /* turns queries and keys by their place, see lki_rotary_angle */
    double scale;            /* of the products of queries and keys; 0: 1 / sqrt(size of a head) */
    double rate;             /* share of the probabilities that dropout drops, in [0,1) */
} lk_attr_attention;
/* lstm, gru, rnn: one layer in one direction. */
typedef struct lk_attr_recurrent {
    int64_t units;
    bool reverse; /* walks each sample from its last valid step to its first */
    bool carry;   /* the state goes on from step to step of the training: lk_call.carry; not with reverse */
    bool relu;    /* rnn: in place of tanh */
    int layer;    /* number in the names of the parameters */
} lk_attr_recurrent;
typedef struct lk_attr_last_step {
    bool reverse; /* the last one of the backward direction: step 0 */
} lk_attr_last_step;

typedef union lk_attrs {
    lk_attr_linear linear;
    lk_attr_conv conv;
    lk_attr_batch_norm batch_norm;
    lk_attr_activation activation;
    lk_attr_norm norm;
    lk_attr_glu glu;
    lk_attr_pool pool;
    lk_attr_resize resize;
    lk_attr_dropout dropout;
    lk_attr_add add;
    lk_attr_scale scale;
    lk_attr_axis axis;
    lk_attr_reshape reshape;
    lk_attr_permute permute;
    lk_attr_pad pad;
    lk_attr_reduce reduce;
    lk_attr_embedding embedding;
    lk_attr_positions positions;
    lk_attr_attention attention;
    lk_attr_loss loss;
    lk_attr_cross_entropy cross_entropy;
    lk_attr_bce_logits bce_logits;
    lk_attr_huber huber;
    lk_attr_gan gan;
    lk_attr_noise noise;
    lk_attr_spectral_norm spectral_norm;
    lk_attr_recurrent recurrent;
    lk_attr_last_step last_step;
} lk_attrs;

/* ---- parameters ---- */
/* WEIGHT: learned by the optimizer. STATISTIC: folded over microbatches (running mean...): a training forward pass writes the
 * microbatch's own value where a weight's gradient would go, and the step folds it with the op's momentum. */
typedef enum lk_param_kind { LK_PARAM_WEIGHT, LK_PARAM_STATISTIC } lk_param_kind;
typedef enum lk_init_kind {
    LK_INIT_CONSTANT, /* value */
    LK_INIT_UNIFORM,  /* in [-value, value] */
    LK_INIT_NORMAL,   /* deviation value */
    LK_INIT_TRUNCATED_NORMAL, /* likewise, drawn again beyond two deviations */
    LK_INIT_ORTHOGONAL /* value times a matrix [dim 0, the others as one] with orthonormal rows, or columns if they are fewer */
} lk_init_kind;

#define LK_SUFFIX_BYTES 32
typedef struct lk_param_info {
    char suffix[LK_SUFFIX_BYTES]; /* "weight", "bias", "running_mean", "weight_ih_l0": PyTorch's names and shapes */
    lk_shape shape;
    lk_param_kind kind;
    lk_init_kind init;
    double value;
    double momentum; /* STATISTIC: share of the fresh value */
} lk_param_info;

/* One use of an operation with all its shapes: all that a kernel knows when it is planned. */
typedef struct lk_opspec {
    lk_op op;
    lk_attrs attr;
    bool training; /* false: batch_norm uses running statistics, dropout passes through, no backward will come */
    uint64_t key;  /* tells layers apart in random draws: hash of the layer's name */
    int n_in;
    lk_shape in[LK_MAX_IN];
    lk_dtype in_dtype[LK_MAX_IN];
    lk_layout in_layout; /* of all inputs of 3 to 5 dimensions */
    lk_shape out;        /* by infer; losses: {1,{1}}, the mean loss's place holder, no memory */
    lk_layout out_layout;
    lk_dtype out_dtype;  /* by infer; REAL if it says nothing */
    /* Elements from one row of the last dimension to the next, of input 0 and of the output, above the size of that dimension; 0: rows lie one behind the
     * other. What lies between rows says nothing in a value, and is 0 in its gradient. */
    int64_t in_pitch, out_pitch;
    int n_params;
    lk_param_info param[LK_MAX_PARAMS]; /* by infer */
} lk_opspec;

/* What backward reads besides dy, the parameters and its own saved bytes: LK_NEEDS_IN(i) input i, LK_NEEDS_X all inputs, LK_NEEDS_SUM the sum of the inputs,
 * which is a second output of such an operation (lk_call.sum). */
#define LK_NEEDS_IN(i) (1u << (i))
enum { LK_NEEDS_X = (1 << LK_MAX_IN) - 1, LK_NEEDS_Y = 1 << LK_MAX_IN, LK_NEEDS_SUM = 2 << LK_MAX_IN };

/* Places of a loss in lk_micro.metrics. The mean loss is LOSS / WEIGHT; a named sum at NAMED or beyond is reported as itself / COUNT. */
enum { LK_METRIC_LOSS, LK_METRIC_WEIGHT, LK_METRIC_COUNT, LK_METRIC_NAMED };

/* A microbatch in flight: what kernels may know of it. */
typedef struct lk_micro {
    int64_t rows;          /* B */
    int64_t valid;         /* rows [0, valid) are samples; the rest is padding with weight 0 (its values are finite) */
    const int64_t *sample; /* [B] sample ids; host */
    uint64_t seed;
    int64_t step;      /* from 0 */
    double grad_scale; /* losses: gradient of metrics[LK_METRIC_LOSS] is multiplied by this (1 / valid samples of the global batch, times the loss's share) */
    double *metrics;   /* [LK_MAX_METRICS] in the backend's space; losses: sums over valid rows are stored (not added) here, all that metric[] names */
} lk_micro;

/* What a kernel that runs later than its call reads in place of lk_micro: in the backend's space, so that the same queued work may be done
 * again for another microbatch. */
typedef struct lk_live {
    int64_t valid;
    double grad_scale;
    int64_t folds_after;   /* non-empty microbatches of the step behind this one: lk_backend.scale_statistics */
    const int64_t *sample; /* [B] in the backend's space */
    int64_t *fault;        /* [LK_FAULT_WORDS] in the backend's space: what was found wrong with the data, see lk_fault */
} lk_live;

/* Bad data, found by a kernel that can only leave a note: the first that finds something writes. */
enum { LK_FAULT_KIND, LK_FAULT_NODE, LK_FAULT_ROW, LK_FAULT_VALUE, LK_FAULT_LIMIT, LK_FAULT_WORDS };
typedef enum lk_fault {
    LK_FAULT_NONE,
    LK_FAULT_CLASS,  /* class id VALUE outside [0, LIMIT) */
    LK_FAULT_ID,     /* id VALUE outside [0, LIMIT) */
    LK_FAULT_TARGET, /* target outside [0, 1]: VALUE are the bits of the double */
    LK_FAULT_LENGTH  /* length VALUE outside [0, LIMIT] */
} lk_fault;
/* The error that such a note stands for: LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lk_fault_status(const lk_micro *m, const int64_t fault[LK_FAULT_WORDS]);

/* The rules of an operation, the same for all backends. */
typedef struct lk_opinfo {
    const char *name; /* "linear" */
    int n_in;         /* at least this many inputs, */
    int n_optional;   /* and up to so many more behind them; spec.n_in tells how many there are */
    bool loss;        /* no output value, writes metrics, starts the backward pass; a graph may end in several */
    const char *metric[LK_MAX_METRICS]; /* loss: "loss", "weight", "count", then what it sums beside them: "accuracy" */
    /* From in[], attr: fills out, n_params, param[]. Errors: LK_E_SHAPE with the shapes, LK_E_RANGE with the attribute, without layer
     * names (the caller prefixes); the spec is then undefined but for what was given. */
    lk_status (*infer)(lk_opspec *s);
    /* LK_NEEDS_ bits. */
    unsigned (*needs)(const lk_opspec *s);
    /* Optional (NULL: never): the gradient of each input is that of the output, as it is. */
    bool (*passes)(const lk_opspec *s);
    /* Multiplications and additions of a forward pass; backward counts twice that for ops with weights, else once. */
    double (*flops)(const lk_opspec *s);
    /* Optional (NULL: draws nothing): the stream that the operation draws from in this microbatch. */
    lk_rng (*stream)(const lk_opspec *s, const lk_micro *m);
} lk_opinfo;

/* ---- calls ---- */
/* How a parameter is rounded to fewer bits at random, so that the mean of it is the number itself: element e, in the order of its shape, by word e
 * of row `row`. */
typedef struct lk_rounding {
    lk_rng rng;
    uint64_t row;
} lk_rounding;

typedef struct lk_call {
    const lk_opspec *spec;
    const lk_micro *micro;
    void *state;               /* what plan made, shared by threads, read only */
    const void *packed;        /* what pack wrote, shared by threads, read only in forward and backward */
    const void *x[LK_MAX_IN];  /* inputs; backward: only if needs() says so, else NULL */
    void *y;                   /* forward: output; backward: only if needs() says so (read only then) */
    void *sum;                 /* LK_NEEDS_SUM: written by forward, read by backward */
    const void *param[LK_MAX_PARAMS];
    void *dparam[LK_MAX_PARAMS]; /* written, not added to; NULL where nobody asks (frozen); STATISTIC: written by a training forward */
    const void *dy;            /* backward: gradient of the output; losses: NULL. Read only, unless it is dx[0] */
    /* Backward, for kernels with `residual`: the gradient that the sum of the inputs (of one: that input) has from its other consumers, or NULL. dx[0] is
     * both together, and, with LK_NEEDS_SUM, the gradient of each input; dx[1] is NULL. Read only, unless it is dx[0]; may be dy. */
    const void *dsum;
    void *dx[LK_MAX_IN];       /* backward: written, not added to; NULL where nobody asks */
    void *saved;               /* [saved_bytes] from forward to backward of the same microbatch; NULL if not training */
    void *scratch;             /* [scratch_bytes], contents undefined on entry */
    /* For backends whose space is not the host; else NULL. Both in that space. */
    const lk_live *live;
    const uint32_t *key; /* [2] of the operation's stream, if it has one */
    int node;            /* its number, for notes of bad data */
    const lk_rounding *rounding; /* pack: [LK_MAX_PARAMS], on the host, how a parameter is rounded where values have fewer bits; NULL: to nearest */
    void *carry;               /* [carry_bytes] state of the rows from one step to the next (recurrent layers): zero at the start, read and written by forward; NULL: start from zero, keep nothing */
} lk_call;

typedef struct lk_kern_plan {
    void *state; /* freed by destroy */
    size_t saved_bytes, scratch_forward, scratch_backward, packed_bytes;
    size_t carry_bytes; /* rows times the same for each row */
} lk_kern_plan;

typedef enum lk_layout_rule { LK_LAYOUTS_ANY /* in: takes either; out: as the input */, LK_LAYOUTS_PLAIN, LK_LAYOUTS_NHWC } lk_layout_rule;

/* One operation on one backend. Buffers are 64-byte aligned. All run on the calling thread alone. */
typedef struct lk_kernel {
    lk_layout_rule in_rule, out_rule;
    bool in_place;    /* forward may be given y == x[0] */
    bool in_place_dx; /* backward may be given dx[0] == dy */
    bool in_place_x;  /* backward, which reads x[0], may be given dx[0] == x[0] */
    /* Takes two inputs, of which it writes the sum too, and adds lk_call.dsum; in_place: y and sum may be inputs, not the same; in_place_dx: dx[0] == dsum */
    bool residual;
    /* Optional: the pitch that rows of the output had best have, 0: none. It gets that where the only one that reads them takes it. */
    int64_t (*out_pitch)(const lk_opspec *s);
    /* Optional: whether input 0 may have a pitch. */
    bool (*in_pitch)(const lk_opspec *s);
    /* Optional (NULL: all sizes 0, no state). Setup time: may allocate. */
    lk_status (*plan)(const lk_opspec *s, lk_kern_plan *out);
    /* Optional: parameters (in call->param) -> call->packed (cast to writable), after each update; `scratch` as in forward. */
    lk_status (*pack)(const lk_call *c);
    lk_status (*forward)(const lk_call *c);
    lk_status (*backward)(const lk_call *c);
    void (*destroy)(void *state);
} lk_kernel;

/* ---- optimizers: element by element, so any cut into runs gives the same bits; but for those that are marked `whole` ---- */
#define LK_MAX_OPT_STATE 2
typedef struct lk_opt_args {
    double lr, weight_decay, momentum, beta1, beta2, eps, trust;
    bool nesterov;
    int64_t t;         /* update number, from 1 */
    double grad_scale; /* clipping: g is multiplied by this first */
    /* `whole` ones alone: */
    const lk_shape *shape; /* of the parameter */
    bool hidden;           /* muon: a matrix inside of the network */
    void *scratch;         /* lk_opt_scratch bytes, contents undefined */
} lk_opt_args;

typedef struct lk_opt_info {
    const char *name; /* "adamw" */
    int n_state;
    const char *state[LK_MAX_OPT_STATE]; /* "exp_avg", "exp_avg_sq"; "momentum_buffer": PyTorch's names */
    bool whole; /* takes a whole parameter in one call, since it needs norms or products of it */
} lk_opt_info;

/* p [n] and state[i] [n] are updated from g [n]; all of the backend's real type. */
typedef void (*lk_opt_fn)(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a);

/* A statistic's place in a leaf of gradients. */
typedef struct lk_stat_item {
    int64_t first, n; /* elements from the leaf's beginning */
    double momentum;
} lk_stat_item;

/* How gradients are changed before the update. */
typedef struct lk_perturb {
    double scale;     /* multiplied by this, */
    double clip;      /* then brought into [-clip, clip]; 0: not */
    double deviation; /* then so many normal draws are added: element e has that of `row`, e */
    lk_rng rng;
    uint64_t row, first; /* first: e of the first element */
} lk_perturb;

/* ---- updates of many parameters in one call ---- */
/* What lies where in the flat vector of all weights, in the backend's space: made once. */
typedef struct lk_flat_param {
    int64_t first, count; /* place; what is behind it, up to the next one, is padding, and stays as it is */
    int32_t group;        /* -1: not updated */
    bool weight;          /* has a running mean where weights have one */
    lk_rng rng;           /* of its gradient's noise */
} lk_flat_param;
typedef struct lk_flat_map {
    int64_t tile;            /* parameters begin at multiples of so many elements, itself a multiple of 4 */
    const int32_t *param_of; /* [elements / tile] who lies there */
    const lk_flat_param *param;
} lk_flat_map;

/* What is done to the parameters of a group: they are statistics that are folded, or weights that the optimizer updates. */
typedef struct lk_flat_group {
    bool fold;
    double keep; /* see lk_backend.fold */
    lk_opt_args args;
} lk_flat_group;
/* A call has at most so many groups; parameters of others are left alone. */
#define LK_FLAT_GROUPS 16

/* Elements [first, first + n) of the flat vector, multiples of the tile, n above 0; all arrays begin at element `first`. */
typedef struct lk_flat_call {
    lk_flat_map map;
    int64_t first, n;
    int first_group, n_groups;
    lk_flat_group group[LK_FLAT_GROUPS];
    const lk_perturb *change; /* of the weights' gradients, with each parameter's own rng and elements counted from its first; NULL: none */
    void *weights, *state[LK_MAX_OPT_STATE];
    const void *sum;
} lk_flat_call;
/* Each element gets what optimizer, fold and perturb, called parameter by parameter, give it, to the bit. */
typedef void (*lk_flat_fn)(const lk_flat_call *c);

/* ---- backends ---- */
/* Types of values that a backend computes with; weights, gradients and optimizer state stay float32. tf32: values of float32 whose products round
 * their factors to 10 bits. */
typedef enum lk_precision { LK_PRECISION_FP32, LK_PRECISION_TF32, LK_PRECISION_BF16, LK_PRECISION_FP16, LK_PRECISIONS } lk_precision;
#define LK_PRECISION_CHOICES "fp32|tf32|bf16|fp16"
/* "bf16" */
const char *lk_precision_name(lk_precision p);

/* All arrays lie in `space`. Weights, gradients, optimizer state are arrays of numbers of real_size, values of REAL of value_size. */
typedef struct lk_backend {
    const char *name;
    const lk_space *space;
    size_t real_size;  /* 8 or 4 */
    size_t value_size; /* real_size, or 2 */
    const lk_kernel *kernel[LK_OP_COUNT];
    lk_opt_fn optimizer[LK_OPT_COUNT];
    /* Sums of squares of the n_tiles runs of `tile` elements of x, in double, each in an order fixed by `tile` alone. */
    void (*tile_squares)(int64_t n_tiles, int64_t tile, const void *x, double *out);
    /* float [n] <-> values of REAL [n]. */
    void (*from_float)(int64_t n, const float *x, void *out);
    void (*to_float)(int64_t n, const void *x, float *out);
    /* old = keep old + fresh */
    void (*fold)(int64_t n, double keep, void *old, const void *fresh);
    /* mean += share (x - mean); share 1: mean = x, to the bit */
    void (*average)(int64_t n, double share, const void *x, void *mean);
    void (*perturb)(int64_t n, const lk_perturb *p, void *gradient);
    /* Optional, for backends to which a call costs more than its elements; all optimizers that go element by element, or none. */
    lk_flat_fn flat[LK_OPT_COUNT];
    /* As average for the weights among the parameters, a copy for all else; with `flat`. */
    void (*flat_average)(const lk_flat_map *map, int64_t first, int64_t n, double share, const void *x, void *mean);
    /* Fresh statistics enter a sum over microbatches with weight momentum (1 - momentum)^after, where `after` non-empty microbatches come
     * behind this one: the sum is then what folding them one after the other would have added (docs/exactness.md). `item` [n] is in the space;
     * `after` is live->folds_after where there is one. */
    void (*scale_statistics)(int n, const lk_stat_item *item, int64_t after, const lk_live *live, void *leaf);
    /* Optional: once in each thread that will run kernels (keeps libraries on that one thread). */
    void (*thread_setup)(void);
} lk_backend;

extern const lk_backend lk_backend_ref, lk_backend_cpu;

/* Rules of an operation. */
const lk_opinfo *lk_op_info(lk_op op);
const lk_opt_info *lk_opt_get(lk_opt opt);
/* Bytes of scratch that an update of a parameter takes on that backend which needs most, for numbers of `real_size` bytes. */
size_t lk_opt_scratch(lk_opt opt, const lk_shape *shape, size_t real_size);
/* "gelu_tanh"; "" for NONE. */
const char *lk_act_name(lk_act act);

/* Product of all dimensions, or of all but the first. Dimensions are checked by infer, so products cannot overflow. */
int64_t lk_shape_count(const lk_shape *s);
int64_t lk_shape_row(const lk_shape *s);
/* Elements that a value takes whose rows of the last dimension begin `pitch` elements apart (lk_opspec.in_pitch). */
int64_t lk_shape_pitched(const lk_shape *s, int64_t pitch);
bool lk_shape_equal(const lk_shape *a, const lk_shape *b);
/* [B,C,L], [B,C,H,W] or [B,C,D,H,W]: such values may lie channels last. */
bool lk_shape_spatial(const lk_shape *s);
/* "[8,3,32,32]" */
#define LK_SHAPE_TEXT 128
const char *lk_shape_print(const lk_shape *s, char text[LK_SHAPE_TEXT]);
/* LK_E_SHAPE unless every dimension is positive and the product below 2^62. */
LK_MUST_USE lk_status lk_shape_check(const lk_shape *s, const char *what);

#endif
