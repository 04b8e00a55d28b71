/* Convolutions of two axes by cuDNN 9, for conv.cuh, which has products of its own where cuDNN has nothing. */
#ifndef LK_KERN_CUDA_CONV_CUDNN_H
#define LK_KERN_CUDA_CONV_CUDNN_H

#include "kern/cuda/cuda_int.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of a convolution with the wide side x [batch][in][c], the narrow side y [batch][out][f] and weights w [f][kernel][c/groups]. */
typedef enum lki_conv_part {
    LKI_CONV_DOWN,    /* y of x and w */
    LKI_CONV_UP,      /* x of y and w: the gradient of the input */
    LKI_CONV_WEIGHTS, /* w, in float, of x and y: the gradient of the weights */
    LKI_CONV_PARTS
} lki_conv_part;

/* H, W */
enum { LKI_CUDNN_AXES = 2 };
typedef struct lki_cudnn_sizes {
    int64_t batch, groups, c, f;
    int64_t in[LKI_CUDNN_AXES], out[LKI_CUDNN_AXES];
    int64_t kernel[LKI_CUDNN_AXES], stride[LKI_CUDNN_AXES], dilation[LKI_CUDNN_AXES], before[LKI_CUDNN_AXES];
} lki_cudnn_sizes;

typedef struct lki_conv_cudnn lki_conv_cudnn;

/* Setup: a plan for one part, with a bias added behind it where that is asked for and one kernel does both. The first one that the library's heuristic
 * names, of those that give the same bits each time, sum in float, multiply as they are told (floats with all their bits, but for tf32), and take a
 * bounded workspace; shared by all that are alike: the same for the same sizes on the same device and library. *out is NULL where there is none, where the module was built without
 * cuDNN, or with LOCKSTEP_CUDNN=0 in the environment. Errors: LK_E_NOMEM; LK_E_LIBRARY where cuDNN does not work. One thread at a time. */
LK_MUST_USE lk_status lki_conv_cudnn_create(const lki_cudnn_sizes *s, lki_type t, lki_conv_part part, bool bias, lki_conv_cudnn **out);
/* Does it add the bias, which is float? */
bool lki_conv_cudnn_bias(const lki_conv_cudnn *p);
/* Bytes of the workspace. */
size_t lki_conv_cudnn_scratch(const lki_conv_cudnn *p);
/* Queues it, the same bits each time. Values and weights are of the type, aligned to 16 bytes; bias NULL unless the plan adds it. */
LK_MUST_USE lk_status lki_conv_cudnn_run(const lki_conv_cudnn *p, const void *x, const void *w, const void *y, const float *bias, void *workspace);
/* NULL in *p is fine; sets NULL. */
void lki_conv_cudnn_destroy(lki_conv_cudnn **p);

#ifdef __cplusplus
}
#endif
#endif
