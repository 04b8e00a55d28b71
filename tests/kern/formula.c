/* kern/formula.h, in float, against ref and double-precision libm. No device is needed: these are the functions that device kernels are made of. */
#include "kern/formula.h"

#include "base/rng.h"
#include "kern/harness.h"
#include "kern/ref/ref_int.h"

#include <float.h>

/* ---- functions of one number ---- */

/* 0, both signs of what lies densely up to where the smallest float is e^-x, and powers of two as far as floats go. */
enum { DENSE = 60000, POWERS = 270 };
static float point(int i)
{
    const int k = i / 2;
    const float sign = i % 2 ? -1.0f : 1.0f;
    return sign * (k < DENSE ? 110.0f * (float)k / (float)DENSE : ldexpf(1.37f, k - DENSE - 142));
}
enum { POINTS = 2 * (DENSE + POWERS) };

/* The argument of gelu_tanh's sigmoid. */
static double inner(double x)
{
    return 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
}

/* As ref_act, but for the two whose 1 + erf and 1 + tanh cancel far left even in double. */
static double exact(lk_act act, double alpha, double x)
{
    if (act == LK_ACT_GELU)
        return 0.5 * x * erfc(-x * M_SQRT1_2);
    if (act == LK_ACT_GELU_TANH)
        return x / (1 + exp(-inner(x)));
    return ref_act(act, alpha, x);
}

/* The slope and, in *terms, the sum of the sizes of what it is a sum of. */
static double exact_slope(lk_act act, double alpha, double v, double *terms)
{
    const double s = 1 / (1 + exp(-v)), density = exp(-0.5 * v * v) / sqrt(2 * M_PI), p = 0.5 * erfc(-v * M_SQRT1_2);
    const double u = 1 / (1 + exp(-inner(v))), rest = 1 / (1 + exp(inner(v)));
    const double turn = u == 0 || rest == 0 ? 0 : v * u * rest * 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * v * v);
    double want = ref_act_back(act, alpha, v, 1);
    *terms = fabs(want);
    if (act == LK_ACT_GELU) {
        want = p + v * density;
        *terms = p + fabs(v) * density;
    } else if (act == LK_ACT_GELU_TANH) {
        want = u + turn;
        *terms = u + fabs(turn);
    } else if (act == LK_ACT_SILU) {
        *terms = s * (1 + fabs(v) / (1 + exp(v)));
    }
    return want;
}

/* Places of the last digit that a value and a slope may be wrong by. An exponential makes a rounding of its argument larger by that argument's size. */
static const struct bound {
    double value, slope;
} bounds[LK_ACT_COUNT] = {
    [LK_ACT_NONE] = {0, 0},
    [LK_ACT_RELU] = {0, 0},
    [LK_ACT_LEAKY_RELU] = {1, 1},
    [LK_ACT_ELU] = {2, 2},
    [LK_ACT_GELU] = {2.5, 3},
    [LK_ACT_GELU_TANH] = {2.5, 4},
    [LK_ACT_SILU] = {2.5, 3},
    [LK_ACT_SIGMOID] = {2, 2},
    [LK_ACT_TANH] = {2, 2},
    [LK_ACT_SOFTPLUS] = {2, 2},
};
static double argument(lk_act act, double x)
{
    return act == LK_ACT_GELU ? x * x : act == LK_ACT_GELU_TANH ? 1.5 * fabs(inner(x)) : 0;
}

static void check_close(lk_act act, const char *what, float x, float got, double want, double terms, double places)
{
    /* Below the smallest normal number a place is always FLT_TRUE_MIN; gelu_tanh multiplies such a one by x^3. */
    const double factor = fmin(fmax(fabs((double)x), 1), 110);
    const double limit = places * terms * FLT_EPSILON + (places > 0 ? 2 * factor * factor * factor * (double)FLT_TRUE_MIN : 0);
    cr_assert(fabs((double)got - want) <= limit || (fabs(want) > FLT_MAX && (double)got == copysign(INFINITY, want)),
        "%s %s at %.9g is %.9g, not %.9g: %.3g places", lk_act_name(act), what, (double)x, (double)got, want,
        fabs((double)got - want) / fmax(fabs(want) * FLT_EPSILON, FLT_TRUE_MIN));
}

Test(formula, activations)
{
    static const float alphas[] = {0.01f, 1.0f, 1.5f};
    for (int act = 0; act < LK_ACT_COUNT; act++)
        for (size_t j = 0; j < sizeof alphas / sizeof alphas[0]; j++)
            for (int i = 0; i < POINTS; i++) {
                const lk_act a = (lk_act)act;
                const float x = point(i), alpha = alphas[j], y = lki_formula_act(a, alpha, x), dy = 1.75f;
                const double value = exact(a, (double)alpha, (double)x);
                check_close(a, "value", x, y, value, fabs(value), bounds[act].value + argument(a, (double)x));
                const float v = lki_act_by_output(a) ? y : x;
                double terms;
                const double slope = exact_slope(a, (double)alpha, (double)v, &terms);
                check_close(a, "slope", v, lki_formula_act_back(a, alpha, v, dy), slope * (double)dy, terms * (double)dy,
                    bounds[act].slope + argument(a, (double)v));
            }
}

/* Where ref gives NaN for a NaN, so do these; the others pass the gradient as ref does. */
Test(formula, nan_stays)
{
    for (int act = 0; act < LK_ACT_COUNT; act++) {
        const lk_act a = (lk_act)act;
        cr_assert(isnan(ref_act(a, 0.5, NAN)) && isnan(lki_formula_act(a, 0.5f, NAN)), "%s loses a NaN", lk_act_name(a));
        cr_assert(isnan(lki_formula_act_back(a, 0.5f, NAN, 1.0f)) == isnan(ref_act_back(a, 0.5, NAN, 1)), "slope of %s at a NaN", lk_act_name(a));
        cr_assert(isnan(lki_formula_act_back(a, 0.5f, 0.25f, NAN)), "%s loses a NaN in a gradient", lk_act_name(a));
    }
}

/* ---- losses: one sample of one element, against ref ---- */

typedef struct loss_case {
    lk_op op;
    lk_attrs attr;
    const char *label;
} loss_case;

#define GAN(kind_, role_) {LK_OP_GAN, {.gan = {.kind = LK_GAN_##kind_, .role = LK_GAN_##role_}}, "gan " #kind_ " " #role_}
static const loss_case losses[] = {
    {LK_OP_MSE, {{0}}, "mse"},
    {LK_OP_MAE, {{0}}, "mae"},
    {LK_OP_HUBER, {.huber = {.delta = 0.75}}, "huber"},
    {LK_OP_BCE_LOGITS, {.bce_logits = {.positive = 3}}, "bce_logits"},
    {LK_OP_HINGE, {{0}}, "hinge"},
    {LK_OP_KL_NORMAL, {{0}}, "kl_normal"},
    GAN(NON_SATURATING, REAL),
    GAN(NON_SATURATING, FAKE),
    GAN(NON_SATURATING, GENERATOR),
    GAN(LEAST_SQUARES, REAL),
    GAN(LEAST_SQUARES, FAKE),
    GAN(LEAST_SQUARES, GENERATOR),
    GAN(WASSERSTEIN, REAL),
    GAN(WASSERSTEIN, FAKE),
    GAN(WASSERSTEIN, GENERATOR),
    GAN(HINGE, REAL),
    GAN(HINGE, FAKE),
    GAN(HINGE, GENERATOR),
};
#undef GAN

static lki_formula_loss loss_of(const loss_case *l, float x, float t)
{
    switch (l->op) {
    case LK_OP_MSE:
        return lki_formula_mse(x, t);
    case LK_OP_MAE:
        return lki_formula_mae(x, t);
    case LK_OP_HUBER:
        return lki_formula_huber((float)l->attr.huber.delta, x, t);
    case LK_OP_BCE_LOGITS:
        return lki_formula_bce_logits((float)l->attr.bce_logits.positive, x, t);
    case LK_OP_HINGE:
        return lki_formula_hinge(x, t);
    case LK_OP_KL_NORMAL:
        return lki_formula_kl_normal(x, t);
    default:
        return lki_formula_gan(l->attr.gan.kind, l->attr.gan.role, x);
    }
}

/* loss, named, dx, dt */
static void exact_loss(const loss_case *l, double x, double t, double out[4])
{
    const lk_kernel *const k = lk_backend_ref.kernel[l->op];
    const int64_t sample = 0;
    lk_opspec s = {.op = l->op, .attr = l->attr, .training = true, .n_in = lk_op_info(l->op)->n_in, .in = {{2, {1, 1}}, {2, {1, 1}}}};
    double metrics[LK_MAX_METRICS];
    const lk_micro m = {.rows = 1, .valid = 1, .sample = &sample, .grad_scale = 1, .metrics = metrics};
    lk_call c = {.spec = &s, .micro = &m, .x = {&x, s.n_in > 1 ? &t : NULL}};

    KERN_OK(lk_op_info(l->op)->infer(&s));
    KERN_OK(k->forward(&c));
    out[0] = metrics[LK_METRIC_LOSS];
    out[1] = metrics[LK_METRIC_NAMED];
    out[3] = 0;
    c.dx[0] = &out[2];
    c.dx[1] = s.n_in > 1 ? &out[3] : NULL;
    KERN_OK(k->backward(&c));
}

/* A few roundings of the result, and of what it is the difference of. */
Test(formula, losses)
{
    static const float scores[] = {0, 1e-20f, 1e-4f, 0.3f, 0.75f, 1, 1.5f, 7, 30, 80};
    static const float shares[] = {0, 1e-6f, 0.3f, 0.5f, 0.7f, 1};
    enum { SCORES = sizeof scores / sizeof scores[0], SHARES = sizeof shares / sizeof shares[0] };
    static const char *const what[] = {"loss", "named", "slope", "slope of the target"};

    for (size_t l = 0; l < sizeof losses / sizeof losses[0]; l++)
        for (int i = 0; i < 2 * SCORES; i++) {
            const bool share = losses[l].op == LK_OP_BCE_LOGITS || losses[l].op == LK_OP_HINGE;
            for (int j = 0; j < (share ? SHARES : 2 * SCORES); j++) {
                const float x = i % 2 ? -scores[i / 2] : scores[i / 2], t = share ? shares[j] : j % 2 ? -scores[j / 2] : scores[j / 2];
                const lki_formula_loss f = loss_of(&losses[l], x, t);
                const float got[] = {f.loss, f.named, f.dx, f.dt};
                const double a = fabs((double)x), b = fabs((double)t);
                /* Terms that may cancel: mean squared and log variance, the two sides of a cross-entropy, 1 and the score. */
                const double kl = losses[l].op == LK_OP_KL_NORMAL ? b : 0;
                const double least = losses[l].op == LK_OP_KL_NORMAL ? DBL_EPSILON : 1e-37; /* ref takes 1 from exp(v) */
                const double terms[] = {losses[l].op == LK_OP_HINGE || losses[l].op == LK_OP_GAN ? 1 + a : kl, kl, 1, share ? 1 + a : 0};
                double want[4];
                exact_loss(&losses[l], (double)x, (double)t, want);
                for (int k = 0; k < 4; k++)
                    cr_assert(fabs((double)got[k] - want[k]) <= 4 * FLT_EPSILON * (fabs(want[k]) + terms[k]) + least, "%s at %g, %g: %s is %.9g, not %.9g",
                        losses[l].label, (double)x, (double)t, what[k], (double)got[k], want[k]);
            }
        }
}

Test(formula, losses_keep_nan)
{
    for (size_t l = 0; l < sizeof losses / sizeof losses[0]; l++) {
        double want[4];
        const lki_formula_loss f = loss_of(&losses[l], NAN, 0.5f);
        exact_loss(&losses[l], NAN, 0.5, want);
        cr_assert(isnan(want[0]) && isnan(f.loss), "%s loses a NaN", losses[l].label);
        cr_assert(isnan(want[2]) == isnan(f.dx), "%s: slope at a NaN is %g, not %g", losses[l].label, (double)f.dx, want[2]);
    }
}

/* ---- optimizers: one element, against ref ---- */

static float apply(lk_opt opt, const lki_formula_opt *k, float g, float p, float state[LK_MAX_OPT_STATE])
{
    switch (opt) {
    case LK_OPT_SGD:
        lki_formula_sgd(k, g, &p, &state[0]);
        break;
    case LK_OPT_ADAM:
        lki_formula_adam(k, g, &p, &state[0], &state[1]);
        break;
    case LK_OPT_ADAMW:
        lki_formula_adamw(k, g, &p, &state[0], &state[1]);
        break;
    case LK_OPT_RMSPROP:
        lki_formula_rmsprop(k, g, &p, &state[0], &state[1]);
        break;
    case LK_OPT_ADAGRAD:
        lki_formula_adagrad(k, g, &p, &state[0]);
        break;
    case LK_OPT_LION:
        lki_formula_lion(k, g, &p, &state[0]);
        break;
    case LK_OPT_LARS: /* of one dimension: by the learning rate alone */
        lki_formula_lars(k, k->lr, g, &p, &state[0]);
        break;
    default:
        lki_formula_means(k, g * k->scale, &state[0], &state[1]);
        p = fmaf(-k->lr, lki_formula_lamb_direction(k, p, state[0], state[1]), p);
    }
    return p;
}

static const lk_opt tested[] = {LK_OPT_SGD, LK_OPT_ADAM, LK_OPT_ADAMW, LK_OPT_RMSPROP, LK_OPT_ADAGRAD, LK_OPT_LION, LK_OPT_LARS, LK_OPT_LAMB};

static const lk_opt_args args[] = {
    {.lr = 0.1, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = 1, .t = 1},
    {.lr = 0.03, .weight_decay = 0.1, .momentum = 0.9, .nesterov = true, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .grad_scale = 0.37, .t = 7},
    {.lr = 1e-3, .weight_decay = 0.01, .beta1 = 0, .beta2 = 0.5, .eps = 1e-3, .grad_scale = 2, .t = 100000},
};

/* Sizes of weights and gradients that training meets, and far beyond. */
static const float sizes[] = {0, 1e-30f, 1e-12f, 1e-4f, 0.3f, 1, 47, 1e6f, 1e12f};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* What g becomes has a few roundings, each of the size of its terms; where the terms cancel, of theirs. */
Test(formula, optimizers)
{
    for (size_t o = 0; o < sizeof tested / sizeof tested[0]; o++)
        for (size_t j = 0; j < sizeof args / sizeof args[0]; j++)
            for (int i = 0; i < SIZES * SIZES * SIZES * 4; i++) {
                const lki_formula_opt k = lki_formula_opt_make(&args[j]);
                const lk_shape shape = {1, {1}};
                lk_opt_args a = args[j];
                const float p = sizes[i % SIZES] * (i & 1 ? -1.0f : 1.0f), g = sizes[i / SIZES % SIZES] * (i & 2 ? -1.0f : 1.0f);
                const float m = sizes[i / (SIZES * SIZES) % SIZES] * (i / (SIZES * SIZES * SIZES) & 1 ? -1.0f : 1.0f);
                /* The second state is a mean of squares, or in rmsprop the first one, and adagrad's only one. */
                const bool square_first = tested[o] == LK_OPT_RMSPROP || tested[o] == LK_OPT_ADAGRAD;
                float state[2] = {square_first ? m * m : m, square_first ? g : i / (SIZES * SIZES * SIZES * 2) & 1 ? g * g : m * m};
                const float before[2] = {state[0], state[1]};
                double want = (double)p, want_state[2] = {(double)state[0], (double)state[1]}, slope = (double)g;
                a.shape = &shape;
                lk_backend_ref.optimizer[tested[o]](1, &want, (void *[]){&want_state[0], &want_state[1]}, &slope, &a);
                const float got = apply(tested[o], &k, g, p, state);

                const double terms = fabs((double)p) * (1 + a.lr * (1 + a.weight_decay)) + fabs(want - (double)p) + a.lr * (fabs((double)g) + fabs((double)before[0]) + fabs((double)before[1]));
                /* rmsprop and adam divide by a root: what they add is bounded by itself, not by g. */
                const bool divides = tested[o] == LK_OPT_ADAM || tested[o] == LK_OPT_ADAMW || tested[o] == LK_OPT_LAMB || square_first;
                const double size = divides ? fabs((double)p) + 3 * fabs(want - (double)p) : terms;
                cr_assert(fabs((double)got - want) <= 8 * FLT_EPSILON * size + 1e-37,
                    "%s options %zu: p %g g %g state %g %g: %.9g, not %.9g", lk_opt_get(tested[o])->name, j, (double)p, (double)g,
                    (double)before[0], (double)before[1], (double)got, want);
                for (int s = 0; s < lk_opt_get(tested[o])->n_state; s++) {
                    const double scaled = fabs((double)g) * a.grad_scale + a.weight_decay * fabs((double)p);
                    const double most = fabs((double)before[s]) + fabs(want_state[s]) + (square_first || s == 1 ? scaled * scaled : scaled);
                    cr_assert(fabs((double)state[s] - want_state[s]) <= 8 * FLT_EPSILON * most + 1e-37,
                        "%s options %zu: p %g g %g: state %d from %g is %.9g, not %.9g", lk_opt_get(tested[o])->name, j, (double)p, (double)g, s,
                        (double)before[s], (double)state[s], want_state[s]);
                }
            }
}

/* A gradient that is not a number shows in what is kept of it, and, but for lion's sign, in the weight. */
Test(formula, optimizers_keep_nan)
{
    for (size_t o = 0; o < sizeof tested / sizeof tested[0]; o++) {
        const lki_formula_opt k = lki_formula_opt_make(&args[1]);
        float state[2] = {0.5f, 0.5f};
        const float p = apply(tested[o], &k, NAN, 1.0f, state);
        cr_assert(isnan(state[0]), "%s", lk_opt_get(tested[o])->name);
        cr_assert(isnan(p) || tested[o] == LK_OPT_LION, "%s", lk_opt_get(tested[o])->name);
    }
}

/* ---- rounding at random ---- */
static const struct narrow {
    const char *name;
    float (*round)(float x, uint32_t word);
    kern_type type;
    float largest, least; /* above 0 */
} narrow[] = {{"bf16", lki_formula_round_bf16, KERN_BF16, 0x1.fep127f, 0x1p-133f}, {"fp16", lki_formula_round_fp16, KERN_F16, 65504, 0x1p-24f}};

static bool is_narrow(const struct narrow *n, float x)
{
    return (float)kern_quantize(n->type, (double)x) == x;
}

/* Neighbours of |x| among the narrow numbers, by what the words 0 and all ones give. */
static void neighbours(const struct narrow *n, float x, double *near, double *far)
{
    *near = fabs((double)n->round(x, UINT32_MAX));
    *far = fabs((double)n->round(x, 0));
    if (*near > *far) {
        const double t = *near;
        *near = *far;
        *far = t;
    }
}

/* Numbers of all sizes and both signs: one of two neighbours that have no narrow number between them, the nearer one more often, so that the mean is x. */
Test(formula, rounding_at_random_keeps_the_mean)
{
    enum { DRAWS = 4096 };
    const lk_rng rng = lk_rng_make(3, LK_RNG_TEST, 0);

    for (size_t t = 0; t < sizeof narrow / sizeof narrow[0]; t++) {
        const struct narrow *const n = &narrow[t];

        for (int i = 0; i < 600; i++) {
            const int least = ilogbf(n->least), most = ilogbf(n->largest);
            const float size = ldexpf(1 + lk_rng_unit(lk_rng_word(rng, (uint64_t)i)), least - 3 + i % (most - least + 2)); /* up to below the largest */
            const float x = i & 1 ? -size : size;
            double near, far, sum = 0;
            int64_t ups = 0;

            neighbours(n, x, &near, &far);
            cr_assert(near <= (double)size && (double)size <= far && is_narrow(n, (float)near) && is_narrow(n, (float)far), "%s: %a between %a and %a", n->name, (double)x, near, far);
            cr_assert(near == far || (float)kern_quantize(n->type, near + (far - near) * 0.25) == (float)near, "%s: %a and %a are no neighbours", n->name, near, far);
            for (int k = 0; k < DRAWS; k++) {
                const double got = (double)n->round(x, lk_rng_word(lk_rng_make(3, LK_RNG_TEST, 1), (uint64_t)(i * DRAWS + k)));

                cr_assert(!signbit(got) == !signbit(x) && (fabs(got) == near || fabs(got) == far), "%s: %a became %a", n->name, (double)x, got);
                ups += fabs(got) == far && near != far;
                sum += got;
            }
            const double share = near == far ? 0 : ((double)size - near) / (far - near), deviation = sqrt(share * (1 - share) / DRAWS);
            cr_assert(fabs((double)ups / DRAWS - share) <= 5.5 * deviation + 1e-12, "%s: %a was rounded up %d times of %d, share %g", n->name, (double)x, (int)ups, DRAWS, share);
            cr_assert(fabs(sum / DRAWS - (double)x) <= 5.5 * deviation * (far - near) + 1e-12 * far);
        }
    }
}

/* Over all words the share of those that round up is exact: 2^32 of them in steps of the last bit that counts. */
Test(formula, rounding_at_random_is_without_bias)
{
    const uint32_t dropped[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};

    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        const uint32_t bits = 0x3F920000u | dropped[i];
        float x;
        memcpy(&x, &bits, sizeof x);
        int64_t ups = 0;
        for (uint32_t w = 0; w <= 0xFFFF; w++)
            ups += lki_formula_round_bf16(x, w << 16 | 0x1234) > x || lki_formula_round_bf16(-x, w << 16) < -x;
        cr_assert_eq(ups, dropped[i]);
    }
    for (uint32_t low = 0; low <= 0x1FFF; low += 0x3FF) {
        const uint32_t bits = 0x3F922000u | low;
        float x;
        memcpy(&x, &bits, sizeof x);
        int64_t ups = 0;
        for (uint32_t w = 0; w <= 0x1FFF; w++)
            ups += lki_formula_round_fp16(x, w << 19) > x;
        cr_assert_eq(ups, low);
    }
}

Test(formula, rounding_at_random_leaves_what_is_narrow)
{
    const uint32_t words[] = {0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, UINT32_MAX};

    for (size_t t = 0; t < sizeof narrow / sizeof narrow[0]; t++) {
        const struct narrow *const n = &narrow[t];
        const float fixed[] = {0, n->least, 3 * n->least, 1, 1.5f, 0x1p-14f, 0x1p-15f, n->largest, INFINITY};

        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
                for (int sign = -1; sign <= 1; sign += 2) {
                    const float x = (float)sign * fixed[i], got = n->round(x, words[w]);

                    cr_assert(memcmp(&x, &got, sizeof x) == 0, "%s: %a became %a", n->name, (double)x, (double)got);
                }
            cr_assert(isnan(n->round(NAN, words[w])));
            /* Beyond the largest the draw has nothing to say: what is made of it is as it is to nearest. */
            const float beyond = nextafterf(n->largest, INFINITY);
            cr_assert_eq(n->round(beyond, words[w]), beyond);
            cr_assert_eq(n->round(-beyond, words[w]), -beyond);
            cr_assert_eq(n->round(FLT_MAX, words[w]), FLT_MAX);
        }
    }
}

/* ---- division ---- */
Test(formula, quotients)
{
    const lk_rng rng = lk_rng_make(12, LK_RNG_TEST, 0);
    for (uint64_t i = 0; i < 2000000; i++) {
        uint32_t word[4];
        lk_rng_block(rng, 0, i, word);
        const int64_t by = (int64_t)(word[0] >> 1 >> word[1] % 31) + 1, n = (int64_t)(word[2] >> 1), whole = n / by * by;
        const lki_divisor d = lki_divisor_make(by);
        const int64_t near[] = {n, whole, whole - 1, INT32_MAX, INT64_C(1) << 31, (INT64_C(1) << 40) + n};
        for (size_t k = 0; k < sizeof near / sizeof near[0]; k++)
            cr_assert(near[k] < 0 || lki_quotient(&d, near[k]) == near[k] / by, "%" PRId64 " / %" PRId64, near[k], by);
    }
    static const int64_t edges[] = {1, 2, 3, (INT64_C(1) << 30) + 1, INT32_MAX, INT64_C(1) << 31, (INT64_C(1) << 40) + 3};
    for (size_t k = 0; k < sizeof edges / sizeof edges[0]; k++)
        for (int64_t n = 0; n < INT64_C(1) << 42; n = n * 2 + 1) {
            const lki_divisor d = lki_divisor_make(edges[k]);
            cr_assert_eq(lki_quotient(&d, n), n / edges[k]);
        }
}
