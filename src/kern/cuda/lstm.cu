/* lstm: i, f, o = sigmoid, g = tanh of the gates' sums; c' = f c + i g; h' = o tanh(c').
 * Backward, with dh and dc by h' and c': dc += dh o (1 - tanh(c')^2); the gates' sums get
 *   di = dc g i (1 - i), df = dc c f (1 - f), dg = dc i (1 - g^2), do = dh tanh(c') o (1 - o);  c gets dc f. */
#include "kern/cuda/recurrent.cuh"

struct lstm_cell {
    static constexpr int gates = 4, cols = 4, states = 2;
    static constexpr bool around = false;
    enum { I, F, G, O };

    static constexpr __host__ __device__ int block(int i)
    {
        return i;
    }
    static __device__ float next(const float (&g)[4], float c)
    {
        return fmaf(g[F], c, g[I] * g[G]);
    }
    static __device__ float forward(float (&g)[4], float, float &c, bool)
    {
        g[I] = lki_formula_sigmoid(g[I]);
        g[F] = lki_formula_sigmoid(g[F]);
        g[G] = tanhf(g[G]);
        g[O] = lki_formula_sigmoid(g[O]);
        c = next(g, c);
        return g[O] * tanhf(c);
    }
    static __device__ void backward(float (&g)[4], float, float c, float &dh, float &dc, bool)
    {
        const float i = g[I], f = g[F], a = g[G], o = g[O], t = tanhf(next(g, c));
        dc = fmaf(dh * o, fmaf(-t, t, 1.0f), dc);
        g[I] = dc * a * (i * (1.0f - i));
        g[F] = dc * c * (f * (1.0f - f));
        g[G] = dc * i * fmaf(-a, a, 1.0f);
        g[O] = dh * t * (o * (1.0f - o));
        dc *= f;
    }
};

template <class T> static constexpr lk_kernel kernel = recurrent_kernel<T, lstm_cell>;

LKI_KERNELS(lstm, kernel);
