/* dropout: y = 0 where the word of the unit (element in C H W order, channel, sample) is below the limit, else x / (1 - rate). Nothing is saved:
 * backward draws again, which takes less than reading what was kept. */
#include "kern/cuda/elements.cuh"

struct drop_elements {
    const lk_live *live;
    const uint32_t *key;
    uint64_t limit;
    float scale;
    divisor sample; /* elements of one */
    /* Element e of a sample is of unit e / size; or, channels last, of c by_channel + place by_place. */
    bool last;
    divisor size, channels;
    int64_t by_channel, by_place;
    /* What the last element found: its sample and row, and the block of words. */
    int64_t b = -1, block = -1;
    uint64_t row = 0;
    words4 words = {};

    __device__ int64_t unit_of(int64_t e) const
    {
        if (!last)
            return size.quotient(e);
        const int64_t place = channels.quotient(e);
        return (e - place * channels.by) * by_channel + place * by_place;
    }
    __device__ void operator()(int64_t i, float x, float &y)
    {
        const int64_t own = sample.quotient(i), unit = unit_of(i - own * sample.by);
        if (own != b) {
            row = (uint64_t)live->sample[own];
            b = own;
            block = -1;
        }
        if (unit / 4 != block) {
            block = unit / 4;
            words = random_block(key, row, (uint64_t)block);
        }
        y = word_of(words, (uint64_t)unit) < limit ? 0.0f : x * scale;
    }
};

static bool drops(const lk_opspec *s)
{
    return s->training && s->attr.dropout.rate > 0;
}

template <class T> static lk_status apply(const lk_call *c, const void *x, void *y)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out), sample = lk_shape_row(&s->out), units = lki_dropout_units(s);
    const double rate = s->attr.dropout.rate;

    if (!drops(s))
        return lki_copy_cuda(sizeof(T), n, x, y);
    const bool last = lk_shape_spatial(&s->out) && s->in_layout == LK_LAYOUT_NHWC;
    const int64_t channels = last ? s->out.dim[1] : 1;
    const drop_elements f = {.live = c->live,
        .key = c->key,
        .limit = lki_dropout_limit(rate),
        .scale = (float)(1 / (1 - rate)),
        .sample = divisor(sample),
        .last = last,
        .size = divisor(sample / units),
        .channels = divisor(channels),
        .by_channel = units / channels, /* places, 1, 0 */
        .by_place = units == sample ? 1 : 0};
    return elements(n, f, reads((const T *)x), writes((T *)y));
}

template <class T> static lk_status forward(const lk_call *c)
{
    return apply<T>(c, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] == NULL ? LK_OK : apply<T>(c, c->dy, c->dx[0]);
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(dropout, kernel);
