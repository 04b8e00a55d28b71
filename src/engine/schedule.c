#include "engine/schedule.h"

#include <math.h>

/* From a to b along half a cosine. */
static double along_cosine(double a, double b, double share)
{
    return b + (a - b) * 0.5 * (1.0 + cos(M_PI * share));
}

static double one_cycle(const lk_schedule *s, int64_t step)
{
    const double end = (double)s->total - 1.0, top = s->rise * (double)s->total - 1.0, at = (double)step;

    if (at <= top && top > 0)
        return s->peak * along_cosine(s->start, 1.0, at / top);
    return s->peak * along_cosine(1.0, s->floor, at >= end ? 1.0 : (at - top) / (end - top));
}

/* The last steps fall in a line; the very last is at the floor. */
static double wsd(const lk_schedule *s, int64_t step)
{
    const double length = s->decay_share * (double)s->total, left = (double)(s->total - 1 - step);

    if (left >= length)
        return s->peak;
    return s->peak * (s->floor + (1.0 - s->floor) * (left > 0 ? left / length : 0));
}

double lk_schedule_lr(const lk_schedule *s, int64_t step)
{
    if (s->decay == LK_DECAY_ONE_CYCLE)
        return one_cycle(s, step);
    if (step < s->warmup)
        return s->peak * (double)(step + 1) / (double)s->warmup;

    const int64_t past = step - s->warmup;
    const int64_t span = s->total - s->warmup - 1; /* the last step has past == span */
    const double done = span <= 0 ? 0.0 : past >= span ? 1.0 : (double)past / (double)span;

    switch (s->decay) {
    case LK_DECAY_CONSTANT:
    case LK_DECAY_PLATEAU:
    case LK_DECAY_ONE_CYCLE:
        return s->peak;
    case LK_DECAY_WSD:
        return wsd(s, step);
    case LK_DECAY_POLYNOMIAL:
        return s->peak * (s->floor + (1.0 - s->floor) * pow(1.0 - done, s->power));
    case LK_DECAY_STEP: {
        double lr = s->peak;

        for (int64_t i = 0; s->every > 0 && i < past / s->every && lr > 0; i++)
            lr *= s->factor;
        return lr;
    }
    case LK_DECAY_COSINE:
        return s->peak * (s->floor + (1.0 - s->floor) * 0.5 * (1.0 + cos(M_PI * done)));
    case LK_DECAY_LINEAR:
        return s->peak * (s->floor + (1.0 - s->floor) * (1.0 - done));
    }
    return s->peak;
}
