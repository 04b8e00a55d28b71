/* From a layer list to a graph: each kind of layer, names, losses, and every error. */
#include "model/layer.h"
#include "model/support.h"

#include <inttypes.h>
#include <stdio.h>

#define REGRESS "train: {batch: 64, lr: 1e-3, objective: regress}\n"

static const lk_shape image = {3, {3, 8, 8}}; /* of a sample: 3 channels, 8 x 8 */
static const lk_shape scalar = {0};

static lk_status build_with(const char *model, const char *train, const lk_shape *sample, const lk_shape *target,
    lk_graph **g, int64_t *classes)
{
    const lk_model_input in = {.sample = *sample, .target_sample = *target};
    lk_buf text = {0};
    lk_config *c = NULL;

    lk_buf_printf(&text, "model:\n%s%s%s", model, DATA, train);
    EXPECT_OK(lk_buf_status(&text));
    lk_status st = parse(lk_buf_text(&text), &c);
    cr_assert(st == LK_OK, "%s", lk_err_last()->message);
    st = build_graph(c, &in, g, classes);
    lk_buf_fini(&text);
    lk_config_destroy(&c);
    return st;
}

/* "conv1 conv 0 -> [8,32,8,8]\n" a node */
static void describe(const lk_graph *g, lk_buf *out)
{
    char shape[LK_SHAPE_TEXT];

    for (int i = 0; i < g->n_nodes; i++) {
        const lk_node *n = &g->node[i];
        lk_buf_printf(out, "%s %s", n->name,
            n->spec.op == LK_OP_ACTIVATION ? lk_act_name(n->spec.attr.activation.act) : lk_op_info(n->spec.op)->name);
        for (int k = 0; k < n->spec.n_in; k++)
            lk_buf_printf(out, " %d", n->in[k]);
        if (n->out >= 0)
            lk_buf_printf(out, " -> %d %s", n->out, lk_shape_print(&n->spec.out, shape));
        lk_buf_add(out, "\n");
    }
}

static void expect_graph(
    const char *model, const char *train, const lk_shape *sample, const lk_shape *target, const char *want)
{
    lk_buf got = {0};
    lk_graph *g = NULL;
    int64_t classes = -1;

    const lk_status st = build_with(model, train, sample, target, &g, &classes);
    cr_assert(st == LK_OK, "%s for\n%s", lk_err_last()->message, model);
    describe(g, &got);
    cr_expect(strcmp(lk_buf_text(&got), want) == 0, "got:\n%swant:\n%sfor:\n%s", lk_buf_text(&got), want, model);
    cr_expect(g->rows == 8 && strcmp(g->value[0].name, "input") == 0 && strcmp(g->value[1].name, "target") == 0);
    lk_buf_fini(&got);
    lk_graph_destroy(&g);
}

static void expect_build_fail(
    const char *model, const char *train, const lk_shape *sample, const lk_shape *target, const char *message)
{
    const int64_t bytes = lk_mem_bytes();
    lk_graph *g = NULL;
    int64_t classes = -1;

    const lk_status st = build_with(model, train, sample, target, &g, &classes);
    cr_expect(st == LK_E_CONFIG || st == LK_E_SHAPE, "%s for:\n%s", lk_status_name(st), model);
    cr_expect(strcmp(lk_err_last()->message, message) == 0, "says  %s\nnot   %s\nfor:\n%s", lk_err_last()->message,
        message, model);
    cr_expect(g == NULL && classes == -1);
    cr_expect(lk_mem_bytes() == bytes, "%ld bytes are left over", (long)(lk_mem_bytes() - bytes));
}

Test(layers, each_kind)
{
    expect_graph("- conv: {filters: 4, kernel: 3, pad: same}\n"
                 "- batch_norm\n"
                 "- relu\n"
                 "- max_pool: 2\n"
                 "- conv: {filters: 6, kernel: [3, 1], stride: [1, 2], pad: [1, 0], bias: false}\n"
                 "- gelu\n"
                 "- avg_pool: {size: [2, 1], stride: 1, pad: [1, 0]}\n"
                 "- global_pool\n"
                 "- dropout\n"
                 "- linear: 10\n",
        TRAIN, &image, &scalar,
        "conv1 conv 0 -> 2 [8,4,8,8]\n"
        "batch_norm1 batch_norm 2 -> 3 [8,4,8,8]\n"
        "relu1 relu 3 -> 4 [8,4,8,8]\n"
        "max_pool1 max_pool 4 -> 5 [8,4,4,4]\n"
        "conv2 conv 5 -> 6 [8,6,4,2]\n"
        "gelu1 gelu 6 -> 7 [8,6,4,2]\n"
        "avg_pool1 avg_pool 7 -> 8 [8,6,5,2]\n"
        "global_pool1 global_avg_pool 8 -> 9 [8,6]\n"
        "dropout1 dropout 9 -> 10 [8,6]\n"
        "linear1 linear 10 -> 11 [8,10]\n"
        "loss cross_entropy 11 1\n");
}

Test(layers, one_axis_and_three)
{
    static const lk_shape series = {2, {3, 20}}, volume = {4, {2, 4, 6, 8}};

    expect_graph("- conv1d: {filters: 6, kernel: 3, pad: same, dilation: 4}\n"
                 "- batch_norm\n"
                 "- max_pool1d: 2\n"
                 "- conv1d: {filters: 8, kernel: 3, stride: 2, pad: same, groups: 2}\n"
                 "- avg_pool1d: {size: 3, stride: 1, pad: 1}\n"
                 "- global_pool\n"
                 "- linear: 10\n",
        TRAIN, &series, &scalar,
        "conv1d1 conv 0 -> 2 [8,6,20]\n"
        "batch_norm1 batch_norm 2 -> 3 [8,6,20]\n"
        "max_pool1d1 max_pool 3 -> 4 [8,6,10]\n"
        "conv1d2 conv 4 -> 5 [8,8,5]\n"
        "avg_pool1d1 avg_pool 5 -> 6 [8,8,5]\n"
        "global_pool1 global_avg_pool 6 -> 7 [8,8]\n"
        "linear1 linear 7 -> 8 [8,10]\n"
        "loss cross_entropy 8 1\n");
    expect_graph("- conv3d: {filters: 4, kernel: [1, 3, 3], pad: [0, 1, 1]}\n"
                 "- conv3d: {kernel: 3, depthwise: true, pad: same, stride: [1, 2, 2]}\n"
                 "- conv3d: {filters: 8, kernel: 1, depthwise: true}\n"
                 "- batch_norm\n"
                 "- max_pool3d: [1, 3, 2]\n"
                 "- avg_pool3d: [4, 1, 2]\n"
                 "- flatten\n"
                 "- linear: 10\n",
        TRAIN, &volume, &scalar,
        "conv3d1 conv 0 -> 2 [8,4,4,6,8]\n"
        "conv3d2 conv 2 -> 3 [8,4,4,3,4]\n"
        "conv3d3 conv 3 -> 4 [8,8,4,3,4]\n"
        "batch_norm1 batch_norm 4 -> 5 [8,8,4,3,4]\n"
        "max_pool3d1 max_pool 5 -> 6 [8,8,4,1,2]\n"
        "avg_pool3d1 avg_pool 6 -> 7 [8,8,1,1,1]\n"
        "flatten1 flatten 7 -> 8 [8,8]\n"
        "linear1 linear 8 -> 9 [8,10]\n"
        "loss cross_entropy 9 1\n");
}

Test(layers, up_and_down)
{
    static const lk_shape series = {2, {3, 20}};

    expect_graph("- conv_transpose: {filters: 4, kernel: 3, stride: 2, pad: 1, output_pad: [1, 0]}\n"
                 "- batch_norm: {running: true}\n"
                 "- upsample: {factor: [1, 2], mode: bilinear}\n"
                 "- adaptive_avg_pool: [4, 5]\n"
                 "- upsample: 3\n"
                 "- global_pool: max\n"
                 "- linear: 10\n",
        TRAIN, &image, &scalar,
        "conv_transpose1 conv_transpose 0 -> 2 [8,4,16,15]\n"
        "batch_norm1 batch_norm 2 -> 3 [8,4,16,15]\n"
        "upsample1 upsample 3 -> 4 [8,4,16,30]\n"
        "adaptive_avg_pool1 adaptive_avg_pool 4 -> 5 [8,4,4,5]\n"
        "upsample2 upsample 5 -> 6 [8,4,12,15]\n"
        "global_pool1 global_max_pool 6 -> 7 [8,4]\n"
        "linear1 linear 7 -> 8 [8,10]\n"
        "loss cross_entropy 8 1\n");
    expect_graph("- conv_transpose1d: {filters: 4, kernel: 4, stride: 4}\n"
                 "- adaptive_avg_pool: 7\n"
                 "- upsample: 2\n"
                 "- global_pool: {kind: mean}\n"
                 "- linear: 10\n",
        TRAIN, &series, &scalar,
        "conv_transpose1d1 conv_transpose 0 -> 2 [8,4,80]\n"
        "adaptive_avg_pool1 adaptive_avg_pool 2 -> 3 [8,4,7]\n"
        "upsample1 upsample 3 -> 4 [8,4,14]\n"
        "global_pool1 global_avg_pool 4 -> 5 [8,4]\n"
        "linear1 linear 5 -> 6 [8,10]\n"
        "loss cross_entropy 6 1\n");

    lk_graph *g;
    int64_t classes;
    EXPECT_OK(build_with("- batch_norm: {running: true}\n- upsample: {factor: 2, mode: bilinear}\n"
                         "- conv_transpose3d: {filters: 2, kernel: [1, 2, 3], dilation: 2, groups: 2, bias: false}\n"
                         "- flatten\n- linear: 2\n",
        TRAIN, &(lk_shape){4, {2, 2, 2, 3}}, &scalar, &g, &classes));
    cr_expect(g->node[0].spec.attr.batch_norm.running && g->node[1].spec.attr.resize.linear);
    const lk_attr_conv *conv = &g->node[2].spec.attr.conv;
    cr_expect(conv->groups == 2 && !conv->bias && conv->kernel[2] == 3 && conv->dilation[2] == 2 && conv->stride[2] == 1);
    cr_expect(g->node[2].spec.out.dim[2] == 4 && g->node[2].spec.out.dim[3] == 6 && g->node[2].spec.out.dim[4] == 10);
    lk_graph_destroy(&g);
}

Test(layers, attributes)
{
    static const char model[] = "- conv: {filters: 4, kernel: [3, 5], stride: 2, pad: [1, 2], bias: false}\n"
                                "- batch_norm: {eps: 0.5, momentum: 0.25}\n"
                                "- gelu: tanh\n"
                                "- gelu: {form: erf}\n"
                                "- max_pool: {size: 3, stride: [2, 1], pad: 1}\n"
                                "- avg_pool: [2, 1]\n"
                                "- dropout: 0.25\n"
                                "- flatten:\n"
                                "- linear: {units: 7, bias: false}\n";
    lk_graph *g = NULL;
    int64_t classes = 0;

    EXPECT_OK(build_with(model, TRAIN, &image, &scalar, &g, &classes));
    cr_expect(classes == 7);
    const lk_attr_conv *conv = &g->node[0].spec.attr.conv;
    cr_expect(conv->filters == 4 && !conv->bias && conv->kernel[0] == 3 && conv->kernel[1] == 5 &&
              conv->stride[0] == 2 && conv->stride[1] == 2);
    cr_expect(
        conv->pad_before[0] == 1 && conv->pad_after[0] == 1 && conv->pad_before[1] == 2 && conv->pad_after[1] == 2);
    cr_expect(g->node[1].spec.attr.batch_norm.eps == 0.5 && g->node[1].spec.attr.batch_norm.momentum == 0.25);
    cr_expect(g->node[2].spec.attr.activation.act == LK_ACT_GELU_TANH && g->node[3].spec.attr.activation.act == LK_ACT_GELU);
    const lk_attr_pool *max = &g->node[4].spec.attr.pool, *avg = &g->node[5].spec.attr.pool;
    cr_expect(max->kernel[0] == 3 && max->kernel[1] == 3 && max->stride[0] == 2 && max->stride[1] == 1 &&
              max->pad[0] == 1 && max->pad[1] == 1);
    cr_expect(
        avg->kernel[0] == 2 && avg->kernel[1] == 1 && avg->stride[0] == 2 && avg->stride[1] == 1 && avg->pad[0] == 0);
    cr_expect(g->node[6].spec.attr.dropout.rate == 0.25);
    cr_expect(g->node[8].spec.attr.linear.units == 7 && !g->node[8].spec.attr.linear.bias);
    lk_graph_destroy(&g);

    EXPECT_OK(build_with("- conv: {filters: 4, kernel: 3}\n- batch_norm\n- gelu\n- dropout\n- flatten\n- linear: 2\n",
        TRAIN, &image, &scalar, &g, &classes));
    cr_expect(g->node[0].spec.attr.conv.bias && g->node[0].spec.attr.conv.stride[0] == 1 &&
              g->node[0].spec.attr.conv.pad_before[0] == 0);
    cr_expect(g->node[1].spec.attr.batch_norm.eps == 1e-5 && g->node[1].spec.attr.batch_norm.momentum == 0.1);
    cr_expect(g->node[2].spec.attr.activation.act == LK_ACT_GELU && g->node[3].spec.attr.dropout.rate == 0.5 &&
              g->node[5].spec.attr.linear.bias);
    lk_graph_destroy(&g);
}

Test(layers, activations)
{
    lk_graph *g = NULL;
    int64_t classes = 0;
    static const lk_attr_activation want[] = {{LK_ACT_RELU, 0}, {LK_ACT_LEAKY_RELU, 0.01}, {LK_ACT_LEAKY_RELU, 0.2},
        {LK_ACT_ELU, 1}, {LK_ACT_ELU, 0.5}, {LK_ACT_SILU, 0}, {LK_ACT_SIGMOID, 0}, {LK_ACT_TANH, 0}, {LK_ACT_SOFTPLUS, 0}};

    EXPECT_OK(build_with("- relu\n- leaky_relu\n- leaky_relu: 0.2\n- elu\n- elu: {alpha: 0.5}\n- silu\n- sigmoid\n- tanh\n"
                         "- softplus\n- flatten\n- linear: 2\n",
        TRAIN, &image, &scalar, &g, &classes));
    for (int i = 0; i < (int)(sizeof want / sizeof want[0]); i++)
        cr_expect(g->node[i].spec.attr.activation.act == want[i].act && g->node[i].spec.attr.activation.alpha == want[i].alpha,
            "%s", g->node[i].name);
    lk_graph_destroy(&g);
    expect_build_fail("- leaky_relu: -1\n- flatten\n- linear: 2\n", TRAIN, &image, &scalar,
        "run.yaml:2:15: leaky_relu.slope: -1 is out of range (0 to 1e+06)");
}

Test(layers, norms_and_gates)
{
    lk_graph *g = NULL;
    int64_t classes = 0;

    EXPECT_OK(build_with("- conv: {filters: 6, kernel: 1}\n- group_norm: 3\n- instance_norm: {eps: 0.5}\n- flatten\n"
                         "- layer_norm\n- layer_norm: {bias: false, eps: 0.25}\n- rms_norm\n- glu\n- swiglu\n- geglu\n"
                         "- softmax\n- linear: 2\n",
        TRAIN, &image, &scalar, &g, &classes));
    const lk_node *n = g->node;
    cr_expect(n[1].spec.op == LK_OP_GROUP_NORM && n[1].spec.attr.norm.groups == 3 && n[1].spec.attr.norm.eps == 1e-5);
    cr_expect(n[2].spec.op == LK_OP_GROUP_NORM && n[2].spec.attr.norm.groups == 6 && n[2].spec.attr.norm.eps == 0.5);
    cr_expect(n[4].spec.op == LK_OP_LAYER_NORM && n[4].spec.attr.norm.bias && n[4].spec.attr.norm.eps == 1e-5);
    cr_expect(n[5].spec.n_params == 1 && n[5].spec.attr.norm.eps == 0.25);
    cr_expect(n[6].spec.op == LK_OP_RMS_NORM && n[6].spec.attr.norm.eps == 1e-6);
    cr_expect(n[7].spec.attr.glu.act == LK_ACT_SIGMOID && n[8].spec.attr.glu.act == LK_ACT_SILU &&
              n[9].spec.attr.glu.act == LK_ACT_GELU && n[9].spec.out.dim[1] == 48 && n[10].spec.op == LK_OP_SOFTMAX);
    lk_graph_destroy(&g);
    expect_build_fail("- conv: {filters: 6, kernel: 1}\n- group_norm: 4\n- flatten\n- linear: 2\n", TRAIN, &image, &scalar,
        "run.yaml:3:3: layer group_norm1 (group_norm): input [8,6,8,8]: its 6 channels do not make 4 groups of equal size; "
        "conv1 (run.yaml:2:3) gives [8,6,8,8]");
}

Test(layers, recurrent)
{
    static const lk_shape series = {2, {7, 5}};
    lk_buf names = {0};
    lk_graph *g = NULL;
    int64_t classes = 0;

    expect_graph("- lstm: 6\n- gru: {units: 3, output: last}\n- linear: 10\n", TRAIN, &series, &scalar,
        "lstm1 lstm 0 -> 2 [8,7,6]\n"
        "gru1.l0 gru 2 -> 3 [8,7,3]\n"
        "gru1 last_step 3 -> 4 [8,3]\n"
        "linear1 linear 4 -> 5 [8,10]\n"
        "loss cross_entropy 5 1\n");
    const char *model = "- rnn: {name: r, units: 4, layers: 2, bidirectional: true, dropout: 0.5, output: last, activation: relu}\n- linear: 10\n";
    expect_graph(model, TRAIN, &series, &scalar,
        "r.l0 rnn 0 -> 2 [8,7,4]\n"
        "r.l0_reverse rnn 0 -> 3 [8,7,4]\n"
        "r.both0 concat 2 3 -> 4 [8,7,8]\n"
        "r.dropout0 dropout 4 -> 5 [8,7,8]\n"
        "r.l1 rnn 5 -> 6 [8,7,4]\n"
        "r.last last_step 6 -> 7 [8,4]\n"
        "r.l1_reverse rnn 5 -> 8 [8,7,4]\n"
        "r.last_reverse last_step 8 -> 9 [8,4]\n"
        "r concat 7 9 -> 10 [8,8]\n"
        "linear1 linear 10 -> 11 [8,10]\n"
        "loss cross_entropy 11 1\n");
    EXPECT_OK(build_with(model, TRAIN, &series, &scalar, &g, &classes));
    for (int i = 0; i < g->n_params; i++)
        lk_buf_printf(&names, "%s ", g->param[i].name);
    cr_expect_str_eq(lk_buf_text(&names),
        "r.weight_ih_l0 r.weight_hh_l0 r.bias_ih_l0 r.bias_hh_l0 "
        "r.weight_ih_l0_reverse r.weight_hh_l0_reverse r.bias_ih_l0_reverse r.bias_hh_l0_reverse "
        "r.weight_ih_l1 r.weight_hh_l1 r.bias_ih_l1 r.bias_hh_l1 "
        "r.weight_ih_l1_reverse r.weight_hh_l1_reverse r.bias_ih_l1_reverse r.bias_hh_l1_reverse "
        "linear1.weight linear1.bias ");
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i].spec.op == LK_OP_RNN) {
            const lk_attr_recurrent *a = &g->node[i].spec.attr.recurrent;
            cr_expect(a->units == 4 && a->relu && a->reverse == (strstr(g->node[i].name, "reverse") != NULL));
        }
    cr_expect(g->node[3].spec.attr.dropout.rate == 0.5);
    lk_buf_fini(&names);
    lk_graph_destroy(&g);

    expect_build_fail("- lstm: {units: 4, dropout: 0.1}\n", TRAIN, &series, &scalar,
        "run.yaml:2:29: lstm.dropout: acts between layers, and there is one layer only");
    expect_build_fail("- gru: {units: 4, bidirectional: true, carry: true}\n", TRAIN, &series, &scalar,
        "run.yaml:2:47: gru.carry: the backward direction begins at the end of a sequence, and has nothing to go on from");
    expect_build_fail("- lstm: {units: 4, lengths: size}\n", TRAIN, &series, &scalar,
        "run.yaml:2:29: lstm.lengths: no earlier layer and no field of the data is called \"size\"");
    expect_build_fail("- lstm: 4\n", TRAIN, &image, &scalar,
        "run.yaml:2:3: layer lstm1 (lstm): input [8,3,8,8] has 4 dimensions, expected [batch, steps, channels]; \"input\" is [8,3,8,8]");
    expect_build_fail("- gru: {units: 4, lengths: input}\n", TRAIN, &series, &scalar,
        "run.yaml:2:3: layer gru1 (gru): lengths [8,7,5] hold real numbers, expected one whole number a sample; \"input\" is [8,7,5], \"input\" is [8,7,5]");
}

Test(layers, dropouts)
{
    lk_graph *g = NULL;
    int64_t classes = 0;

    EXPECT_OK(build_with("- spatial_dropout: 0.25\n- drop_path: {rate: 0.125}\n- dropout\n- flatten\n- linear: 2\n", TRAIN, &image,
        &scalar, &g, &classes));
    const lk_node *n = g->node;
    cr_expect(n[0].spec.attr.dropout.unit == LK_DROP_CHANNEL && n[0].spec.attr.dropout.rate == 0.25);
    cr_expect(n[1].spec.attr.dropout.unit == LK_DROP_SAMPLE && n[1].spec.attr.dropout.rate == 0.125);
    cr_expect(n[2].spec.attr.dropout.unit == LK_DROP_ELEMENT && n[2].spec.attr.dropout.rate == 0.5);
    lk_graph_destroy(&g);
}

Test(layers, shapes)
{
    static const lk_shape bare = {2, {6, 8}};

    expect_graph("- pad: {before: [1, 2], after: 3, value: 0.5}\n- reshape: [2, -1, 5]\n- permute: [3, 1, 2]\n"
                 "- slice: {axis: 3, start: -4, length: 3}\n- slice: {start: 1}\n- scale: 2\n- mean: [1, 3]\n- linear: 3\n",
        TRAIN, &bare, &scalar,
        "pad1 pad 0 -> 2 [8,10,10]\n"
        "reshape1 reshape 2 -> 3 [8,2,10,5]\n"
        "permute1 permute 3 -> 4 [8,5,2,10]\n"
        "slice1 slice 4 -> 5 [8,5,2,3]\n"
        "slice2 slice 5 -> 6 [8,4,2,3]\n"
        "scale1 scale 6 -> 7 [8,4,2,3]\n"
        "mean1 reduce 7 -> 8 [8,2]\n"
        "linear1 linear 8 -> 9 [8,3]\n"
        "loss cross_entropy 9 1\n");
    expect_graph("- sum: {axes: 2, keep: true}\n- flatten\n- linear: 3\n", TRAIN, &bare, &scalar,
        "sum1 reduce 0 -> 2 [8,6,1]\nflatten1 flatten 2 -> 3 [8,6]\nlinear1 linear 3 -> 4 [8,3]\nloss cross_entropy 4 1\n");

    static const struct {
        const char *model, *message;
    } bad[] = {
        {"- reshape: [5, -1]\n", "run.yaml:2:12: reshape.to: 48 elements a sample are no multiple of 5"},
        {"- reshape: [-1, -1]\n", "run.yaml:2:12: reshape.to: sizes must be at least 1, and -1 may stand once"},
        {"- reshape: [0, -1]\n", "run.yaml:2:12: reshape.to: sizes must be at least 1, and -1 may stand once"},
        {"- reshape: [1, 1, 1, 1, 1, 48]\n", "run.yaml:2:12: reshape.to: 6 sizes, at most 5 are possible"},
        {"- reshape: 47\n", "run.yaml:2:3: layer reshape1 (reshape): input [8,6,8] has 48 elements a sample, [8,47] has 47; "
                            "\"input\" is [8,6,8]"},
        {"- permute: [1, 2, 3]\n", "run.yaml:2:12: permute.order: a sample has 2 dimensions, got 3"},
        {"- permute: [2, 2]\n", "run.yaml:2:3: layer permute1 (permute): input [8,6,8]: the order must name each of the "
                                "dimensions 1 to 2 once; \"input\" is [8,6,8]"},
        {"- pad: {after: [1, 2, 3]}\n", "run.yaml:2:16: pad.after: a sample has 2 dimensions, got 3"},
        {"- slice: {axis: 3}\n",
            "run.yaml:2:3: layer slice1 (slice): input [8,6,8]: axis 3 is not one of 1 to 2; \"input\" is [8,6,8]"},
        {"- slice: {start: -7}\n", "run.yaml:2:3: layer slice1 (slice): input [8,6,8]: 7 places from -1 on are not within "
                                   "axis 1, which has 6; \"input\" is [8,6,8]"},
        {"- mean: 3\n",
            "run.yaml:2:3: layer mean1 (reduce): input [8,6,8]: the axes must be some of 1 to 2; \"input\" is [8,6,8]"},
        {"- mean: {axes: 1, lengths: steps}\n",
            "run.yaml:2:28: mean.lengths: no earlier layer and no field of the data is called \"steps\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_build_fail(bad[i].model, TRAIN, &bare, &scalar, bad[i].message);
}

/* Layers over an input "tokens" of ids [8,6], "notes" [8,5,4] and "length" [8]. */
static lk_status build_sequence(const char *model, lk_graph **out)
{
    lk_buf text = {0};
    lk_config *c = NULL;
    lki_builder b = {0};
    int tokens, notes, length;

    lk_buf_printf(&text, "model:\n%s%s%s", model, DATA, TRAIN);
    lk_status st = parse(lk_buf_text(&text), &c);
    cr_assert(st == LK_OK, "%s", lk_err_last()->message);
    EXPECT_OK(lk_graph_create(8, out));
    EXPECT_OK(lki_builder_init(&b, *out));
    EXPECT_OK(lk_graph_input(*out, "tokens", &(lk_shape){1, {6}}, LK_DT_I64, &tokens));
    EXPECT_OK(lk_graph_input(*out, "notes", &(lk_shape){2, {5, 4}}, LK_DT_REAL, &notes));
    EXPECT_OK(lk_graph_input(*out, "length", &(lk_shape){0}, LK_DT_I64, &length));
    EXPECT_OK(lki_name_value(&b, "tokens", tokens));
    EXPECT_OK(lki_name_value(&b, "notes", notes));
    EXPECT_OK(lki_name_value(&b, "length", length));
    cr_expect(lki_first_input(c->model) == LKI_INPUT_IDS);
    st = lki_build_layers(&b, c->model, &tokens);
    lki_builder_fini(&b);
    lk_config_destroy(&c);
    lk_buf_fini(&text);
    return st;
}

Test(layers, sequences)
{
    lk_buf got = {0};
    lk_graph *g = NULL;

    EXPECT_OK(build_sequence("- embedding: {size: 65, units: 12, deviation: 0.5}\n"
                             "- positions\n"
                             "- positions: sinusoidal\n"
                             "- attention: 3\n"
                             "- attention: {heads: 6, kv_heads: 2, causal: true, rotary: true, bias: false, dropout: 0.25, name: self}\n"
                             "- attention: {heads: 2, context: notes}\n"
                             "- attention: {heads: 4, context: notes, lengths: length}\n"
                             "- attention: {heads: 4, lengths: length}\n",
        &g));
    describe(g, &got);
    const char *want = "embedding1 embedding 0 -> 3 [8,6,12]\n"
                       "positions1 positions 3 -> 4 [8,6,12]\n"
                       "positions2 positions 4 -> 5 [8,6,12]\n"
                       "attention1.qkv linear 5 -> 6 [8,6,36]\n"
                       "attention1 attention 6 -> 7 [8,6,12]\n"
                       "attention1.out linear 7 -> 8 [8,6,12]\n"
                       "self.qkv linear 8 -> 9 [8,6,20]\n"
                       "self attention 9 -> 10 [8,6,12]\n"
                       "self.out linear 10 -> 11 [8,6,12]\n"
                       "attention3.q linear 11 -> 12 [8,6,12]\n"
                       "attention3.kv linear 1 -> 13 [8,5,24]\n"
                       "attention3 attention 12 13 -> 14 [8,6,12]\n"
                       "attention3.out linear 14 -> 15 [8,6,12]\n"
                       "attention4.q linear 15 -> 16 [8,6,12]\n"
                       "attention4.kv linear 1 -> 17 [8,5,24]\n"
                       "attention4 attention 16 17 2 -> 18 [8,6,12]\n"
                       "attention4.out linear 18 -> 19 [8,6,12]\n"
                       "attention5.qkv linear 19 -> 20 [8,6,36]\n"
                       "attention5 attention 20 2 -> 21 [8,6,12]\n"
                       "attention5.out linear 21 -> 22 [8,6,12]\n";
    cr_expect(strcmp(lk_buf_text(&got), want) == 0, "got:\n%swant:\n%s", lk_buf_text(&got), want);
    const lk_node *n = g->node;
    cr_expect(n[0].spec.attr.embedding.size == 65 && n[0].spec.attr.embedding.deviation == 0.5);
    cr_expect(n[1].spec.attr.positions.max == 6 && n[1].spec.attr.positions.deviation == 1 && !n[1].spec.attr.positions.sinusoidal);
    cr_expect(n[2].spec.attr.positions.sinusoidal);
    const lk_attr_attention *plain = &n[4].spec.attr.attention, *self = &n[7].spec.attr.attention;
    cr_expect(plain->heads == 3 && plain->kv_heads == 3 && !plain->causal && !plain->rotary && plain->rate == 0 && plain->scale == 0);
    cr_expect(self->heads == 6 && self->kv_heads == 2 && self->causal && self->rotary && self->rate == 0.25);
    cr_expect(n[3].spec.attr.linear.bias && n[5].spec.attr.linear.bias && !n[6].spec.attr.linear.bias && !n[8].spec.attr.linear.bias);
    lk_buf_fini(&got);
    lk_graph_destroy(&g);
}

Test(layers, tied)
{
    lk_graph *g = NULL;

    EXPECT_OK(build_sequence("- repeat:\n    times: 1\n    layers: [{embedding: {size: 65, units: 12, name: words}}, {linear: {units: 65, bias: false, tie: words}}]\n"
                             "- linear: 12\n"
                             "- linear: {units: 65, tie: words.0}\n",
        &g));
    cr_assert(g->n_params == 4);
    cr_expect(g->node[0].param[0] == g->node[1].param[0] && g->node[1].param[0] == g->node[3].param[0]);
    cr_expect(strcmp(g->param[0].name, "words.0.weight") == 0 && strcmp(g->param[3].name, "linear3.bias") == 0);
    lk_graph_destroy(&g);
}

Test(layers, errors_in_sequences)
{
    static const struct {
        const char *layer, *message;
    } faults[] = {
        {"- attention: 5\n", "run.yaml:3:14: attention.heads: 5 heads do not divide the input's 12 features"},
        {"- attention: {heads: 4, kv_heads: 3}\n", "run.yaml:3:35: attention.kv_heads: 3 do not divide the 4 heads"},
        {"- attention: {heads: 4, context: note}\n",
            "run.yaml:3:34: attention.context: no earlier layer and no field of the data is called \"note\" (did you mean \"notes\"?)"},
        {"- attention: {heads: 4, context: length}\n",
            "run.yaml:3:3: layer attention1 (attention): \"length\" is [8] of whole numbers, expected [batch, places, features]"},
        {"- attention: {heads: 4, lengths: notes}\n", "run.yaml:3:34: attention.lengths: expected whole numbers, one a sample"},
        {"- attention: {heads: 4, dropout: 1}\n",
            "run.yaml:3:3: layer attention1 (attention): rate is 1, must be in [0, 1); attention1.qkv (run.yaml:3:3) gives [8,6,36]"},
        {"- positions: {max: 5}\n",
            "run.yaml:3:3: layer positions1 (positions): a sequence of 6 places, but there are weights for max 5; embedding1 "
            "(run.yaml:2:3) gives [8,6,12]"},
        {"- flatten\n- attention: 4\n",
            "run.yaml:4:3: layer attention1 (attention): flatten1 (run.yaml:3:3) gives [8,72], expected [batch, places, features]"},
        {"- linear: {units: 65, tie: embedding}\n",
            "run.yaml:3:28: linear.tie: no earlier layer and no field of the data is called \"embedding\" (did you mean \"embedding1\"?)"},
        {"- linear: {units: 65, tie: notes}\n", "run.yaml:3:28: linear.tie: expected the name of an embedding"},
        {"- linear: {units: 65, name: a}\n- linear: {units: 65, tie: a}\n", "run.yaml:4:28: linear.tie: expected the name of an embedding"},
        {"- linear: {units: 64, tie: embedding1}\n",
            "run.yaml:3:3: layer linear1: its weight is [64,12], that of embedding1 (run.yaml:2:3), which it is to share, is [65,12]"},
        {"- embedding: {size: 3, units: 2}\n",
            "run.yaml:3:3: layer embedding2 (embedding): input [8,6,12] holds real numbers, expected whole numbers; embedding1 "
            "(run.yaml:2:3) gives [8,6,12]"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char model[200];
        lk_graph *g = NULL;

        snprintf(model, sizeof model, "- embedding: {size: 65, units: 12}\n%s", faults[i].layer);
        const lk_status st = build_sequence(model, &g);
        cr_expect(st == LK_E_CONFIG, "%s for:\n%s", lk_status_name(st), model);
        cr_expect(strcmp(lk_err_last()->message, faults[i].message) == 0, "says  %s\nnot   %s", lk_err_last()->message,
            faults[i].message);
        lk_graph_destroy(&g);
    }
}

/* `same` gives ceil(size / stride) outputs for every size, kernel and stride, with at most one zero more behind than in
 * front. */
Test(layers, pad_same)
{
    char model[160];
    lk_graph *g = NULL;
    int64_t classes;

    for (int64_t size = 1; size <= 9; size++) {
        for (int64_t kernel = 1; kernel <= 5; kernel++) {
            for (int64_t stride = 1; stride <= 4; stride++) {
                const lk_shape sample = {3, {1, size, 8}};
                snprintf(model, sizeof model,
                    "- conv: {filters: 2, kernel: [%" PRId64 ", 1], stride: [%" PRId64
                    ", 1], pad: same}\n- flatten\n- linear: 2\n",
                    kernel, stride);
                EXPECT_OK(build_with(model, TRAIN, &sample, &scalar, &g, &classes));
                const lk_opspec *s = &g->node[0].spec;
                const int64_t before = s->attr.conv.pad_before[0], after = s->attr.conv.pad_after[0];
                cr_expect(s->out.dim[2] == (size + stride - 1) / stride && s->out.dim[3] == 8,
                    "size %d kernel %d stride %d: %d", (int)size, (int)kernel, (int)stride, (int)s->out.dim[2]);
                cr_expect(after == before || after == before + 1);
                cr_expect(stride > 1 || before + after == kernel - 1);
                lk_graph_destroy(&g);
            }
        }
    }
}

Test(layers, valid_and_numbers_pad)
{
    static const char *const pads[] = {"valid", "0", "[0, 0]", "1", "[0, 1]"};
    static const int64_t heights[] = {6, 6, 6, 8, 6}, widths[] = {6, 6, 6, 8, 8};
    char model[128];
    lk_graph *g = NULL;
    int64_t classes;

    for (size_t i = 0; i < sizeof pads / sizeof pads[0]; i++) {
        snprintf(model, sizeof model, "- conv: {filters: 2, kernel: 3, pad: %s}\n- flatten\n- linear: 2\n", pads[i]);
        EXPECT_OK(build_with(model, TRAIN, &image, &scalar, &g, &classes));
        cr_expect(
            g->node[0].spec.out.dim[2] == heights[i] && g->node[0].spec.out.dim[3] == widths[i], "pad %s", pads[i]);
        lk_graph_destroy(&g);
    }
}

/* Numbers count all layers of a kind, in whatever depth and whether they have names. */
Test(layers, names)
{
    expect_graph("- linear: {units: 4, name: first}\n"
                 "- linear: 4\n"
                 "- residual:\n"
                 "    - linear: 4\n"
                 "    - residual: [{linear: 4}]\n"
                 "- relu: {name: block.2-act_x}\n"
                 "- residual: {name: tail, layers: [relu, {linear: 4}]}\n",
        TRAIN, &(lk_shape){1, {4}}, &scalar,
        "first linear 0 -> 2 [8,4]\n"
        "linear2 linear 2 -> 3 [8,4]\n"
        "linear3 linear 3 -> 4 [8,4]\n"
        "linear4 linear 4 -> 5 [8,4]\n"
        "residual2 add 5 4 -> 6 [8,4]\n"
        "residual1 add 6 3 -> 7 [8,4]\n"
        "block.2-act_x relu 7 -> 8 [8,4]\n"
        "relu2 relu 8 -> 9 [8,4]\n"
        "linear5 linear 9 -> 10 [8,4]\n"
        "tail add 10 8 -> 11 [8,4]\n"
        "loss cross_entropy 11 1\n");
}

Test(layers, residual_with_shortcut)
{
    expect_graph("- residual:\n"
                 "    layers:\n"
                 "      - conv: {filters: 6, kernel: 3, stride: 2, pad: same}\n"
                 "      - batch_norm\n"
                 "    shortcut:\n"
                 "      - conv: {filters: 6, kernel: 1, stride: 2}\n"
                 "- relu\n"
                 "- global_pool\n"
                 "- linear: 2\n",
        TRAIN, &image, &scalar,
        "conv1 conv 0 -> 2 [8,6,4,4]\n"
        "batch_norm1 batch_norm 2 -> 3 [8,6,4,4]\n"
        "conv2 conv 0 -> 4 [8,6,4,4]\n"
        "residual1 add 3 4 -> 5 [8,6,4,4]\n"
        "relu1 relu 5 -> 6 [8,6,4,4]\n"
        "global_pool1 global_avg_pool 6 -> 7 [8,6]\n"
        "linear1 linear 7 -> 8 [8,2]\n"
        "loss cross_entropy 8 1\n");
}

static void expect_input(const char *model, const lk_shape *sample, const char *want)
{
    char shape[LK_SHAPE_TEXT];
    lk_graph *g = NULL;
    int64_t classes;

    EXPECT_OK(build_with(model, TRAIN, sample, &scalar, &g, &classes));
    cr_expect(strcmp(lk_shape_print(&g->value[0].shape, shape), want) == 0, "%s for:\n%s", shape, model);
    lk_graph_destroy(&g);
}

Test(layers, named_values_and_repeat)
{
    expect_graph("  - flatten\n"
                 "  - linear: {units: 5, name: trunk}\n"
                 "  - repeat:\n"
                 "      times: 2\n"
                 "      layers:\n"
                 "        - linear: {units: 5, name: inner}\n"
                 "        - relu\n"
                 "        - add: inner\n"
                 "  - add: {with: [inner.0, trunk], name: sum}\n"
                 "  - linear: {units: 3, from: trunk}\n"
                 "  - take: sum\n"
                 "  - linear: 10\n",
        TRAIN, &image, &scalar,
        "flatten1 flatten 0 -> 2 [8,192]\n"
        "trunk linear 2 -> 3 [8,5]\n"
        "inner.0 linear 3 -> 4 [8,5]\n"
        "relu1 relu 4 -> 5 [8,5]\n"
        "add1 add 5 4 -> 6 [8,5]\n"
        "inner.1 linear 6 -> 7 [8,5]\n"
        "relu2 relu 7 -> 8 [8,5]\n"
        "add2 add 8 7 -> 9 [8,5]\n"
        "sum add 9 4 3 -> 10 [8,5]\n"
        "linear4 linear 3 -> 11 [8,3]\n"
        "linear5 linear 10 -> 12 [8,10]\n"
        "loss cross_entropy 12 1\n");
}

Test(layers, pictures_without_a_channel)
{
    const lk_shape picture = {2, {8, 6}};

    expect_input("- conv: {filters: 2, kernel: 3}\n- flatten\n- linear: 2\n", &picture, "[8,1,8,6]");
    expect_input("- dropout: 0.1\n- relu\n- max_pool: 2\n- flatten\n- linear: 2\n", &picture, "[8,1,8,6]");
    expect_input("- residual: [relu, {residual: {layers: [{conv: {filters: 1, kernel: 3, pad: same}}]}}]\n- flatten\n- "
                 "linear: 2\n",
        &picture, "[8,1,8,6]");
    expect_input("- flatten\n- linear: 2\n", &picture, "[8,8,6]");
    expect_input("- relu\n- flatten\n- linear: 2\n", &picture, "[8,8,6]");
    expect_input("- flatten\n- linear: 2\n", &image, "[8,3,8,8]");
    expect_input("- flatten\n- linear: 2\n", &scalar, "[8]");
}

Test(layers, targets_of_regress)
{
    static const struct {
        const char *model;
        lk_shape target;
        const char *want; /* shape of the target in the graph */
    } cases[] = {
        {"- flatten\n- linear: 1\n", {0}, "[8,1]"},
        {"- flatten\n- linear: 1\n", {1, {1}}, "[8,1]"},
        {"- flatten\n- linear: 5\n", {1, {5}}, "[8,5]"},
        {"- flatten\n- linear: 192\n", {3, {3, 8, 8}}, "[8,192]"},
        {"- conv: {filters: 1, kernel: 1}\n", {2, {8, 8}}, "[8,1,8,8]"},
        {"- relu\n", {1, {192}}, "[8,3,8,8]"},
    };
    char shape[LK_SHAPE_TEXT];
    lk_graph *g = NULL;
    int64_t classes;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EXPECT_OK(build_with(cases[i].model, REGRESS, &image, &cases[i].target, &g, &classes));
        cr_expect(classes == 0);
        EXPECT_TEXT(lk_shape_print(&g->value[1].shape, shape), cases[i].want);
        cr_expect(g->value[1].dtype == LK_DT_REAL && g->node[g->n_nodes - 1].spec.op == LK_OP_MSE);
        EXPECT_TEXT(g->node[g->n_nodes - 1].name, "loss");
        lk_graph_destroy(&g);
    }
}

Test(layers, places_of_nodes)
{
    lk_graph *g = NULL;
    int64_t classes;

    EXPECT_OK(build_with("- flatten\n- linear: 2\n", "train:\n  batch: 8\n  lr: 1\n  objective: classify\n", &image,
        &scalar, &g, &classes));
    EXPECT_TEXT(g->node[0].where, "run.yaml:2:3");
    EXPECT_TEXT(g->node[1].where, "run.yaml:3:3");
    EXPECT_TEXT(g->node[2].where, "run.yaml:8:3");
    lk_graph_destroy(&g);
}

/* ---- errors ---- */
typedef struct fault {
    const char *model, *message;
} fault;

Test(layers, errors_in_the_list)
{
    static const fault faults[] = {
        {"- convv: {filters: 2}\n", "run.yaml:2:3: unknown layer \"convv\" (did you mean \"conv\"?)"},
        {"- maxpool\n", "run.yaml:2:3: unknown layer \"maxpool\" (did you mean \"max_pool\"?)"},
        {"- linear: {units: 3, from: linear9}\n- linear: 4\n", "run.yaml:2:28: linear.from: no earlier layer and no field of the data is called \"linear9\""},
        {"- take\n", "run.yaml:2:3: take.from: must be given: the name of a layer or of a field"},
        {"- warp_drive\n", "run.yaml:2:3: unknown layer \"warp_drive\" (docs/config.md lists what there is)"},
        {"- residual:\n    - relu\n    - rleu\n", "run.yaml:4:7: unknown layer \"rleu\" (did you mean \"relu\"?)"},
        {"- [relu]\n", "run.yaml:2:3: expected a layer, one word or one key with its options, got a list"},
        {"- {}\n", "run.yaml:2:3: expected a layer, one word or one key with its options, got nothing"},
        {"- ~\n", "run.yaml:2:3: expected a layer, one word or one key with its options, got nothing"},
        {"- conv:\n  filters: 2\n", "run.yaml:2:3: expected one layer, got the keys \"conv\" and \"filters\"; options "
                                    "stand in a map below the layer, layers each behind a dash"},
        {"- relu: 3\n", "run.yaml:2:9: relu: expected a map of options"},
        {"- conv: 3\n", "run.yaml:2:9: conv: expected a map of options"},
        {"- flatten: [1]\n", "run.yaml:2:12: flatten: expected a map of options"},
        {"- linear\n", "run.yaml:2:3: section \"linear\" lacks \"units\""},
        {"- linear: {}\n", "run.yaml:2:11: section \"linear\" lacks \"units\""},
        {"- conv: {filters: 2}\n", "run.yaml:2:9: section \"conv\" lacks \"kernel\""},
        {"- max_pool\n", "run.yaml:2:3: section \"max_pool\" lacks \"size\""},
        {"- conv: {filter: 2, kernel: 3}\n",
            "run.yaml:2:10: unknown key \"filter\" in conv (did you mean \"filters\"?)"},
        {"- relu: {inplace: true}\n", "run.yaml:2:10: unknown key \"inplace\" in relu"},
        {"- linear: ten\n", "run.yaml:2:11: linear.units: expected a whole number, got \"ten\""},
        {"- linear: [1, 2]\n", "run.yaml:2:11: linear.units: expected a whole number, got a list"},
        {"- linear: 0\n", "run.yaml:2:11: linear.units: 0 is out of range (1 to 1e+09)"},
        {"- dropout: 1.5\n", "run.yaml:2:12: dropout.rate: 1.5 is out of range (0 to 1)"},
        {"- gelu: exact\n", "run.yaml:2:9: gelu.form: expected one of erf, tanh, got \"exact\""},
        {"- batch_norm: {eps: 0}\n", "run.yaml:2:21: batch_norm.eps: 0 is out of range (above 0, at most 1)"},
        {"- conv: {filters: 2, kernel: [3, 3, 3]}\n",
            "run.yaml:2:30: conv.kernel: expected one number or two (height, width), got 3"},
        {"- conv: {filters: 2, kernel: 3, stride: []}\n",
            "run.yaml:2:41: conv.stride: expected one number or two (height, width), got 0"},
        {"- conv: {filters: 2, kernel: 3, pad: full}\n",
            "run.yaml:2:38: conv.pad: expected same, valid, or whole numbers from 0 to 1e+09, got \"full\""},
        {"- conv: {filters: 2, kernel: 3, pad: -1}\n",
            "run.yaml:2:38: conv.pad: expected same, valid, or whole numbers from 0 to 1e+09, got \"-1\""},
        {"- conv: {filters: 2, kernel: 3, pad: [same, 1]}\n",
            "run.yaml:2:38: conv.pad: expected same, valid, or whole numbers from 0 to 1e+09, got \"same\""},
        {"- conv: {filters: 2, kernel: 3, pad: [1, 1, 1]}\n",
            "run.yaml:2:38: conv.pad: expected same, valid, one number or two (height, width), got 3"},
        {"- adaptive_avg_pool: [1, 2, 3]\n",
            "run.yaml:2:22: adaptive_avg_pool.size: expected one number or two (height, width), got 3"},
        {"- upsample: {factor: 2, mode: cubic}\n",
            "run.yaml:2:31: upsample.mode: expected one of nearest, bilinear, got \"cubic\""},
        {"- conv: {kernel: 3}\n", "run.yaml:2:9: conv.filters: is needed unless depthwise is true"},
        {"- conv: {filters: 4, kernel: 3, groups: 2}\n", "run.yaml:2:41: conv.groups: the input's 3 channels and the 4 "
                                                        "filters must be multiples of the 2 groups"},
        {"- conv: {filters: 4, kernel: 3, depthwise: true}\n",
            "run.yaml:2:19: conv.filters: the input's 3 channels and the 4 filters must be multiples of the 3 groups"},
        {"- conv: {kernel: 3, depthwise: true, groups: 3}\n",
            "run.yaml:2:46: conv.groups: is the number of channels where depthwise is true; leave one of them out"},
        {"- conv: {filters: 4, kernel: 3, dilation: [1, 2, 3]}\n",
            "run.yaml:2:43: conv.dilation: expected one number or two (height, width), got 3"},
        {"- max_pool: {size: 2, pad: [0, 0, 0]}\n",
            "run.yaml:2:28: max_pool.pad: expected one number or two (height, width), got 3"},
        {"- residual\n", "run.yaml:2:3: section \"residual\" lacks \"layers\""},
        {"- residual: []\n", "run.yaml:2:13: layers: the list of layers is empty"},
        {"- residual: relu\n", "run.yaml:2:13: layers: expected a list of layers, got a single value"},
        {"- residual: {layers: {relu: {}}}\n", "run.yaml:2:22: layers: expected a list of layers, got a map"},
        {"- residual: {layers: [relu], shortcut: []}\n", "run.yaml:2:40: shortcut: the list of layers is empty"},
        {"- relu: {name: a b}\n", "run.yaml:2:16: relu.name: \"a b\" cannot name a layer; a letter, then letters, "
                                  "digits, _ - and ., fewer than 128 in all, and not \"loss\""},
        {"- relu: {name: loss}\n", "run.yaml:2:16: relu.name: \"loss\" cannot name a layer; a letter, then letters, "
                                   "digits, _ - and ., fewer than 128 in all, and not \"loss\""},
        {"- relu: {name: \"\"}\n", "run.yaml:2:16: relu.name: \"\" cannot name a layer; a letter, then letters, "
                                   "digits, _ - and ., fewer than 128 in all, and not \"loss\""},
        {"- relu: {name: a/b}\n", "run.yaml:2:16: relu.name: \"a/b\" cannot name a layer; a letter, then letters, "
                                  "digits, _ - and ., fewer than 128 in all, and not \"loss\""},
        {"- relu: {name: x}\n- gelu: {name: x}\n",
            "run.yaml:3:3: layer name \"x\" is taken by the layer at run.yaml:2:3"},
        {"- relu: {name: relu2}\n- relu\n", "run.yaml:3:3: layer name \"relu2\" is taken by the layer at run.yaml:2:3"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        expect_build_fail(faults[i].model, TRAIN, &image, &scalar, faults[i].message);
}

Test(layers, errors_in_shapes)
{
    static const fault faults[] = {
        {"- linear: 10\n", "run.yaml:2:3: layer linear1 (linear): \"input\" is [8,3,8,8], with height and width; put "
                           "\"- flatten\" in front"},
        {"- max_pool: 2\n- linear: 10\n", "run.yaml:3:3: layer linear1 (linear): max_pool1 (run.yaml:2:3) gives "
                                          "[8,3,4,4], with height and width; put \"- flatten\" in front"},
        {"- conv: {filters: 2, kernel: 9}\n", "run.yaml:2:3: layer conv1 (conv): input [8,3,8,8]: kernel height 9 is "
                                              "larger than the input's 8 with padding 0 + 0; \"input\" is [8,3,8,8]"},
        {"- flatten\n- conv: {filters: 2, kernel: 3, pad: same}\n",
            "run.yaml:3:3: layer conv1 (conv): input [8,192] has 2 dimensions, expected [batch, channels, height, "
            "width]; flatten1 (run.yaml:2:3) gives [8,192]"},
        {"- max_pool: {size: 2, pad: 2}\n", "run.yaml:2:3: layer max_pool1 (max_pool): padding 2 must be smaller "
                                            "than the kernel's 2; \"input\" is [8,3,8,8]"},
        {"- dropout: 1\n",
            "run.yaml:2:3: layer dropout1 (dropout): rate is 1, must be in [0, 1); \"input\" is [8,3,8,8]"},
        {"- residual: [{conv: {filters: 4, kernel: 1}}]\n",
            "run.yaml:2:3: layer residual1 (residual): cannot add: conv1 (run.yaml:2:14) gives [8,4,8,8], \"input\" is "
            "[8,3,8,8]; "
            "give layers under \"shortcut\" that bring the input to the shape of the output"},
        {"- residual: {layers: [{conv: {filters: 4, kernel: 1}}], shortcut: [relu]}\n",
            "run.yaml:2:3: layer residual1 (residual): cannot add: conv1 (run.yaml:2:23) gives [8,4,8,8], relu1 "
            "(run.yaml:2:68) gives [8,3,8,8]"},
        {"- relu\n", "run.yaml:2:1: model: relu1 (run.yaml:2:3) gives [8,3,8,8], but objective classify needs [rows, "
                     "classes] with at least 2 classes; "
                     "end the list with \"- flatten\" and \"- linear: CLASSES\""},
        {"- flatten\n- linear: 1\n", "run.yaml:2:1: model: linear1 (run.yaml:3:3) gives [8,1], but objective classify "
                                     "needs [rows, classes] with at least 2 classes; "
                                     "end the list with \"- linear: CLASSES\""},
        {"- flatten\n- linear: 1000000000\n- linear: 1000000000\n",
            "run.yaml:4:3: layer linear2: 8000000000 elements of output and 1000000194000000000 of parameters up to "
            "here are more than any memory holds"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        expect_build_fail(faults[i].model, TRAIN, &image, &scalar, faults[i].message);
    expect_build_fail("- conv: {filters: 2, kernel: 3}\n", TRAIN, &(lk_shape){1, {8}}, &scalar,
        "run.yaml:2:3: layer conv1 (conv): input [8,8] has 2 dimensions, expected [batch, channels, height, width]; "
        "\"input\" is [8,8]");
    expect_build_fail("- flatten\n- batch_norm\n- linear: 2\n", "train: {batch: 8, lr: 1}\n", &image, &scalar,
        "run.yaml:3:3: layer batch_norm1 (batch_norm): a microbatch of 1 row has 1 value a channel, and no variance; "
        "raise train.batch or lower train.microbatches");
    expect_build_fail("- rleu\n", TRAIN, &(lk_shape){2, {8, 8}}, &scalar,
        "run.yaml:2:3: unknown layer \"rleu\" (did you mean \"relu\"?)");
    expect_build_fail("- linear: 3\n", TRAIN, &(lk_shape){2, {8, 8}}, &scalar,
        "run.yaml:2:1: model: linear1 (run.yaml:2:3) gives [8,8,3], but objective classify needs [rows, classes] with "
        "at least 2 classes; "
        "end the list with \"- flatten\" and \"- linear: CLASSES\"");
    expect_build_fail("- flatten\n- linear: 5\n", REGRESS, &image, &(lk_shape){1, {4}},
        "run.yaml:5:30: layer loss (mse): prediction [8,5] and target [8,4] do not fit: shapes must be equal; linear1 "
        "(run.yaml:3:3) gives [8,5], \"target\" is [8,4]");
    expect_build_fail("- conv: {filters: 1, kernel: 1}\n", REGRESS, &(lk_shape){3, {1, 4, 2}},
        &(lk_shape){3, {1, 2, 4}},
        "run.yaml:4:30: layer loss (mse): prediction [8,1,4,2] and target [8,1,2,4] do not fit: shapes must be equal; "
        "conv1 (run.yaml:2:3) gives [8,1,4,2], \"target\" is [8,1,2,4]");
    expect_build_fail("- flatten\n", TRAIN, &(lk_shape){6, {1, 1, 1, 1, 1, 1}}, &scalar,
        "run.yaml: data.input: input \"input\" has 6 dimensions a sample, at most 5 are possible");
    expect_build_fail("- flatten\n", REGRESS, &image, &(lk_shape){1, {0}},
        "run.yaml: data.target: target [8,0]: dimension 1 is 0, must be at least 1");
}

Test(layers, model_of_another_kind)
{
    static const struct {
        const char *model, *message;
    } faults[] = {
        {"model: relu\n", "run.yaml:1:8: model: expected a list of layers, got a single value"},
        {"model: {relu: {}}\n", "run.yaml:1:8: model: expected a list of layers, got a map; objective classify has one network"},
        {"model: []\n", "run.yaml:1:8: model: the list of layers is empty"},
    };
    const lk_model_input in = {.sample = image};
    char text[256];

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        lk_config *c = NULL;
        lk_graph *g = NULL;
        int64_t classes;
        snprintf(text, sizeof text, "%s" DATA TRAIN, faults[i].model);
        EXPECT_OK(parse(text, &c));
        EXPECT_FAIL(build_graph(c, &in, &g, &classes), LK_E_CONFIG, faults[i].message);
        lk_config_destroy(&c);
    }
}

Test(layers, set_on_the_command_line)
{
    const lk_model_input in = {.sample = image};
    lk_config *c = NULL;
    lk_graph *g = NULL;
    int64_t classes;

    EXPECT_OK(parse_set(DATA MODEL TRAIN, "model=[flatten, {linear: 3, relu: 1}]", &c));
    EXPECT_FAIL(build_graph(c, &in, &g, &classes), LK_E_CONFIG,
        "--set model: expected one layer, got the keys \"linear\" and \"relu\"; options stand in a map below the "
        "layer, layers each behind a dash");
    lk_config_destroy(&c);
    EXPECT_OK(parse_set(DATA MODEL TRAIN, "model.1.linear=4", &c));
    EXPECT_OK(build_graph(c, &in, &g, &classes));
    cr_expect(classes == 4);
    lk_graph_destroy(&g);
    lk_config_destroy(&c);
}

Test(layers, too_many)
{
    lk_buf model = {0};
    lk_graph *g = NULL;
    int64_t classes;

    for (int i = 0; i < 10001; i++)
        lk_buf_add(&model, "- relu\n");
    EXPECT_FAIL(build_with(lk_buf_text(&model), TRAIN, &image, &scalar, &g, &classes), LK_E_CONFIG,
        "run.yaml:10002:3: more than 10000 layers");
    lk_buf_fini(&model);
}

Test(layers, each_failed_allocation_is_reported_and_leaves_nothing)
{
    static const char text[] = DATA "model: [{conv: {filters: 2, kernel: 3, pad: same}}, {residual: [relu, {conv: "
                                    "{filters: 2, kernel: 1, name: x}}]}, flatten, {linear: 10}]\n" TRAIN;
    const lk_model_input in = {.sample = image};
    lk_config *c = NULL;
    lk_graph *g = NULL;
    int64_t classes, n = 0;
    lk_status st;

    EXPECT_OK(parse(text, &c));
    const int64_t bytes = lk_mem_bytes();
    do {
        lk_mem_fail_at(++n);
        st = build_graph(c, &in, &g, &classes);
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || (st == LK_E_NOMEM && g == NULL), "allocation %ld: %s: %s", (long)n, lk_status_name(st),
            lk_err_last()->message);
        cr_assert(st == LK_OK || lk_mem_bytes() == bytes, "allocation %ld: %ld bytes left", (long)n,
            (long)(lk_mem_bytes() - bytes));
    } while (st != LK_OK && n < 10000);
    cr_expect(st == LK_OK && n > 20);
    lk_graph_destroy(&g);
    lk_config_destroy(&c);
}
