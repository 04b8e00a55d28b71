/* Learning-rate schedules: a function of the step, and for plateau of a factor that evaluations lower. */
#ifndef LK_ENGINE_SCHEDULE_H
#define LK_ENGINE_SCHEDULE_H

#include <stdint.h>

typedef enum lk_decay {
    LK_DECAY_CONSTANT,
    LK_DECAY_STEP,
    LK_DECAY_COSINE,
    LK_DECAY_LINEAR,
    LK_DECAY_POLYNOMIAL,
    LK_DECAY_ONE_CYCLE,
    LK_DECAY_WSD,
    LK_DECAY_PLATEAU /* as constant here; the caller multiplies by the factor that it keeps */
} lk_decay;
#define LK_DECAY_CHOICES "constant|step|cosine|linear|polynomial|one_cycle|wsd|plateau"

typedef struct lk_schedule {
    double peak;
    double floor;      /* share of the peak that all but constant, step and plateau end at */
    int64_t warmup;    /* steps; rate rises linearly: peak * (step + 1) / warmup */
    lk_decay decay;
    int64_t every;     /* step: multiplied by `factor` each `every` steps after the warm-up */
    double factor;
    double power;      /* polynomial */
    double start, rise; /* one_cycle, which takes the warm-up's place: share of the peak to begin with, share of the steps to the peak */
    double decay_share; /* wsd: share of all steps in which the rate falls */
    int64_t total;     /* steps of the whole run; the floor is reached at the last */
} lk_schedule;

/* Rate of step `step`, from 0. Cosine after Loshchilov & Hutter 2017 (one cycle, no restarts); one_cycle after Smith & Topin 2019
 * ("Super-convergence"), in the form of two cosines that PyTorch's OneCycleLR has; wsd (warm-up, stable, decay) after Hu et al. 2024
 * ("MiniCPM", section 4), falling in a line. */
double lk_schedule_lr(const lk_schedule *s, int64_t step);

#endif
