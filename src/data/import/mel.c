/* Frames of sound as log-mel spectra. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* HTK's scale (The HTK Book, 5.4): mel(f) = 2595 log10(1 + f / 700). */
static double mel_of(double hertz)
{
    return 2595 * log10(1 + hertz / 700);
}

/* HTK's filters: triangles on the mel scale, each from the middle of the one before to that of the next. */
static lk_status make_filters(lki_mel *m)
{
    const int64_t bins = m->fft / 2 + 1;
    const double step = mel_of(m->rate / 2.0) / (double)(m->bands + 1);

    LK_TRY(lk_alloc_array(m->bands * bins, sizeof m->weight[0], "mel filters", &m->weight));
    for (int64_t b = 0; b < m->bands; b++) {
        bool any = false;
        for (int64_t k = 0; k < bins; k++) {
            const double off = fabs(mel_of((double)k * m->rate / (double)m->fft) / step - (double)(b + 1));
            m->weight[b * bins + k] = off < 1 ? 1 - off : 0;
            any = any || off < 1;
        }
        if (!any)
            return LK_FAIL(LK_E_ARG,
                "--bands %" PRId64 ": band %" PRId64 " is narrower than the frequencies of a window of "
                "%" PRId64 " samples lie apart; fewer bands, or a longer --window",
                m->bands, b + 1, m->window);
    }
    return LK_OK;
}

lk_status lki_mel_init(lki_mel *m, int64_t rate, int64_t window, int64_t hop, int64_t bands)
{
    *m = (lki_mel){.rate = (double)rate, .window = window, .hop = hop, .bands = bands, .fft = 2};
    while (m->fft < window)
        m->fft *= 2;
    LK_TRY(lk_alloc_array(window, sizeof m->taper[0], "window", &m->taper));
    LK_TRY(lk_alloc_array(m->fft, sizeof m->turn[0], "cosines", &m->turn));
    LK_TRY(lk_alloc_array(m->fft, 2 * sizeof m->z[0], "spectrum", &m->z));
    for (int64_t i = 0; i < window; i++)
        m->taper[i] = 0.5 - 0.5 * cos(2 * pi * (double)i / (double)window);
    for (int64_t i = 0; i < m->fft / 2; i++) {
        m->turn[2 * i] = cos(2 * pi * (double)i / (double)m->fft);
        m->turn[2 * i + 1] = -sin(2 * pi * (double)i / (double)m->fft);
    }
    LK_TRY(make_filters(m));
    return LK_OK;
}

void lki_mel_fini(lki_mel *m)
{
    lk_free(m->taper);
    lk_free(m->turn);
    lk_free(m->z);
    lk_free(m->weight);
    *m = (lki_mel){0};
}

/* In place, z [n] pairs of real and imaginary part, n a power of two: Cooley and Tukey's sums of two halves. turn [n/2]
 * pairs: the n-th roots of 1. */
static void transform(int64_t n, const double *turn, double *z)
{
    for (int64_t i = 1, j = 0; i < n; i++) { /* to the place with the bits of its number turned round */
        int64_t bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j)
            for (int k = 0; k < 2; k++) {
                const double t = z[2 * i + k];
                z[2 * i + k] = z[2 * j + k];
                z[2 * j + k] = t;
            }
    }
    for (int64_t half = 1; half < n; half *= 2)
        for (int64_t first = 0; first < n; first += 2 * half)
            for (int64_t k = 0; k < half; k++) {
                double *a = z + 2 * (first + k), *b = a + 2 * half;
                const double *w = turn + 2 * (k * (n / (2 * half)));
                const double re = b[0] * w[0] - b[1] * w[1], im = b[0] * w[1] + b[1] * w[0];
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
}

void lki_mel_frame(lki_mel *m, const double *samples, float *out)
{
    const int64_t bins = m->fft / 2 + 1;

    memset(m->z, 0, (size_t)m->fft * 2 * sizeof m->z[0]);
    for (int64_t i = 0; i < m->window; i++)
        m->z[2 * i] = samples[i] * m->taper[i];
    transform(m->fft, m->turn, m->z);
    for (int64_t b = 0; b < m->bands; b++) {
        double energy = 0;
        for (int64_t k = 0; k < bins; k++)
            energy += m->weight[b * bins + k] * (m->z[2 * k] * m->z[2 * k] + m->z[2 * k + 1] * m->z[2 * k + 1]);
        out[b] = (float)log(energy > LKI_MEL_FLOOR ? energy : LKI_MEL_FLOOR);
    }
}

int64_t lki_mel_frames(int64_t samples, int64_t window, int64_t hop)
{
    return samples <= window ? 1 : 1 + (samples - window) / hop;
}
