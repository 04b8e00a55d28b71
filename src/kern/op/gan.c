/* gan: what a discriminator's scores cost it, or the generator. For each sample the mean over its scores s of
 *   non_saturating   real log(1 + e^-s), fake log(1 + e^s), generator log(1 + e^-s)   Goodfellow et al. 2014,
 * "Generative adversarial nets", section 3 least_squares    real (s - 1)^2 / 2, fake s^2 / 2, generator (s - 1)^2 / 2
 * Mao et al. 2017, equation 9 wasserstein      real -s, fake s, generator -s Arjovsky et al. 2017, section 3 hinge real
 * max(0, 1 - s), fake max(0, 1 + s), generator -s             Lim & Ye 2017; Miyato et al. 2018 */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const lk_attr_gan *const a = &s->attr.gan;
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "scores [batch, ...]"));
    if ((unsigned)a->kind > LK_GAN_HINGE || (unsigned)a->role > LK_GAN_GENERATOR)
        return LK_FAIL(LK_E_RANGE, "kind %d and role %d are not known", (int)a->kind, (int)a->role);
    return lki_loss_infer(s, &a->scale);
}

static double flops(const lk_opspec *s)
{
    return 4.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_gan = {.name = "gan",
    .n_in = 1,
    .loss = true,
    .metric = {"loss", "weight", "count", "score"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
