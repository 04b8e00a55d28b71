/* gru: r, z = sigmoid of the gates' sums; n = tanh(n_x + r n_h); h' = (1 - z) n + z h. A step's columns are n_x, r, z, n_h, so that those of W_ih are
 * the first three blocks and those of W_hh the last three.
 * Backward, with dh by h': n_x gets dn = dh (1 - z) (1 - n^2), n_h gets dn r, r's sum dn n_h r (1 - r), z's dh (h - n) z (1 - z), and h gets dh z
 * around the gates. */
#include "kern/cuda/recurrent.cuh"

struct gru_cell {
    static constexpr int gates = 3, cols = 4, states = 1;
    static constexpr bool around = true;
    enum { N_X, R, Z, N_H };

    static constexpr __host__ __device__ int block(int i)
    {
        return i == N_X ? 2 : i - 1;
    }
    static __device__ float forward(float (&g)[4], float h, float &, bool)
    {
        g[R] = lki_formula_sigmoid(g[R]);
        g[Z] = lki_formula_sigmoid(g[Z]);
        g[N_X] = tanhf(fmaf(g[R], g[N_H], g[N_X]));
        return fmaf(g[Z], h, (1.0f - g[Z]) * g[N_X]);
    }
    static __device__ void backward(float (&g)[4], float h, float, float &dh, float &, bool)
    {
        const float r = g[R], z = g[Z], n = g[N_X], dn = dh * (1.0f - z) * fmaf(-n, n, 1.0f);
        g[N_X] = dn;
        g[R] = dn * g[N_H] * (r * (1.0f - r));
        g[Z] = dh * (h - n) * (z * (1.0f - z));
        g[N_H] = dn * r;
        dh *= z;
    }
};

template <class T> static constexpr lk_kernel kernel = recurrent_kernel<T, gru_cell>;

LKI_KERNELS(gru, kernel);
