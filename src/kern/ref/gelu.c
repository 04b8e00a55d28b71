/* gelu (Hendrycks & Gimpel 2016, "Gaussian error linear units", section 2): y = x P(X <= x), or its approximation
 * y = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3).
 * Backward: dx = dy (P + x p), p the normal density; or dy ((1 + tanh u)/2 + x/2 (1 - tanh^2 u) du/dx). */
#include "kern/ref/ref_int.h"
#include <math.h>

#define CUBE 0.044715

static double tanh_form(double x)
{
    const double u = sqrt(2 / M_PI) * (x + CUBE * x * x * x);
    return 0.5 * x * (1 + tanh(u));
}

static double tanh_form_slope(double x)
{
    const double u = sqrt(2 / M_PI) * (x + CUBE * x * x * x), t = tanh(u);
    const double du = sqrt(2 / M_PI) * (1 + 3 * CUBE * x * x);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du;
}

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const x = c->x[0];
    double *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = c->spec->attr.gelu.tanh ? tanh_form(x[i]) : ref_gelu(x[i]);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const x = c->x[0], *const dy = c->dy;
    double *const dx = c->dx[0];
    for (int64_t i = 0; dx && i < n; i++)
        dx[i] = dy[i] * (c->spec->attr.gelu.tanh ? tanh_form_slope(x[i]) : ref_gelu_slope(x[i]));
    return LK_OK;
}

const lk_kernel lk_kern_ref_gelu = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
