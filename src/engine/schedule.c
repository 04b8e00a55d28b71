#include "engine/schedule.h"

#include <math.h>

double lk_schedule_lr(const lk_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->peak * (double)(step + 1) / (double)s->warmup;

    const int64_t past = step - s->warmup;
    const int64_t span = s->total - s->warmup - 1; /* the last step has past == span */
    const double done = span <= 0 ? 0.0 : past >= span ? 1.0 : (double)past / (double)span;

    switch (s->decay) {
    case LK_DECAY_CONSTANT:
        return s->peak;
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
