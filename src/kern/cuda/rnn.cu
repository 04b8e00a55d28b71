/* rnn: h' = tanh or relu of the gate's sum. Backward: dh (1 - h'^2), or dh where h' > 0. */
#include "kern/cuda/recurrent.cuh"

struct rnn_cell {
    static constexpr int gates = 1, cols = 1, states = 1;
    static constexpr bool around = false;

    static constexpr __host__ __device__ int block(int i)
    {
        return i;
    }
    static __device__ float forward(float (&g)[1], float, float &, bool relu)
    {
        return g[0] = relu ? lki_formula_relu(g[0]) : tanhf(g[0]);
    }
    static __device__ void backward(float (&g)[1], float, float, float &dh, float &, bool relu)
    {
        g[0] = lki_formula_act_back(relu ? LK_ACT_RELU : LK_ACT_TANH, 0, g[0], dh);
    }
};

template <class T> static constexpr lk_kernel kernel = recurrent_kernel<T, rnn_cell>;

LKI_KERNELS(rnn, kernel);
