/* Learning-rate schedules: a pure function of the step. */
#ifndef LK_ENGINE_SCHEDULE_H
#define LK_ENGINE_SCHEDULE_H

#include <stdint.h>

typedef enum lk_decay { LK_DECAY_CONSTANT, LK_DECAY_STEP, LK_DECAY_COSINE, LK_DECAY_LINEAR } lk_decay;
#define LK_DECAY_CHOICES "constant|step|cosine|linear"

typedef struct lk_schedule {
    double peak;
    double floor;      /* share of the peak that cosine and linear end at */
    int64_t warmup;    /* steps; rate rises linearly: peak * (step + 1) / warmup */
    lk_decay decay;
    int64_t every;     /* step: multiplied by `factor` each `every` steps after the warm-up */
    double factor;
    int64_t total;     /* steps of the whole run; cosine and linear reach the floor at the last */
} lk_schedule;

/* Rate of step `step`, from 0. Cosine after Loshchilov & Hutter 2017 (one cycle, no restarts). */
double lk_schedule_lr(const lk_schedule *s, int64_t step);

#endif
