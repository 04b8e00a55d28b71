/* Every kernel and optimizer of the tested backend against ref (double) on the same numbers, in each layout that the kernel takes, training and
 * not. Calls that must give the same bits: repeated over other poison, in place, and with gradients that nobody asks for. For who defines, in front of
 * it: `tested`, tolerance_of(op), setup(). */
#ifndef LK_TESTS_KERN_VS_REF_H
#define LK_TESTS_KERN_VS_REF_H

static const uint64_t seeds[] = {3, 20};

/* Relative to the largest value, or to `floor` where all of them are small beside what they were made from. */
static void compare(const char *label, const char *what, int i, int64_t n, const double *got, const double *want,
    double floor, double limit)
{
    const double error = kern_distance(n, got, want), norm = fmax(kern_largest(n, want), floor);
    cr_assert(error <= limit * norm, "%s: %s %d: largest difference %.3g at largest value %.3g: %.3g is above %.3g",
        label, what, i, error, kern_largest(n, want), error / norm, limit);
}

static bool same(int64_t n, const double *a, const double *b)
{
    return (!a && !b) || (a && b && memcmp(a, b, (size_t)n * sizeof *a) == 0);
}

/* All that two runs wrote, bit by bit, but for what was not asked for in the second, or with another carried state. */
static void check_same(
    const char *label, const lk_opspec *s, const kern_result *a, const kern_result *b, const kern_opts *o)
{
    const lk_opinfo *const info = lk_op_info(s->op);
    cr_assert(info->loss || same(lk_shape_count(&s->out), a->y, b->y), "%s: y differs", label);
    cr_assert(same(lk_shape_count(&s->in[0]), a->sum, b->sum), "%s: the sum differs", label);
    for (int i = 0; i < s->n_in; i++)
        cr_assert(
            o->skip_dx >> i & 1 || same(lk_shape_count(&s->in[i]), a->dx[i], b->dx[i]), "%s: dx %d differs", label, i);
    cr_assert(same(a->n_carry, a->carry, b->carry), "%s: carried state differs", label);
    for (int i = 0; i < s->n_params; i++)
        cr_assert((o->frozen && s->param[i].kind == LK_PARAM_WEIGHT) ||
                      same(lk_shape_count(&s->param[i].shape), a->dparam[i], b->dparam[i]),
            "%s: gradient of %s differs", label, s->param[i].suffix);
    for (int i = 0; info->loss && i < LK_MAX_METRICS && info->metric[i]; i++)
        cr_assert(memcmp(&a->metrics[i], &b->metrics[i], sizeof(double)) == 0, "%s: metric %s differs", label,
            info->metric[i]);
}

static void check_spec(const kern_data *d, const lk_opspec *s)
{
    const lk_opinfo *const info = lk_op_info(s->op);
    const unsigned needs = info->needs(s);
    char label[400];
    snprintf(label, sizeof label, "%s%s%s%s%s%s%s", d->label, s->training ? "" : " eval", d->dsum ? " beside others" : "",
        s->in_layout == LK_LAYOUT_NHWC ? " from NHWC" : "", s->out_layout == LK_LAYOUT_NHWC ? " to NHWC" : "", s->in_pitch ? " from rows with a pitch" : "", s->out_pitch ? " to rows with a pitch" : "");

    lk_opspec plain = *s;
    plain.in_layout = plain.out_layout = LK_LAYOUT_PLAIN;
    plain.in_pitch = plain.out_pitch = 0;
    kern_result want, got;
    KERN_OK(kern_run(&lk_backend_ref, &plain, d, &(kern_opts){.poison = 0xFF}, &want));
    KERN_OK(kern_run(tested, s, d, &(kern_opts){.poison = 0xFF}, &got));

    const double limit = tolerance_of(s->op);
    const double size = 2; /* of what goes in, see kern_grid */
    if (!info->loss)
        compare(label, "carried state", 0, want.n_carry, got.carry, want.carry, 0.1 * size, limit);
    if (!info->loss)
        compare(
            label, "y", 0, lk_shape_count(&s->out), got.y, want.y, 0.1 * size, s->op == LK_OP_MAX_POOL ? 0 : limit);
    if (want.sum)
        compare(label, "sum", 0, lk_shape_count(&s->in[0]), got.sum, want.sum, 0.1 * size, limit);
    for (int i = 0; info->loss && i < LK_MAX_METRICS && info->metric[i]; i++)
        compare(label, info->metric[i], i, 1, &got.metrics[i], &want.metrics[i], 0.1 * size,
            i == LK_METRIC_WEIGHT || i == LK_METRIC_COUNT            ? 0
                : strcmp(info->metric[i], "accuracy") == 0 ? 1e-14 /* a count, perhaps over the elements of a sample */
                                                           : limit);
    const double back = info->loss ? d->micro.grad_scale : kern_largest(lk_shape_count(&s->out), d->dy);
    for (int i = 0; i < s->n_in; i++)
        if (want.dx[i])
            compare(label, "dx", i, lk_shape_count(&s->in[i]), got.dx[i], want.dx[i], 0.1 * back, limit);
    for (int i = 0; i < s->n_params; i++)
        if (want.dparam[i])
            compare(label, s->param[i].suffix, i, lk_shape_count(&s->param[i].shape), got.dparam[i], want.dparam[i],
                0.1 * back, limit);
    /* Padding rows take no part. */
    for (int i = 0; i < s->n_in; i++)
        for (int64_t j = d->micro.valid * lk_shape_row(&s->in[i]); got.dx[i] && j < lk_shape_count(&s->in[i]); j++)
            cr_assert(
                got.dx[i][j] == 0, "%s: dx %d [%" PRId64 "] is in a padding row, and %g", label, i, j, got.dx[i][j]);

    if (want.n_carry) {
        kern_result zero, want_zero;
        const kern_opts none = {.poison = 0xFF, .no_carry = true};
        KERN_OK(kern_run(&lk_backend_ref, &plain, d, &none, &want_zero));
        KERN_OK(kern_run(tested, s, d, &none, &zero));
        compare(label, "y without a carried state", 0, lk_shape_count(&s->out), zero.y, want_zero.y, 0.1 * size, limit);
        kern_result_fini(&zero);
        kern_result_fini(&want_zero);
    }

    const kern_opts again[] = {
        {.poison = 0x00},
        {.poison = 0x7E},
        {.poison = 0xFF, .in_place = !s->training || !(needs & LK_NEEDS_IN(0))},
        {.poison = 0xFF, .in_place_other = true},
        {.poison = 0xFF, .in_place_dx = true},
        {.poison = 0xFF, .in_place_dsum = true},
        {.poison = 0xFF, .in_place_x = true},
        {.poison = 0xFF, .in_place_x = true, .skip_dx = 2},
        {.poison = 0xFF, .skip_dx = 1},
        {.poison = 0xFF, .skip_dx = 2},
        {.poison = 0xFF, .skip_dx = 3},
        {.poison = 0xFF, .frozen = true},
    };
    for (size_t i = 0; i < sizeof again / sizeof again[0]; i++) {
        /* In place a kernel may be given dx[0] == dy while another dx is asked for. */
        char what[450];
        snprintf(what, sizeof what, "%s again (%zu)", label, i);
        kern_result r;
        KERN_OK(kern_run(tested, s, d, &again[i], &r));
        check_same(what, s, &got, &r, &again[i]);
        kern_result_fini(&r);
        KERN_OK(kern_run(&lk_backend_ref, &plain, d, &again[i], &r));
        check_same(what, &plain, &want, &r, &again[i]);
        kern_result_fini(&r);
    }
    kern_result_fini(&want);
    kern_result_fini(&got);
}

/* Each layout of the inputs that the kernel's rule allows; reorder to both. */
static void check_layouts(const kern_data *d, lk_opspec s)
{
    const lk_kernel *const k = tested->kernel[s.op];
    bool spatial = false;
    for (int i = 0; i < s.n_in; i++)
        spatial = spatial || (lk_op_info(s.op)->loss ? s.in[i].ndim == 4 : lk_shape_spatial(&s.in[i]));
    for (int in = LK_LAYOUT_PLAIN; in <= LK_LAYOUT_NHWC; in++) {
        if (in == LK_LAYOUT_NHWC && (!spatial || k->in_rule == LK_LAYOUTS_PLAIN))
            continue;
        if (in == LK_LAYOUT_PLAIN && spatial && k->in_rule == LK_LAYOUTS_NHWC)
            continue;
        s.in_layout = (lk_layout)in;
        s.out_layout = !lk_shape_spatial(&s.out)         ? LK_LAYOUT_PLAIN
                       : k->out_rule == LK_LAYOUTS_PLAIN ? LK_LAYOUT_PLAIN
                       : k->out_rule == LK_LAYOUTS_NHWC  ? LK_LAYOUT_NHWC
                                                         : s.in_layout;
        check_spec(d, &s);
        if (k->in_pitch && k->in_pitch(&s)) {
            lk_opspec apart = s;
            apart.in_pitch = s.in[0].dim[s.in[0].ndim - 1] + 11;
            check_spec(d, &apart);
            apart.in_pitch = (apart.in_pitch + 7) / 8 * 8;
            check_spec(d, &apart);
        }
        if (k->out_pitch && k->out_pitch(&s)) {
            lk_opspec apart = s;
            apart.out_pitch = k->out_pitch(&s);
            check_spec(d, &apart);
        }
        if (s.op == LK_OP_REORDER) {
            s.out_layout = in == LK_LAYOUT_PLAIN ? LK_LAYOUT_NHWC : LK_LAYOUT_PLAIN;
            check_spec(d, &s);
        }
    }
}

static void check_op(lk_op op)
{
    cr_assert(kern_cases[op].n > 0);
    cr_assert(tested->kernel[op], "%s has no %s", tested->name, lk_op_info(op)->name);
    for (int i = 0; i < kern_cases[op].n; i++)
        for (size_t j = 0; j < sizeof seeds / sizeof seeds[0]; j++) {
            kern_data d;
            kern_data_fill(&d, op, &kern_cases[op].item[i], i, seeds[j]);
            check_layouts(&d, d.spec);
            if (d.dsum) {
                lk_free(d.dsum);
                d.dsum = NULL;
                check_layouts(&d, d.spec);
            }
            lk_opspec eval = d.spec;
            eval.training = false;
            check_layouts(&d, eval);
            kern_data_fini(&d);
        }
}

#define X(NAME, name) \
    Test(vs_ref, name, .init = setup) \
    { \
        check_op(LK_OP_##NAME); \
    }
LK_OP_LIST(X)
#undef X

Test(vs_ref, wrong_class, .init = setup)
{
    static const lk_op ops[] = {LK_OP_CROSS_ENTROPY, LK_OP_HINGE};
    double logits[9] = {0};
    int64_t id[] = {1, 3, -9}, sample[] = {40, 41, 42};
    for (int k = 0; k < 2; k++) {
        kern_data d = {.spec = {.op = ops[k],
                           .n_in = 2,
                           .in = {{2, {3, 3}}, {1, {3}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64},
                           .training = true},
            .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 1},
            .x = {logits},
            .id[1] = id};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        for (int i = 0; i < 2; i++) {
            id[1] = i ? INT64_MIN : 3;
            cr_assert(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
            cr_assert_str_eq(lk_err_last()->message, i ? "sample 41: class id -9223372036854775808 is outside [0, 3)"
                                                       : "sample 41: class id 3 is outside [0, 3)");
        }
        id[1] = 2;
        KERN_OK(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r)); /* that of a padding row is not looked at */
        kern_result_fini(&r);
    }
}

Test(vs_ref, wrong_target, .init = setup)
{
    static const lk_op ops[] = {LK_OP_BCE_LOGITS, LK_OP_HINGE};
    double x[6] = {0}, t[] = {0, 1, 0.5, 0.5, 7, 7};
    int64_t sample[] = {40, 41, 42};
    for (int k = 0; k < 2; k++) {
        kern_data d = {.spec = {.op = ops[k], .n_in = 2, .in = {{2, {3, 2}}, {2, {3, 2}}}, .training = true},
            .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 1},
            .x = {x, t}};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r)); /* those of padding rows are not looked at */
        kern_result_fini(&r);
        t[3] = -0.25;
        cr_assert(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, "sample 41: target -0.25 is outside [0, 1]");
        t[3] = NAN;
        cr_assert(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        t[3] = 0.5;
    }
}

Test(vs_ref, wrong_length, .init = setup)
{
    double q[3] = {0}, kv[30] = {0};
    int64_t length[] = {5, 1, -9}, sample[] = {40, 41, 42};
    kern_data d = {.spec = {.op = LK_OP_ATTENTION,
                       .attr.attention = {.heads = 1},
                       .n_in = 3,
                       .in = {{3, {3, 1, 1}}, {3, {3, 5, 2}}, {1, {3}}},
                       .in_dtype = {LK_DT_REAL, LK_DT_REAL, LK_DT_I64},
                       .training = true},
        .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 1},
        .x = {q, kv},
        .id[2] = length};
    kern_result r;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    const kern_opts opts = {.poison = 0xFF, .forward_only = true};
    KERN_OK(kern_run(tested, &d.spec, &d, &opts, &r)); /* that of a padding row is not looked at */
    kern_result_fini(&r);
    for (int i = 0; i < 2; i++) {
        length[1] = i ? -1 : 6;
        cr_assert(kern_run(tested, &d.spec, &d, &opts, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, i ? "sample 41: length -1 is outside [0, 5]" : "sample 41: length 6 is outside [0, 5]");
    }
}

Test(vs_ref, wrong_length_of_a_row, .init = setup)
{
    static const lk_op ops[] = {LK_OP_LSTM, LK_OP_GRU, LK_OP_RNN, LK_OP_REDUCE, LK_OP_LAST_STEP};
    double x[30] = {0}, w_ih[16] = {0}, w_hh[16] = {0}, bias[8] = {0};
    int64_t length[] = {5, 1, -9}, sample[] = {40, 41, 42};

    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        kern_data d = {.spec = {.op = ops[k],
                           .n_in = 2,
                           .in = {{3, {3, 5, 2}}, {1, {3}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64},
                           .training = true},
            .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 1},
            .x = {x},
            .id[1] = length,
            .param = {w_ih, w_hh, bias, bias}};
        const kern_opts opts = {.poison = 0xFF, .forward_only = true};
        kern_result r;
        if (ops[k] == LK_OP_REDUCE)
            d.spec.attr.reduce.axes = 2;
        else if (ops[k] != LK_OP_LAST_STEP)
            d.spec.attr.recurrent.units = 2;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        length[1] = 1;
        KERN_OK(kern_run(tested, &d.spec, &d, &opts, &r)); /* that of a padding row is not looked at */
        kern_result_fini(&r);
        for (int i = 0; i < 2; i++) {
            length[1] = i ? -1 : 6;
            cr_assert(kern_run(tested, &d.spec, &d, &opts, &r) == LK_E_DATA);
            cr_assert_str_eq(lk_err_last()->message, i ? "sample 41: length -1 is outside [0, 5]" : "sample 41: length 6 is outside [0, 5]");
        }
    }
}

Test(vs_ref, wrong_id, .init = setup)
{
    double w[6] = {0};
    int64_t id[] = {1, 0, 3, 2}, sample[] = {40, 41};
    kern_data d = {.spec = {.op = LK_OP_EMBEDDING,
                       .attr.embedding = {.size = 3, .units = 2},
                       .n_in = 1,
                       .in = {{2, {2, 2}}},
                       .in_dtype = {LK_DT_I64},
                       .training = true},
        .micro = {.rows = 2, .valid = 2, .sample = sample},
        .id[0] = id,
        .param[0] = w};
    kern_result r;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    for (int i = 0; i < 2; i++) {
        id[2] = i ? INT64_MIN : 3;
        cr_assert(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, i ? "sample 41: id -9223372036854775808 is outside [0, 3)"
                                                   : "sample 41: id 3 is outside [0, 3)");
    }
}

/* Logits far out: no overflow, as in ref. */
Test(vs_ref, large_logits, .init = setup)
{
    double logits[] = {1e4, -1e4, 0, -3e4, -3e4, -3e4, 100, 99, -100};
    int64_t id[] = {1, 2, 0}, sample[] = {1, 2, 3};
    kern_data d = {.spec = {.op = LK_OP_CROSS_ENTROPY,
                       .n_in = 2,
                       .in = {{2, {3, 3}}, {1, {3}}},
                       .in_dtype = {LK_DT_REAL, LK_DT_I64},
                       .training = true},
        .micro = {.rows = 3, .valid = 3, .sample = sample, .grad_scale = 1},
        .x = {logits},
        .id[1] = id};
    snprintf(d.label, sizeof d.label, "large logits");
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    for (size_t k = 0; k < sizeof logits / sizeof logits[0]; k++)
        logits[k] = kern_quantize(kern_data_type, logits[k]);
    check_spec(&d, &d.spec);
}

/* Where ref gives NaN for an input with a NaN, the tested one does too, relu and maximum included: a run that diverges must show
 * it. */
static void check_nan(lk_op op)
{
    const lk_kernel *const k = tested->kernel[op];
    cr_assert(k, "%s has no %s", tested->name, lk_op_info(op)->name);
    const lk_opinfo *const info = lk_op_info(op);
    const kern_opts opts = {.forward_only = true};
    for (int n = 0; n < 2 * kern_cases[op].n; n++) {
        const int i = n / 2;
        kern_data d;
        kern_data_fill(&d, op, &kern_cases[op].item[i], i, seeds[n % 2]);
        if (!d.x[0]) { /* ids: nothing to hold a NaN */
            kern_data_fini(&d);
            continue;
        }
        d.x[0][lk_shape_count(&d.spec.in[0]) / 3] = NAN;
        lk_opspec s = d.spec;
        s.in_layout = lk_shape_spatial(&s.in[0]) && k->in_rule == LK_LAYOUTS_NHWC ? LK_LAYOUT_NHWC : LK_LAYOUT_PLAIN;
        if (lk_shape_spatial(&s.out))
            s.out_layout = k->out_rule == LK_LAYOUTS_NHWC ? LK_LAYOUT_NHWC : s.in_layout;
        kern_result want, got;
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &opts, &want));
        KERN_OK(kern_run(tested, &s, &d, &opts, &got));
        int lost = 0;
        for (int64_t j = 0; !info->loss && j < lk_shape_count(&s.out); j++)
            lost += isnan(want.y[j]) && !isnan(got.y[j]);
        cr_expect(lost == 0, "%s: %d NaN lost", d.label, lost);
        cr_expect(!info->loss || isnan(got.metrics[0]) == isnan(want.metrics[0]), "%s: NaN lost in the loss", d.label);
        kern_result_fini(&want);
        kern_result_fini(&got);
        kern_data_fini(&d);
    }
}

#define X(NAME, name) \
    Test(vs_ref_nan, name, .init = setup) \
    { \
        check_nan(LK_OP_##NAME); \
    }
LK_OP_LIST(X)
#undef X

/* ---- optimizers ---- */
static bool same_bits(kern_buf *a, kern_buf *b)
{
    kern_unguard(a);
    kern_unguard(b);
    kern_bring_out(a);
    kern_bring_out(b);
    return memcmp(kern_view(a), kern_view(b), a->bytes) == 0;
}

/* A few updates of n elements by both; the tested one a second time in runs of other lengths, or, for optimizers that take a whole
 * parameter, again. */
static void check_optimizer(lk_opt opt, lk_shape of, const lk_opt_args *args, const char *label)
{
    enum { STEPS = 5 };
    const int n_state = lk_opt_get(opt)->n_state;
    const int64_t n = lk_shape_count(&of);
    cr_assert(tested->optimizer[opt], "%s has no %s", tested->name, lk_opt_get(opt)->name);
    /* Five updates of a few roundings each, some under a root and its inverse. Muon's five steps of products are not
     * contracting: they amplify the roundings of a float. */
    const double limit = args->hidden ? 1e-4 : 2e-6;
    kern_buf scratch[2];
    kern_buf_init(&scratch[0], &lk_backend_ref, lk_opt_scratch(opt, &of, sizeof(double)), 0xFF);
    kern_buf_init(&scratch[1], tested, lk_opt_scratch(opt, &of, sizeof(float)), 0xFF);
    double *p = kern_uniform(lk_rng_make(4, LK_RNG_TEST, 0), n, -1, 1), *state[LK_MAX_OPT_STATE] = {NULL};
    kern_buf whole[1 + LK_MAX_OPT_STATE] = {0}, cut[1 + LK_MAX_OPT_STATE] = {0}, gb;
    const lk_shape shape = {1, {n}};
    for (int i = 0; i <= n_state; i++) {
        kern_buf_init(&whole[i], tested, (size_t)n * sizeof(float), 0);
        kern_buf_init(&cut[i], tested, (size_t)n * sizeof(float), 0);
        if (i > 0)
            KERN_OK(lk_alloc_array(n, sizeof(double), "test", &state[i - 1]));
    }
    kern_buf_init(&gb, tested, (size_t)n * sizeof(float), 0);
    kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, p, &whole[0]);
    kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, p, &cut[0]);

    lk_opt_args a = *args;
    a.shape = &of;
    for (a.t = 1; a.t <= STEPS; a.t++) {
        double *const g = kern_uniform(lk_rng_make(4, LK_RNG_TEST, (uint64_t)a.t), n, -1, 1);
        g[0] = 0; /* an element without a gradient */
        if (n > 3)
            g[3] = 1e-20;
        kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, g, &gb);
        kern_get(KERN_F32, &shape, LK_LAYOUT_PLAIN, &gb, g);
        kern_freeze(&gb);
        a.scratch = kern_ptr(&scratch[0]);
        lk_backend_ref.optimizer[opt](n, p, (void *[]){state[0], state[1]}, g, &a);
        a.scratch = kern_ptr(&scratch[1]);
        tested->optimizer[opt](
            n, kern_ptr(&whole[0]), (void *[]){kern_ptr(&whole[1]), kern_ptr(&whole[2])}, kern_ptr(&gb), &a);
        for (int64_t at = 0, run; at < n; at += run) { /* runs of 1, 2, 3... elements */
            run = !lk_opt_get(opt)->whole && at + 1 < n - at ? at + 1 : n - at;
            kern_fill(&scratch[1], 0x7E);
            void *part[LK_MAX_OPT_STATE] = {NULL};
            for (int i = 0; i < n_state; i++)
                part[i] = (float *)kern_ptr(&cut[i + 1]) + at;
            tested->optimizer[opt](run, (float *)kern_ptr(&cut[0]) + at, part, (float *)kern_ptr(&gb) + at, &a);
        }
        lk_free(g);
    }
    double *got = NULL;
    KERN_OK(lk_alloc_array(n, sizeof *got, "test", &got));
    for (int i = 0; i <= n_state; i++) {
        kern_get(KERN_F32, &shape, LK_LAYOUT_PLAIN, &whole[i], got);
        compare(label, i ? "state" : "p", i, n, got, i ? state[i - 1] : p, 0, i ? 2e-6 : limit);
        cr_assert(same_bits(&whole[i], &cut[i]),
            "%s: cut into runs, array %d has other bits", label, i);
        kern_buf_check(&whole[i], "whole", label);
        kern_buf_check(&cut[i], "cut", label);
        kern_buf_fini(&whole[i]);
        kern_buf_fini(&cut[i]);
        lk_free(i ? state[i - 1] : p);
    }
    lk_free(got);
    kern_buf_check(&gb, "g", label);
    kern_buf_fini(&gb);
    for (int i = 0; i < 2; i++) {
        kern_buf_check(&scratch[i], "scratch", label);
        kern_buf_fini(&scratch[i]);
    }
}

static const int64_t opt_sizes[] = {1, 3, 16, 17, 1000, 4099};
static const lk_opt_args opt_args[] = {
    {.lr = 0.1, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .trust = 1e-3, .grad_scale = 1},
    {.lr = 0.03,
        .weight_decay = 0.1,
        .momentum = 0.9,
        .nesterov = true,
        .beta1 = 0.8,
        .beta2 = 0.95,
        .eps = 1e-6,
        .trust = 0.02,
        .grad_scale = 0.37},
    {.lr = 1e-3, .weight_decay = 0.01, .beta1 = 0, .beta2 = 0.5, .eps = 1e-3, .grad_scale = 2},
};

#define X(NAME, name) \
    Test(vs_ref, optimizer_##name, .init = setup) \
    { \
        for (size_t i = 0; i < sizeof opt_sizes / sizeof opt_sizes[0]; i++) \
            for (size_t j = 0; j < sizeof opt_args / sizeof opt_args[0]; j++) { \
                char label[80]; \
                snprintf(label, sizeof label, #name " n %" PRId64 " options %zu", opt_sizes[i], j); \
                check_optimizer(LK_OPT_##NAME, (lk_shape){1, {opt_sizes[i]}}, &opt_args[j], label); \
            } \
    }
LK_OPT_LIST(X)
#undef X

/* Matrices, where the optimizer looks at shapes. */
Test(vs_ref, optimizers_of_whole_parameters, .init = setup)
{
    static const lk_shape shapes[] = {{2, {1, 1}}, {2, {5, 17}}, {2, {33, 8}}, {2, {64, 64}}, {4, {6, 5, 3, 3}}};
    for (int opt = 0; opt < LK_OPT_COUNT; opt++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (size_t j = 0; j < sizeof opt_args / sizeof opt_args[0]; j++) {
                lk_opt_args a = opt_args[j];
                char label[80], text[LK_SHAPE_TEXT];
                if (!lk_opt_get((lk_opt)opt)->whole)
                    continue;
                a.hidden = opt == LK_OPT_MUON && shapes[i].ndim == 2;
                snprintf(label, sizeof label, "%s %s options %zu", lk_opt_get((lk_opt)opt)->name,
                    lk_shape_print(&shapes[i], text), j);
                check_optimizer((lk_opt)opt, shapes[i], &a, label);
            }
}

#endif
