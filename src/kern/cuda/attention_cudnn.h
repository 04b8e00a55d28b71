/* attention by cuDNN 9, for attention.cu, which has ways of its own where cuDNN has nothing: of 16-bit values, all of which count, without dropout. */
#ifndef LK_KERN_CUDA_ATTENTION_CUDNN_H
#define LK_KERN_CUDA_ATTENTION_CUDNN_H

#include "kern/cuda/cuda_int.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lki_attention_part {
    LKI_ATTENTION_ALONE,   /* y */
    LKI_ATTENTION_FORWARD, /* y, and the logs that backward takes */
    LKI_ATTENTION_BACKWARD
} lki_attention_part;

/* Where vectors [d] are: so many elements from one to the next, whole multiples of 8. */
typedef struct lki_vectors {
    int64_t sample, head, place;
} lki_vectors;

/* q [batch][heads][t][d]; k, v [batch][kv_heads][s][d], of which each head serves heads/kv_heads of q. */
typedef struct lki_attention_sizes {
    int64_t batch, heads, kv_heads, t, s, d;
    int64_t causal; /* query i sees keys up to i */
    lki_vectors q, k, v;
} lki_attention_sizes;

typedef struct lki_attention_cudnn lki_attention_cudnn;

/* Setup: a plan for one part, shared by all that are alike: the first one that the library's heuristic names, of those that give the same bits each time,
 * sum in float and take a bounded workspace; the same for the same sizes on the same device and library. *out is NULL where there is none (values of 32 bits
 * among others), where the module was built without cuDNN, or with LOCKSTEP_CUDNN=0 in the environment. Errors: LK_E_NOMEM; LK_E_LIBRARY where cuDNN does not
 * work. One thread at a time. */
LK_MUST_USE lk_status lki_attention_cudnn_create(const lki_attention_sizes *s, lki_type t, lki_attention_part part, lki_attention_cudnn **out);
/* Bytes. */
size_t lki_attention_cudnn_scratch(const lki_attention_cudnn *p);
/* Queues y = softmax(scale q k^T) v, the same bits each time; y [batch][t][heads][d]; log_sum [batch][heads][t], float, the log of the sum of exponentials of a row
 * of scores; NULL for ALONE. All are aligned to 16 bytes. */
LK_MUST_USE lk_status lki_attention_cudnn_forward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, void *y, float *log_sum, void *scratch);
/* Queues the gradients, which lie as q, k, v do; the same bits each time. None is NULL. */
LK_MUST_USE lk_status lki_attention_cudnn_backward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, const void *y,
    const float *log_sum, const void *dy, void *dq, void *dk, void *dv, void *scratch);
/* NULL in *p is fine; sets NULL. */
void lki_attention_cudnn_destroy(lki_attention_cudnn **p);

#ifdef __cplusplus
}
#endif
#endif
