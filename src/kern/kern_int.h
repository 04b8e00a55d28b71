/* Inside the room: what ops.h makes every operation and optimizer define, and the few rules that all backends must
 * share to the bit. */
#ifndef LK_KERN_KERN_INT_H
#define LK_KERN_KERN_INT_H

#include "base/rng.h"
#include "kern/kern.h"

#define X(NAME, name) \
    extern const lk_opinfo lk_op_##name; /* op/NAME.c */ \
    extern const lk_kernel lk_kern_ref_##name; /* ref/NAME.c */ \
    extern const lk_kernel lk_kern_cpu_##name; /* cpu/NAME.c */
LK_OP_LIST(X)
#undef X

#define X(NAME, name) \
    void lk_opt_ref_##name( \
        int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a); \
    void lk_opt_cpu_##name( \
        int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a);
LK_OPT_LIST(X)
#undef X

/* ---- for all backends ---- */
/* muon's scratch: two matrices of the parameter's size, two squares of its shorter side, LKI_NORM_BYTES. */
static inline int64_t lki_muon_side(const lk_shape *s)
{
    return s->dim[0] < s->dim[1] ? s->dim[0] : s->dim[1];
}
static inline size_t lki_muon_bytes(int64_t rows, int64_t cols, size_t real_size)
{
    return ((size_t)rows * (size_t)cols * real_size + 63) / 64 * 64;
}
/* Scratch of lars, lamb and muon where norms are taken on a device: sums in so many parts, two each, and what follows from them. */
#define LKI_NORM_PARTS 256
#define LKI_NORM_BYTES ((2 * LKI_NORM_PARTS + 1) * sizeof(double))
/* Coefficients of muon's iteration X <- a X + (b A + c A A) X, A = X X^T, and how often it is done. */
#define LKI_MUON_STEPS 5
#define LKI_MUON_A 3.4445
#define LKI_MUON_B (-4.7750)
#define LKI_MUON_C 2.0315
#define LKI_MUON_EPS 1e-7

/* Dropout's draw: word e of row micro->sample[b] of this stream decides on unit e (element in C H W order, channel, or the
 * whole sample: 0) of sample b. */
lk_rng lki_dropout_stream(const lk_opspec *s, const lk_micro *m);
/* Units of a sample. */
int64_t lki_dropout_units(const lk_opspec *s);
/* Dropped iff word < limit: word < rate 2^32 in whole numbers. */
uint64_t lki_dropout_limit(double rate);
/* gaussian's and noise's draws: element e of row micro->sample[b] of this stream is for element e of sample b. */
lk_rng lki_noise_stream(const lk_opspec *s, const lk_micro *m);
/* The error of a target outside [0, 1]: LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lki_target_fail(const lk_micro *m, int64_t row, double target);

/* The error of a length outside [0, most]: LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lki_length_fail(const lk_micro *m, int64_t row, int64_t length, int64_t most);
/* What lk_backend.perturb makes of element i of a run, which is g. */
double lki_perturbed(const lk_perturb *p, double g, int64_t i);
/* See lk_backend.scale_statistics. */
double lki_statistic_weight(double momentum, int64_t after);

/* The error of an embedding's id outside [0, size): LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lki_id_fail(const lk_micro *m, int64_t row, int64_t id, int64_t size);

/* Sine and cosine positions (Vaswani et al. 2017, section 3.5): column c of place t of `units` columns,
 * sin(t / 10000^(c / units)) where c is even, the cosine of the same angle behind it. */
double lki_sinusoid(int64_t t, int64_t c, int64_t units);

/* How attention's inputs lie. A row of a sequence of q is heads times d numbers, of k and v kv_heads times d. */
typedef struct lki_heads {
    int64_t batch, t, s; /* samples, queries, keys each */
    int64_t heads, kv_heads, d;
    int kv_in; /* input that holds keys and values; 0: packed with the queries */
    int lengths_in; /* input of lengths; -1: none */
    int64_t q_row, kv_row; /* elements from a row of a sequence to the next */
    int64_t k_at, v_at; /* place in such a row */
    double scale;
} lki_heads;
/* Errors: LK_E_SHAPE, LK_E_RANGE. */
LK_MUST_USE lk_status lki_heads_check(const lk_opspec *s, lki_heads *out);
/* The same after a successful infer. */
lki_heads lki_heads_of(const lk_opspec *s);
/* Keys of sample b that count: 0 in padding rows, else all or `lengths`; LK_E_DATA where that is outside [0, s]. */
LK_MUST_USE lk_status lki_keys(const lki_heads *h, const lk_micro *m, const int64_t *lengths, int64_t b, int64_t *n);
/* Dropout of probability (head, i, j) of a sample is by this word of its row of lki_dropout_stream, plus j; a multiple
 * of 4. */
uint64_t lki_probability_word(const lki_heads *h, int64_t head, int64_t i);
/* Rotary positions (Su et al. 2021, RoFormer, section 3.2.2, base 10000), in halves as in GPT-NeoX: elements c and
 * c + d/2 of a head are a point that is turned by this angle at place t of the sequence. */
double lki_rotary_angle(int64_t t, int64_t c, int64_t d);

/* The error of a class id outside [0, classes): LK_E_DATA with sample and value. */
LK_MUST_USE lk_status lki_class_fail(const lk_micro *m, int64_t row, int64_t id, int64_t classes);

/* Backward reads the output of `act`, or of nothing (NONE); else its input. */
bool lki_act_by_output(lk_act act);
/* What a fused `act` adds to the operation's needs; where backward reads the input of `act`, the kernel saves it. */
unsigned lki_act_needs(lk_act act);
/* Operations of one evaluation; functions of a library count as one. */
double lki_act_flops(lk_act act);

/* Valid steps of each row, out of `steps`: from input `i` where the call has one, else all; none in padding rows. LK_E_DATA
 * for a length outside [0, steps] in a valid row. Returns the most in *longest. */
LK_MUST_USE lk_status lki_lengths(const lk_call *c, int i, int64_t steps, int64_t *length, int64_t *longest);

/* The last dimension, and the product of all before it. */
int64_t lki_shape_last(const lk_shape *s);
int64_t lki_shape_lead(const lk_shape *s);
/* Places of a channel: the product of all dimensions behind [B,C]. */
int64_t lki_shape_area(const lk_shape *s);
/* Places in lists of three axes. */
enum { AT_D, AT_H, AT_W };
/* A list by axis of a spatial shape s as D, H, W: `fill` for those that s has not. */
void lki_axes(const lk_shape *s, const int64_t v[LK_MAX_AXES], int64_t fill, int64_t out[LK_MAX_AXES]);
/* The same of its own sizes: D, H, W, with 1 for those that it has not. */
void lki_axes_size(const lk_shape *s, int64_t out[LK_MAX_AXES]);

/* spectral_norm: norms are no smaller, so that a weight of zeros gives no division by zero. */
#define LKI_SPECTRAL_LEAST 1e-12

/* ---- for op/NAME.c ---- */
/* The operation has its number of inputs, and input i is real numbers of `low` to `high` dimensions; `form` names them
 * for the message: "[batch, channels, height, width]". */
LK_MUST_USE lk_status lki_input_check(const lk_opspec *s, int i, int low, int high, const char *form);
/* The same for an input of whole numbers, called `what` in the message. */
LK_MUST_USE lk_status lki_ids_check(const lk_opspec *s, int i, int low, int high, const char *what, const char *form);
/* `act` is one that the operation can have fused behind it: any, or relu alone; alpha is one that `act` can have. */
LK_MUST_USE lk_status lki_act_check(lk_act act, double alpha, bool any);
/* `axis` is one of a sample's. */
LK_MUST_USE lk_status lki_axis_check(const lk_shape *in, int axis);
/* The length of a row for reduce; that of a padding row is not looked at. LK_E_DATA outside [0, size]. */
LK_MUST_USE lk_status lki_length(const lk_call *c, int64_t row, int64_t *out);
/* One parameter more. */
LK_MUST_USE lk_status lki_param_add(lk_opspec *s, lk_param_info p);
/* What the inputs of operations over windows look like, for lki_input_check with 3 to 5 dimensions. */
#define LKI_SPATIAL_FORM "[batch, channels, length], [batch, channels, height, width] or [batch, channels, depth, height, width]"
/* "height": the name of dimension `axis` of a spatial value of `ndim` dimensions. */
const char *lki_axis_name(int ndim, int axis);
/* Number of places for a window of `kernel` elements `dilation` apart on dimension `axis` with padding, at least 1. */
LK_MUST_USE lk_status lki_window_count(const lk_shape *in, int axis, int64_t kernel, int64_t stride, int64_t dilation,
    int64_t before, int64_t after, int64_t *out);
/* conv, conv_transpose: groups (1 for 0) and filters in range and fit for the input's channels; the parameters. */
LK_MUST_USE lk_status lki_groups_check(lk_attr_conv *a, int64_t channels);
LK_MUST_USE lk_status lki_conv_params(lk_opspec *s, const lk_shape *weight);
/* Output of a pooling operation. */
LK_MUST_USE lk_status lki_pool_infer(lk_opspec *s);
/* Input i, if there is one, is one length (whole number) a row. */
LK_MUST_USE lk_status lki_lengths_check(const lk_opspec *s, int i);
/* Shapes and parameters of lstm, gru and rnn, which have that many gates. */
LK_MUST_USE lk_status lki_recurrent_infer(lk_opspec *s, int gates);
/* Products with both weights; what is done element by element is left out. */
double lki_recurrent_flops(const lk_opspec *s);
/* Output of an element by element operation: the shape of input 0. */
LK_MUST_USE lk_status lki_same_infer(lk_opspec *s);
/* A loss: no output, and a share (`scale`, or NULL) that is 0 or above 0. */
LK_MUST_USE lk_status lki_loss_infer(lk_opspec *s, const double *scale);
/* A loss of two inputs of the same shape, named so in messages. */
LK_MUST_USE lk_status lki_pair_loss_infer(lk_opspec *s, const double *scale, const char *a, const char *b);
/* 0 stands for 1. */
static inline double lki_or_one(double v)
{
    return v == 0 ? 1 : v;
}
/* The usual answers of `needs` and `flops`. */
unsigned lki_needs_none(const lk_opspec *s);
unsigned lki_needs_x(const lk_opspec *s);
/* The input, or, of two, their sum. */
unsigned lki_needs_sum(const lk_opspec *s);
/* One input of `low` dimensions or more, or two of the same shape. */
LK_MUST_USE lk_status lki_residual_check(const lk_opspec *s, int low, const char *form);
unsigned lki_needs_y(const lk_opspec *s);
double lki_flops_none(const lk_opspec *s);

#endif
